"""What a search has learned so far, and the judgements it makes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from batchlimit.config import Recipe, StopRule
from batchlimit.findings import Decision, Measurement
from batchlimit.records import TrialRecord
from batchlimit.tuning.question import Candidate, Question
from batchlimit.tuning.statistics import compare, estimate, worth_more
from batchlimit.tuning.windows import snapped

LINEAR = "linear scaling"
HOPELESS_AT = 0.6
HOPELESS_SHARE = 0.5


class Notebook:
    """The state of one search; every judgement is by the question's direction ('up': more is better)."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.problem = ""
        self.complete = False
        self.linear: dict[int, Measurement] = {}
        self.best: dict[int, Measurement] = {}
        self._baseline: list[TrialRecord] = []
        self.baseline_lost = 0
        self._tried: set[int] = set()
        self.tuned: dict[tuple[int, str], list[TrialRecord]] = {}
        self.purposes: Counter[str] = Counter()
        self.trials: Counter[int] = Counter()
        self.samples: Counter[int] = Counter()
        self.seconds = 0.0
        self.environment: dict[str, str | int | float | None] = {}
        self._sign = 1.0 if question.metric_direction == "up" else -1.0

    # Taking in

    def count(self, purpose: str, batch_size: int, records: Sequence[TrialRecord]) -> None:
        """Add what `records` cost to the account of `purpose` and `batch_size`."""
        self.purposes[purpose] += len(records)
        self.trials[batch_size] += len(records)
        self.samples[batch_size] += sum(record.samples for record in records)
        self.seconds += math.fsum(record.seconds for record in records)
        for record in records:
            self.environment = dict(record.environment) or self.environment

    def set_baseline(self, records: Sequence[TrialRecord]) -> None:
        """Take the baseline's records; `problem` is set where they carry no verdict."""
        self._baseline = [record for record in records if _metric(record) is not None]
        self.baseline_lost = lost = len(records) - len(self._baseline)
        if lost * 2 > len(records) or len(self._baseline) < 2:
            reason = min((record.reason for record in records if record.reason), default="no reason given")
            self.problem = (
                f"{lost} of {len(records)} baseline trials at batch size {self.question.baseline_batch_size} "
                f"did not complete ({reason})."
            )
        elif not self.baseline_losses():
            self.problem = (
                f"The baseline's loss on the test split was finite in none of {len(records)} trials at batch size "
                f"{self.question.baseline_batch_size}: the test examples may hold numbers that are not."
            )

    def add_tuned(self, candidate: Candidate, batch_size: int, records: Sequence[TrialRecord]) -> None:
        """Take the records of tuning trials."""
        self.tuned.setdefault((batch_size, candidate.name), []).extend(records)

    def add_measurement(self, measurement: Measurement) -> None:
        """Keep a measurement over seeds; of several recipes at a batch size one that passes, then the best, stays.

        Linear scaling that holds the metric but not the loss is no small batch, but a recipe that makes a large one.
        """
        if measurement.name == LINEAR:
            self.linear[measurement.batch_size] = measurement
            if measurement.decision == "pass" or measurement.metric_decision != "pass":
                return
            measurement = measurement.model_copy(update={"decision": "pass"})
        kept = self.best.get(measurement.batch_size)
        if kept is None or self._rank(measurement) > self._rank(kept):
            self.best[measurement.batch_size] = measurement

    def set_tried(self, batch_size: int) -> None:
        """Note that every candidate was tuned at a batch size: where no trial completed, that is a failure, too."""
        self._tried.add(batch_size)

    # Judging

    def judge(
        self, name: str, batch_size: int, recipe: Recipe, records: Sequence[TrialRecord], confidence: float
    ) -> Measurement:
        """Return the measurement that `records` make; linear scaling must also hold the loss, other recipes need not.

        A recipe of which any seed diverges fails: it cannot be relied on. A seed whose process died says nothing of the
        recipe: it stays undecided, and is trained when the search is asked for again.
        """
        metrics = [value for value in map(_metric, records) if value is not None]
        losses = [value for value in map(_loss, records) if value is not None]
        lost = len(records) - len(metrics)
        if lost:
            died_only = {"failed"} <= {record.status for record in records} <= {"complete", "failed"}
            decision: Decision = "undecided" if died_only else "fail"
        else:
            decision = self._decide_metric(metrics, confidence)
        metric_decision = decision
        if name == LINEAR and not lost:
            # A loss that is not finite is above any bar.
            of_loss = "fail" if len(losses) < len(metrics) else self._decide_loss(losses, confidence)
            decision = _both(decision, of_loss)
        return Measurement(
            name=name,
            batch_size=batch_size,
            recipe=recipe,
            seeds=len(records),
            diverged=lost,
            metric=estimate(metrics),
            loss=estimate(losses),
            metrics=tuple(metrics),
            decision=decision,
            metric_decision=metric_decision,
        )

    def _decide_metric(self, metrics: Sequence[float], confidence: float) -> Decision:
        return compare(*self._against_baseline(metrics), confidence)

    def worth_more(self, measurement: Measurement, confidence: float, cap: int) -> bool:
        """Return whether seeds up to `cap` could decide an undecided measurement's metric."""
        return worth_more(*self._against_baseline(measurement.metrics), confidence, cap)

    def _against_baseline(self, metrics: Sequence[float]) -> tuple[list[float], list[float], float]:
        """Return metrics and the baseline's, both so that more is better, and the factor on the baseline's mean."""
        reference = self.baseline_metrics()
        factor = self._factor(math.fsum(reference) / len(reference))
        return [self._sign * m for m in metrics], [self._sign * m for m in reference], factor

    def _factor(self, mean: float) -> float:
        """Return the factor on A that lowers the bar by the tolerance, whatever A's sign and direction."""
        slack = 1 - self.question.settings.tolerance
        return 1 - slack if self._sign * mean >= 0 else 1 + slack

    def _decide_loss(self, losses: Sequence[float], confidence: float) -> Decision:
        reference = self.baseline_losses()
        if not reference or len(losses) < 2:
            return "undecided"
        factor = self._loss_factor(math.fsum(reference) / len(reference))
        return compare([-v for v in losses], [-v for v in reference], factor, confidence)

    def _loss_factor(self, mean: float) -> float:
        """Return the factor on xi that raises the bar by the loss factor; a loss may be negative (a density's)."""
        factor = self.question.settings.loss_factor
        return factor if mean >= 0 else 2 - factor

    def decision(self, batch_size: int) -> Decision | None:
        """Return whether some recipe passes at `batch_size`, as far as known; linear scaling, by its metric, is one."""
        linear, best = self.linear.get(batch_size), self.best.get(batch_size)
        known = {*([linear.metric_decision] if linear else []), *([best.decision] if best else [])}
        if "pass" in known:
            return "pass"
        if batch_size not in self.best and batch_size not in self._tried:
            return None
        return "undecided" if "undecided" in known else "fail"

    def better(self, left: float, right: float) -> bool:
        """Return whether metric `left` is better than `right`."""
        return self._sign * left > self._sign * right

    def clears_selection_bar(self, metric: float) -> bool:
        """Return whether a selection metric is at least the tolerance times the baseline's mean selection metric."""
        reference = [value for value in map(self.selection, self._baseline) if value is not None]
        if not reference:
            return True
        mean = math.fsum(reference) / len(reference)
        return self._sign * metric >= self._factor(mean) * self._sign * mean

    def stop_rule(self) -> StopRule | None:
        """Return when a tuning trial is hopeless: past 60 % of its steps worse than the baseline after one epoch.

        For a metric that goes up, half of A is enough not to be hopeless.
        """
        first = [record.history[0].selection for record in self._baseline if record.history]
        values = [scores.metric for scores in first if scores is not None and scores.metric is not None]
        finals = [value for value in map(self.selection, self._baseline) if value is not None]
        if not values or not finals:
            return None
        early, final = math.fsum(values) / len(values), math.fsum(finals) / len(finals)
        bar = min(early, HOPELESS_SHARE * final) if self._sign > 0 else max(early, final)
        return StopRule(fraction=HOPELESS_AT, metric=float(f"{bar:.3g}"))

    # What tuning taught

    @staticmethod
    def selection(record: TrialRecord) -> float | None:
        """Return the metric that tuning selects by, None unless the trial completed."""
        return record.selection.metric if record.status == "complete" and record.selection else None

    def best_selection(self, name: str, batch_size: int) -> float | None:
        """Return the best selection metric of a candidate at a batch size."""
        record = self._best_record(name, batch_size)
        return self.selection(record) if record else None

    def shortfall(self, name: str, batch_size: int) -> float:
        """Return a sort key, least first: the negated best selection metric, infinite where no trial completed."""
        value = self.best_selection(name, batch_size)
        return math.inf if value is None else -self._sign * value

    def best_recipe(self, name: str, batch_size: int) -> Recipe | None:
        """Return the recipe of the candidate's best tuning trial at a batch size."""
        record = self._best_record(name, batch_size)
        return record.config.recipe if record else None

    def shift_of_lost(self, name: str, batch_size: int) -> int:
        """Return how many steps to go up with the LR where no trial completed; below 0, down.

        Down where any diverged. Where all were hopeless and stopped, up if the greatest LR did better than the least.
        """
        records = self.tuned.get((batch_size, name), [])
        by_lr = sorted((r for r in records if r.status == "pruned"), key=lambda record: record.config.recipe.lr)
        metrics = [metric for record in by_lr if (metric := _reached(record)) is not None]
        too_slow = len(metrics) == len(records) > 0 and self.better(metrics[-1], metrics[0])
        return len(records) if too_slow else -len(records)

    def best_tuned(self, batch_size: int) -> Candidate | None:
        """Return the candidate with the best selection metric at a batch size, None if every trial failed."""
        scored = [(self.best_selection(c.name, batch_size), c) for c in self.question.candidates]
        known = [(self._sign * value, c) for value, c in scored if value is not None]
        return max(known, key=lambda pair: pair[0])[1] if known else None

    def best_stopped(self, batch_size: int) -> tuple[str, Recipe] | None:
        """Return the candidate's name and the recipe of the hopeless trial that had come furthest at a batch size."""
        reached = [
            (self._sign * metric, name, record.config.recipe)
            for (size, name), records in self.tuned.items()
            for record in records
            if size == batch_size and record.status == "pruned" and (metric := _reached(record)) is not None
        ]
        return max(reached, key=lambda trial: trial[0])[1:] if reached else None

    def learned_lr(self, candidate: Candidate, batch_size: int) -> float | None:
        """Return the candidate's best LR at the nearest batch size where it was tuned, scaled to `batch_size`."""
        near = self._nearest(candidate.name, batch_size)
        recipe = self.best_recipe(candidate.name, near) if near is not None else None
        if near is None or recipe is None:
            return None
        return snapped(candidate, recipe.lr * (batch_size / near) ** candidate.exponent)

    def promise(self, name: str, batch_size: int) -> float:
        """Return a sort key, least first: how badly a candidate did at the nearest batch size; 0 where unknown."""
        near = self._nearest(name, batch_size)
        return 0.0 if near is None else self.shortfall(name, near)

    def _nearest(self, name: str, batch_size: int) -> int | None:
        sizes = [size for size, tuned in self.tuned if tuned == name and size != batch_size]
        return min(sizes, key=lambda size: abs(math.log(size / batch_size)), default=None)

    def _best_record(self, name: str, batch_size: int) -> TrialRecord | None:
        records = [r for r in self.tuned.get((batch_size, name), []) if self.selection(r) is not None]
        return max(records, key=lambda r: self._sign * (self.selection(r) or 0.0), default=None)

    def _rank(self, measurement: Measurement) -> tuple[int, float]:
        order = {"fail": 0, "undecided": 1, "pass": 2}[measurement.decision]
        mean = measurement.metric.mean
        return order, -math.inf if mean is None else self._sign * mean

    # What the finding shows

    def winner(self, batch_size: int) -> Measurement | None:
        """Return the best measurement at a batch size; linear scaling is a recipe too, but counts only if it passes."""
        linear, best = self.linear.get(batch_size), self.best.get(batch_size)
        if linear is not None and linear.decision == "pass" and (best is None or self._rank(linear) > self._rank(best)):
            return linear
        return best

    def baseline_metrics(self) -> list[float]:
        """Return the baseline's test metrics, one a seed that completed."""
        return [value for value in map(_metric, self._baseline) if value is not None]

    def baseline_losses(self) -> list[float]:
        """Return the baseline's test losses, one a seed that completed."""
        return [value for value in map(_loss, self._baseline) if value is not None]

    def target_loss(self) -> float | None:
        """Return the loss that linear scaling may have at most: xi times the loss factor (Definition 2.1)."""
        losses = self.baseline_losses()
        if not losses:
            return None
        mean = math.fsum(losses) / len(losses)
        return mean * self._loss_factor(mean)

    def target_metric(self) -> float | None:
        """Return the metric that a batch size has to reach: A times the tolerance (Definition 2.2)."""
        metrics = self.baseline_metrics()
        if not metrics:
            return None
        mean = math.fsum(metrics) / len(metrics)
        return mean * self._factor(mean)


def _metric(record: TrialRecord) -> float | None:
    return record.test.metric if record.status == "complete" and record.test else None


def _reached(record: TrialRecord) -> float | None:
    """Return the selection metric at the last point of a trial's history, wherever it was stopped."""
    last = record.history[-1].selection if record.history else None
    return last.metric if last is not None else None


def _loss(record: TrialRecord) -> float | None:
    return record.test.loss if record.status == "complete" and record.test else None


def _both(left: Decision, right: Decision) -> Decision:
    if "fail" in (left, right):
        return "fail"
    return "pass" if left == right == "pass" else "undecided"
