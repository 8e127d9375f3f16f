"""How sure a mean, a difference or a comparison over seeds is, without assuming a distribution."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from batchlimit.errors import InputError, unknown_name
from batchlimit.findings import Estimate, Finding

RESAMPLES = 9999
Method = Literal["BCa", "percentile"]


class PairedTest(Finding):
    """Two solvers over the seeds that both have: the mean difference (first minus second), its interval, and a test.

    `p_value` is two-sided, for "the sign of each difference is as likely either way"; None with no shared seed.
    `wins` counts seeds at which the first is larger, `ties` those at which both are the same. With n seeds no p-value
    is below 2 / 2^n: five seeds cannot reach 0.05, six can.
    """

    difference: Estimate
    p_value: float | None
    n: int
    wins: int
    ties: int
    test: Literal["permutation", "wilcoxon"]


def mean_interval(
    values: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = "BCa",
) -> Estimate:
    """Return the mean of `values` (one a seed) and its bootstrap interval, the same for the same `seed`.

    One value has no interval, none has no mean. With few values the interval is somewhat too narrow (five normal ones:
    a 95 % interval holds the mean in about 84 % of cases), as it cannot know of values it has not seen; where normal
    values are a fair assumption, a t interval is the safer one.

    Raises:
        InputError: a value that is not finite.

    Source: Efron, 1987 (BCa), by `scipy.stats.bootstrap`.
    """
    return _interval([values], lambda sample, axis=-1: np.mean(sample, axis=axis), confidence, resamples, seed, method)


def difference_interval(
    first: Sequence[float],
    second: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = "BCa",
) -> Estimate:
    """Return mean(first) - mean(second) and its bootstrap interval; the two are independent and may differ in length.

    `n` is the smaller length. There is no interval where either has one value only. For values of the same seeds
    `paired_test` is sharper.

    Raises:
        InputError: a value that is not finite.
    """

    def gap(left: Any, right: Any, axis: int = -1) -> Any:
        return np.mean(left, axis=axis) - np.mean(right, axis=axis)

    return _interval([first, second], gap, confidence, resamples, seed, method)


def paired_test(
    first: Mapping[int, float],
    second: Mapping[int, float],
    *,
    test: Literal["permutation", "wilcoxon"] = "permutation",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedTest:
    """Compare two solvers over shared seeds; `first` and `second` are seed -> value (say, the test metric).

    'permutation' turns the signs of the differences of the mean (all 2^n ways where that is at most `resamples`);
    'wilcoxon' is the signed-rank test, less moved by one outlying seed. Seeds that only one of them has are left out.

    Raises:
        InputError: an unknown test, or a value that is not finite.
    """
    if test not in ("permutation", "wilcoxon"):
        raise unknown_name("paired test", str(test), ("permutation", "wilcoxon"))
    shared = sorted(set(first) & set(second))
    gaps = np.array([first[one] - second[one] for one in shared])
    difference = mean_interval(gaps.tolist(), confidence=confidence, resamples=resamples, seed=seed)
    p_value = None
    if len(gaps):
        p_value = 1.0 if not gaps.any() else _p_value(gaps, test, resamples, seed)
    return PairedTest(
        difference=difference,
        p_value=p_value,
        n=len(shared),
        wins=int((gaps > 0).sum()),
        ties=int((gaps == 0).sum()),
        test=test,
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values of several comparisons, corrected so that any false alarm at all is as rare as one alone.

    Source: Holm, 1979: the k-th smallest of m times m - k + 1, never below a smaller one's.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(order), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = largest
    return tuple(corrected)


def _p_value(gaps: np.ndarray, test: str, resamples: int, seed: int) -> float:
    if test == "wilcoxon":
        return float(stats.wilcoxon(gaps).pvalue)
    outcome = stats.permutation_test(
        (gaps,),
        lambda sample, axis=-1: np.mean(sample, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        random_state=np.random.default_rng(seed),
    )
    return float(outcome.pvalue)


def _interval(
    samples: Sequence[Sequence[float]],
    statistic: Callable[..., Any],
    confidence: float,
    resamples: int,
    seed: int,
    method: str,
) -> Estimate:
    if method not in ("BCa", "percentile"):
        raise unknown_name("bootstrap method", method, ("BCa", "percentile"))
    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    if not all(np.isfinite(array).all() for array in arrays):
        raise InputError("A bootstrap over values that are not finite. Valid: finite ones; leave the others out.")
    n = min(len(array) for array in arrays)
    if n == 0:
        return Estimate()
    mean = float(statistic(*arrays))
    if n == 1:
        return Estimate(mean=mean, n=1)
    if all(np.ptp(array) == 0 for array in arrays):
        return Estimate(mean=mean, low=mean, high=mean, n=n)
    low, high = _bounds(arrays, statistic, confidence, resamples, seed, method)
    if not (math.isfinite(low) and math.isfinite(high)):  # BCa has no correction for some very even samples
        low, high = _bounds(arrays, statistic, confidence, resamples, seed, "percentile")
    return Estimate(mean=mean, low=low, high=high, n=n)


def _bounds(
    arrays: list[np.ndarray], statistic: Callable[..., Any], confidence: float, resamples: int, seed: int, method: str
) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", category=RuntimeWarning)
        interval = stats.bootstrap(
            tuple(arrays),
            statistic,
            confidence_level=confidence,
            n_resamples=resamples,
            method=method,
            vectorized=True,
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return float(interval.low), float(interval.high)
