"""Bootstrap intervals of means over seeds.

The expanded percentile bootstrap: the percentile interval of resampled means, taken at levels that make up for the few
values there are, as the t distribution does for the normal one.
Source: Hesterberg, 2015, "What Teachers Should Know About the Bootstrap", section 5.3 (arXiv 1411.5279).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from batchlimit.findings import Estimate

RESAMPLES = 10_000
_SEED = 20_200_615  # the day the paper came out; any constant will do: the same values give the same interval


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean of `values` with its bootstrap interval; one value has no interval, none has no mean."""
    n = len(values)
    if n == 0:
        return Estimate()
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean=mean, n=1)
    low, high = _percentiles(_resampled(np.asarray(values, float), 0), confidence, n - 1, n / (n - 1))
    return Estimate(mean=mean, low=low, high=high, n=n)


def difference_interval(left: Sequence[float], right: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return mean(left) - mean(right) of independent samples with its bootstrap interval; `n` is the smaller size.

    There is no interval where either has fewer than two values.
    """
    n = min(len(left), len(right))
    if n == 0:
        return Estimate()
    mean = math.fsum(left) / len(left) - math.fsum(right) / len(right)
    if n == 1:
        return Estimate(mean=mean, n=1)
    means = _resampled(np.asarray(left, float), 0) - _resampled(np.asarray(right, float), 1)
    low, high = _percentiles(means, confidence, n - 1, n / (n - 1))
    return Estimate(mean=mean, low=low, high=high, n=n)


def _resampled(values: NDArray[np.float64], stream: int) -> NDArray[np.float64]:
    """Return RESAMPLES means (RESAMPLES,) of samples drawn from `values` (n,) with replacement."""
    chosen = np.random.default_rng((_SEED, stream)).integers(len(values), size=(RESAMPLES, len(values)))
    means: NDArray[np.float64] = values[chosen].mean(1)
    return means


def _percentiles(means: NDArray[np.float64], confidence: float, freedom: int, widening: float) -> tuple[float, float]:
    """Return the ends of the expanded percentile interval: levels as far out as t and the widening ask."""
    reach = math.sqrt(widening) * float(stats.t.ppf(0.5 + confidence / 2, freedom))
    tail = float(stats.norm.sf(reach))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
