"""Estimates over seeds and the decisions that rest on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

from batchlimit.findings import Decision, Estimate

_FEW = 5  # values: with fewer, Welch's approximation errs too often against a reference of many


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
    (the uncertainty of both means is counted), else 'undecided'. Fewer than five values against a reference of more
    have the freedom of the fewer. To ask for "at most", negate both.
    """
    if len(values) < 2 or len(reference) < 2:
        return "undecided"
    gap = _gap(values, reference, factor)
    half = _half_width(values, reference, factor, confidence, len(values))
    if half == 0:
        return "pass" if gap >= 0 else "fail"
    if gap - half >= 0:
        return "pass"
    return "fail" if gap + half < 0 else "undecided"


def worth_more(values: Sequence[float], reference: Sequence[float], factor: float, confidence: float, cap: int) -> bool:
    """Return whether more values, `cap` in all, could decide `compare`: not if the gap is lost in their interval.

    No when the gap seen is below half of the interval's half width at `cap` values with the variances seen. Stopping
    so leaves a comparison undecided that would most probably stay so; it can make no wrong decision.
    """
    half = _half_width(values, reference, factor, confidence, cap)
    return abs(_gap(values, reference, factor)) >= half / 2


def _gap(values: Sequence[float], reference: Sequence[float], factor: float) -> float:
    return math.fsum(values) / len(values) - factor * math.fsum(reference) / len(reference)


def _half_width(
    values: Sequence[float], reference: Sequence[float], factor: float, confidence: float, count: int
) -> float:
    """Return half of Welch's interval of the gap if there were `count` values of the variance seen."""
    spread = factor**2 * _variance(reference)
    # A metric of few examples has few values: seeds that all have the same one do not show that they never differ.
    own, other = (_variance(values) or spread) / count, spread / len(reference)
    error = own + other
    if error == 0:
        return 0.0
    freedom = error**2 / (own**2 / (count - 1) + other**2 / (len(reference) - 1))
    if count < _FEW <= len(reference):
        # Welch's freedom is itself estimated: with 2 values against 20, a 99 % interval would err in 7 % of cases.
        freedom = min(freedom, count - 1)
    return _quantile(confidence, freedom) * math.sqrt(error)


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
