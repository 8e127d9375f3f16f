"""What came of a study: its arms with their records; everything shown is computed from these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchlimit.analysis.intervals import mean_interval
from batchlimit.config import Recipe, Scalar
from batchlimit.findings import Estimate, LimitFinding
from batchlimit.records import Scores, TrialRecord
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.views import Value

if TYPE_CHECKING:
    from batchlimit.studies.study import Study


@dataclass(frozen=True)
class Told:
    """One tuning trial of an arm: the fields it set and its record."""

    fields: dict[str, Scalar]
    record: TrialRecord

    @property
    def metric(self) -> float | None:
        """The selection metric, None unless the trial completed."""
        scores = self.record.selection if self.record.status == "complete" else None
        return scores.metric if scores is not None else None


@dataclass(frozen=True)
class ArmResult:
    """An arm with its tuning trials, the recipe chosen (None: no trial completed) and its final trainings.

    `finished` says whether all its trials are there.
    """

    arm: Arm
    tuning: tuple[Told, ...] = ()
    chosen: Recipe | None = None
    final: tuple[TrialRecord, ...] = ()
    finished: bool = True

    @property
    def labels(self) -> Labels:
        """What tells this arm from the others."""
        return self.arm.labels

    @property
    def complete(self) -> tuple[TrialRecord, ...]:
        """The final trainings that completed."""
        return tuple(record for record in self.final if record.status == "complete")

    @property
    def diverged(self) -> int:
        """How many final trainings did not complete; of an arm without a chosen recipe, all."""
        return len(self.final) - len(self.complete) if self.chosen is not None else self.arm.seeds

    @property
    def status(self) -> str:
        """'measured', 'diverged' (all that was tried did) or 'unfinished' (records are missing)."""
        if self.complete:
            return "measured"
        tried = self.final if self.chosen is not None else tuple(told.record for told in self.tuning)
        return "diverged" if tried and self.finished else "unfinished"

    @property
    def at_edge(self) -> bool:
        """Whether the learning rate chosen is the least or the greatest of those tried: more may be possible."""
        tried = {told.record.config.recipe.lr for told in self.tuning}
        return self.chosen is not None and len(tried) > 1 and self.chosen.lr in (min(tried), max(tried))

    def by_seed(self, value: Value = "metric") -> dict[int, float]:
        """Return a value of the completed final trainings, by seed."""
        found = {record.config.seed: _value(record, value) for record in self.complete}
        return {seed: number for seed, number in found.items() if number is not None and math.isfinite(number)}

    def estimate(self, value: Value = "metric") -> Estimate:
        """Return the mean of a value over seeds with its 95 % interval."""
        return mean_interval(list(self.by_seed(value).values()))


@dataclass(frozen=True)
class StudyResult:
    """A study's arms with what came of them; `limit` is the verdict of its search, `left_out` what did not fit.

    `reference` is what a user gave to name the study, a file for one of their own (empty: the study's name).
    """

    study: Study
    facts: Facts
    effort: Effort
    arms: tuple[ArmResult, ...] = ()
    limit: LimitFinding | None = None
    left_out: tuple[Arm, ...] = ()
    reference: str = ""

    def select(self, where: Labels) -> tuple[ArmResult, ...]:
        """Return the arms whose labels have these values."""
        return tuple(result for result in self.arms if result.arm.matches(where))

    def values(self, label: str, where: Labels | None = None) -> list[Scalar]:
        """Return the values of a label among the arms selected, in the order of the arms."""
        found = [r.labels[label] for r in self.select(where or {}) if label in r.labels]
        return list(dict.fromkeys(found))

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All records of the arms, each once."""
        every = {t.record.hash: t.record for r in self.arms for t in r.tuning}
        every |= {record.hash: record for r in self.arms for record in r.final}
        return tuple(every.values())

    def best(self, results: Sequence[ArmResult]) -> ArmResult | None:
        """Return the arm with the best mean metric, None where none was measured."""
        sign = 1.0 if self.facts.metric_direction == "up" else -1.0
        known = [(sign * mean, r) for r in results if (mean := r.estimate().mean) is not None]
        return max(known, key=lambda pair: pair[0])[1] if known else None


def _value(record: TrialRecord, value: Value) -> float | None:
    if value == "steps":
        return float(record.steps)
    if value == "seconds":
        return record.seconds
    if value == "train loss":
        known = [point.train_loss for point in record.history if point.train_loss is not None]
        return known[-1] if known else None
    scores = record.test or Scores()
    return {"metric": scores.metric, "loss": scores.loss}.get(value, scores.others.get(value))
