"""The verdict as one would write it down once: every batch size, every recipe, the whole grid, no shortcuts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from batchlimit.config import TrialConfig
from batchlimit.records import TrialRecord
from batchlimit.tuning.question import Question

Run = Callable[[TrialConfig], TrialRecord]


def naive_limits(question: Question, run: Run) -> tuple[int, int, dict[int, str], dict[int, str]]:
    """Return B_L, B_H, and for each batch size whether linear scaling, and whether any recipe, passes."""
    settings = question.settings
    first = question.baseline_batch_size

    def trial(recipe: dict, batch_size: int, seed: int) -> TrialRecord:
        return run(
            TrialConfig(
                workload=question.workload,
                batch_size=batch_size,
                budget=question.budget,
                recipe=question.baseline.model_validate(recipe),
                seed=seed,
                protocol=settings.protocol,
            )
        )

    plain = question.baseline.model_dump(exclude_defaults=True)
    seeds = range(1, settings.max_seeds + 1)
    baseline = [trial(plain, first, seed).test for seed in seeds]
    metrics = np.array([scores.metric for scores in baseline])
    losses = np.array([scores.loss for scores in baseline])
    sign = 1 if question.metric_direction == "up" else -1

    def verdict(recipe: dict, batch_size: int, *, also_loss: bool) -> str:
        level = settings.confidence
        records = [trial(recipe, batch_size, seed) for seed in seeds]
        if any(record.status != "complete" for record in records):
            return "fail"
        mine = np.array([record.test.metric for record in records])
        bar = metrics.mean() - sign * (1 - settings.tolerance) * abs(metrics.mean())
        result = _above(sign * mine, sign * metrics * (bar / metrics.mean()), level)
        if also_loss:
            own = np.array([record.test.loss for record in records])
            results = {result, _above(-own, -losses * settings.loss_factor, level)}
            result = next(name for name in ("fail", "undecided", "pass") if name in results)
        return result

    by_linear, by_any = {}, {}
    for size in question.batch_sizes:
        scaled = {**plain, "lr_rule": "linear", "reference_batch_size": first}
        by_linear[size] = verdict(scaled, size, also_loss=True)
        results = {by_linear[size]}
        for candidate in question.candidates:
            anchor = question.dataset_size if candidate.anchor == "full" else first
            begin = candidate.recipe.lr * (size / anchor) ** candidate.exponent
            power = round(np.log(begin / candidate.recipe.lr) / np.log(candidate.step))
            tried = []
            for rung in range(power - candidate.reach, power + candidate.reach + 1):
                for warmup in candidate.warmups:
                    lr = float(f"{candidate.recipe.lr * candidate.step**rung:.4g}")
                    recipe = {**candidate.recipe.model_dump(exclude_defaults=True), "lr": lr, "warmup": warmup}
                    record = trial(recipe, size, 0)
                    if record.status == "complete":
                        tried.append((sign * record.selection.metric, recipe))
            if tried:
                best = max(score for score, _ in tried)
                results |= {max(verdict(r, size, also_loss=False) for score, r in tried if score == best)}
        by_any[size] = next(name for name in ("pass", "undecided", "fail") if name in results)
    return _up_to(first, by_linear), _up_to(first, by_any), by_linear, by_any


def _above(values: np.ndarray, bar: np.ndarray, level: float) -> str:
    """Decide whether the mean of `values` is at least that of `bar` by SciPy's Welch interval, wider for few values."""
    if values.std() == 0 and bar.std() == 0:
        return "pass" if values.mean() >= bar.mean() else "fail"
    if np.ptp(values) == 0:  # as if it varied like the bar, which is not known either
        noise = np.linspace(-1, 1, len(values))
        values = values + noise / noise.std(ddof=1) * bar.std(ddof=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one side without variance
        interval = stats.ttest_ind(values, bar, equal_var=False).confidence_interval(level)
    low, high = interval.low, interval.high
    if len(values) < 5 <= len(bar):  # the conservative freedom, where it is less than Welch's
        error = np.sqrt(values.var(ddof=1) / len(values) + bar.var(ddof=1) / len(bar))
        half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * error
        gap = values.mean() - bar.mean()
        low, high = min(low, gap - half), max(high, gap + half)
    return "pass" if low >= 0 else "fail" if high < 0 else "undecided"


def _up_to(first: int, decisions: dict[int, str]) -> int:
    value = first
    for size, decision in decisions.items():
        if decision == "fail":
            break
        if decision == "pass":
            value = size
    return value


def welch(values: Sequence[float], bar: Sequence[float], level: float) -> str:
    """Return `_above` of plain sequences."""
    return _above(np.array(values), np.array(bar), level)
