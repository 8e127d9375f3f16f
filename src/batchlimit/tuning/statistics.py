"""Estimates over seeds and the decisions that rest on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

from batchlimit.findings import Decision, Estimate


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean of `values` and its two-sided t interval; one value has no interval, none has no mean."""
    n = len(values)
    if n == 0:
        return Estimate()
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean=mean, n=1)
    half = _quantile(confidence, n - 1) * math.sqrt(_variance(values) / n)
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n)


def compare(values: Sequence[float], reference: Sequence[float], factor: float, confidence: float) -> Decision:
    """Decide whether the mean of `values` is at least `factor` times the mean of `reference`.

    'pass' or 'fail' when the two-sided Welch interval of mean(values) - factor * mean(reference) lies on one side of 0
    (the uncertainty of both means is counted), else 'undecided'. To ask for "at most", negate both.
    """
    if len(values) < 2 or len(reference) < 2:
        return "undecided"
    gap = math.fsum(values) / len(values) - factor * math.fsum(reference) / len(reference)
    own = _variance(values) / len(values)
    other = factor**2 * _variance(reference) / len(reference)
    error = own + other
    if error == 0:
        return "pass" if gap >= 0 else "fail"
    freedom = error**2 / (own**2 / (len(values) - 1) + other**2 / (len(reference) - 1))
    half = _quantile(confidence, freedom) * math.sqrt(error)
    if gap - half >= 0:
        return "pass"
    return "fail" if gap + half < 0 else "undecided"


def looks(seeds: int, cap: int) -> tuple[int, ...]:
    """Return the numbers of seeds at which a decision is tried: `seeds`, doubled until `cap`."""
    sizes = [min(seeds, cap)]
    while sizes[-1] < cap:
        sizes.append(min(2 * sizes[-1], cap))
    return tuple(sizes)


def confidence_of_a_look(confidence: float, count: int) -> float:
    """Return the confidence each of `count` looks at growing data needs, that all together err as rarely as one would.

    Source: Bonferroni's inequality; adding seeds until an interval happens to clear the bar would otherwise err more.
    """
    return 1 - (1 - confidence) / count


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _quantile(confidence: float, freedom: float) -> float:
    return float(stats.t.ppf(0.5 + confidence / 2, freedom))
