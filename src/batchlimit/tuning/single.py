"""Tuning at one batch size: which values of some recipe fields are best within a budget of trials?"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any, Literal

from pydantic import Field

from batchlimit.config import DurationField, Frozen, Recipe, TrainingLength, TrialConfig
from batchlimit.errors import InputError
from batchlimit.findings import Cost, Direction, Measurement, Proposed, TuneFinding
from batchlimit.records import TrialRecord
from batchlimit.tuning.batch import Batch
from batchlimit.tuning.notebook import Notebook
from batchlimit.tuning.search_space import Proposal, SearchSpace
from batchlimit.tuning.statistics import estimate
from batchlimit.tuning.tuner import PROPOSALS_AT_ONCE, TUNING_SEED, tuners
from batchlimit.words import counted


class TuneSettings(Frozen):
    """What a user may choose about tuning; where None, the workload's own values hold.

    `recipe` changes fields of the baseline's recipe before tuning; `space` maps recipe fields to a list of choices or a
    table with low, high, log, unit, points. Without a space, LR (a factor of 8 to either side) and warmup are tuned.
    """

    batch_size: int | None = Field(default=None, gt=0)
    epochs: TrainingLength | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Any] = Field(default_factory=dict)
    budget: int = Field(default=16, ge=1)
    tuner: str = "grid"
    seeds: int = Field(default=5, ge=1)
    protocol: Literal["validation", "paper"] = "validation"


class TuneQuestion(Frozen):
    """All that defines one tuning."""

    workload: str
    metric_name: str
    metric_direction: Direction
    metric_percent: bool = False
    batch_size: int
    budget: DurationField
    recipe: Recipe
    space: SearchSpace
    trials: int
    tuner: str
    seeds: int
    protocol: Literal["validation", "paper"]


def default_space(recipe: Recipe) -> SearchSpace:
    """Return the space of the two most important fields: LR within a factor of 8 of the recipe's, and warmup.

    Source: You et al., 2020, Figure 2 ("the two most important hyperparameters").
    """
    lr = {"low": recipe.lr / 8, "high": recipe.lr * 8, "log": True, "points": 7}
    return SearchSpace.parse({"lr": lr, "warmup": ["0%", "10%", "30%"]})


class Tuning:
    """One tuning: `trials()` asks, `finding()` says what is known at any moment; pure, as `limit.LimitSearch` is."""

    def __init__(self, question: TuneQuestion) -> None:
        question.space.check(question.recipe)
        tuners.get(question.tuner)
        self.question = question
        self._told: list[tuple[Proposal, TrialRecord]] = []
        self._final: list[TrialRecord] = []

    def trials(self) -> Generator[Batch, list[TrialRecord], None]:
        """Yield batches of trials and be sent their records, in the order asked."""
        question = self.question
        propose = tuners.get(question.tuner)
        while proposals := propose(
            question.space,
            [(proposal, Notebook.selection(record)) for proposal, record in self._told],
            count=PROPOSALS_AT_ONCE,
            budget=question.trials,
            direction=question.metric_direction,
            seed=TUNING_SEED,
        ):
            trials = tuple(self._trial(question.recipe.updated(dict(p)), TUNING_SEED) for p in proposals)
            left = question.trials - len(self._told) - len(trials) + question.seeds
            purpose = f"tuning at batch size {question.batch_size:,}"
            records = yield Batch(trials=trials, purpose=purpose, expected_left=left)
            self._told += zip(proposals, records, strict=True)
        best = self._best()
        if best is not None:
            seeds = range(1, question.seeds + 1)
            trials = tuple(self._trial(best.config.recipe, seed) for seed in seeds)
            self._final = yield Batch(trials=trials, purpose="measuring the best on the test split", expected_left=0)

    def finding(self) -> TuneFinding:
        """Return the best recipe so far and every proposal."""
        question = self.question
        told = self._told_once()
        records = [record for _, record in told] + self._final
        best = self._best()
        return TuneFinding(
            workload=question.workload,
            metric_name=question.metric_name,
            metric_direction=question.metric_direction,
            metric_percent=question.metric_percent,
            batch_size=question.batch_size,
            training_budget=str(question.budget),
            protocol=question.protocol,
            tuner=question.tuner,
            budget=question.trials,
            proposals=tuple(
                Proposed(fields=dict(proposal), metric=Notebook.selection(record), status=record.status)
                for proposal, record in told
            ),
            best=self._measurement(best) if best is not None else None,
            cost=Cost(
                trials=len(records),
                samples=sum(record.samples for record in records),
                seconds=math.fsum(record.seconds for record in records),
                by_purpose={"tuning": len(told), "measuring": len(self._final)},
            ),
            problem=self._problem(best),
            environment=dict(records[-1].environment) if records else {},
        )

    def _told_once(self) -> list[tuple[Proposal, TrialRecord]]:
        """Return the trials in order with what was proposed, each once: two proposals may come to one trial."""
        told: dict[str, tuple[Proposal, TrialRecord]] = {}
        for proposal, record in self._told:
            told.setdefault(record.hash, (proposal, record))
        return list(told.values())

    def _best(self) -> TrialRecord | None:
        sign = 1.0 if self.question.metric_direction == "up" else -1.0
        scored = [(sign * value, r) for _, r in self._told if (value := Notebook.selection(r)) is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None

    def _measurement(self, best: TrialRecord) -> Measurement:
        tests = [r.test for r in self._final if r.status == "complete" and r.test is not None]
        metrics = [scores.metric for scores in tests if scores.metric is not None]
        return Measurement(
            name=best.config.recipe.solver,
            batch_size=self.question.batch_size,
            recipe=best.config.recipe,
            seeds=len(self._final),
            diverged=len(self._final) - len(metrics),
            metric=estimate(metrics),
            loss=estimate([scores.loss for scores in tests if scores.loss is not None]),
            metrics=tuple(metrics),
        )

    def _problem(self, best: TrialRecord | None) -> str:
        if best is None and (told := self._told_once()):
            reasons = sorted({record.reason for _, record in told if record.reason})
            why = reasons[0] if reasons else "no reason given"
            return f"None of {counted(len(told), 'tuning trial')} completed ({why})."
        return "" if self._final else "The tuning is not finished."

    def _trial(self, recipe: Recipe, seed: int) -> TrialConfig:
        question = self.question
        return TrialConfig(
            workload=question.workload,
            batch_size=question.batch_size,
            budget=question.budget,
            recipe=recipe,
            seed=seed,
            protocol=question.protocol,
        )


def tune_space(settings: TuneSettings, recipe: Recipe) -> SearchSpace:
    """Return the space that the settings describe.

    Raises:
        InputError: a field or a value that the recipe does not take.
    """
    space = SearchSpace.parse(settings.space) if settings.space else default_space(recipe)
    if not space.dimensions:
        raise InputError("The search space has no fields. Valid: any recipe field, such as lr or warmup.")
    space.check(recipe)
    return space
