"""Intervals of means over seeds, and tests of two solvers over the seeds they share.

Intervals are of the expanded percentile bootstrap: the percentile interval of resampled means, taken at levels that
make up for the few values there are, as the t distribution does for the normal one. No resampled mean lies outside the
values, though, so of 2 to 4 values such an interval holds the truth far too rarely (measured on normal ones, at 95 %:
51, 73 and 90 %); there it is Student's t, Welch's for a difference.
Source: Hesterberg, 2015, "What Teachers Should Know About the Bootstrap", section 5.3 (arXiv 1411.5279).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from batchlimit.errors import InputError, unknown_name
from batchlimit.findings import Estimate, Finding

FEW = 5  # below so many values a bootstrap says too little
RESAMPLES = 10_000
_SEED = 20_200_615  # the day the paper came out; any constant will do: the same values give the same interval


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


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean of `values` with its interval; one value has no interval, none has no mean.

    By the bootstrap; of fewer than five values by Student's t.

    Raises:
        InputError: a value that is not finite.
    """
    _check_finite(values)
    n = len(values)
    if n == 0:
        return Estimate()
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean=mean, n=1)
    if n < FEW:
        return students(mean, [values], confidence)
    low, high = np.quantile(_resampled(np.asarray(values, float), 0), expanded(confidence, n))
    return Estimate(mean=mean, low=float(low), high=float(high), n=n)


def difference_interval(left: Sequence[float], right: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return mean(left) - mean(right) of independent samples with its interval; `n` is the smaller size.

    By the bootstrap; where either has fewer than five values by Welch's t. There is no interval where either has fewer
    than two values. For values of the same seeds `paired_test` is sharper.

    Raises:
        InputError: a value that is not finite.
    """
    _check_finite([*left, *right])
    n = min(len(left), len(right))
    if n == 0:
        return Estimate()
    mean = math.fsum(left) / len(left) - math.fsum(right) / len(right)
    if n == 1:
        return Estimate(mean=mean, n=1)
    if n < FEW:
        return students(mean, [left, right], confidence)
    means = _resampled(np.asarray(left, float), 0) - _resampled(np.asarray(right, float), 1)
    low, high = np.quantile(means, expanded(confidence, n))
    return Estimate(mean=mean, low=float(low), high=float(high), n=n)


def expanded(confidence: float, n: int) -> tuple[float, float]:
    """Return the levels of the expanded percentile interval of `n` values: as far out as t and n / (n - 1) ask."""
    reach = math.sqrt(n / (n - 1)) * float(stats.t.ppf(0.5 + confidence / 2, n - 1))
    tail = float(stats.norm.sf(reach))
    return tail, 1 - tail


def paired_test(
    first: Mapping[int, float],
    second: Mapping[int, float],
    *,
    test: Literal["permutation", "wilcoxon"] = "permutation",
    confidence: float = 0.95,
) -> PairedTest:
    """Compare two solvers over shared seeds; `first` and `second` are seed -> value (say, the test metric).

    'permutation' turns the signs of the differences (all 2^n ways up to 13 seeds, and 9,999 at random beyond) and
    looks at their mean; 'wilcoxon' is the signed-rank test, less moved by one outlying seed. Seeds that only one of
    them has are left out; fewer than two shared ones say nothing, and have no p-value.

    Raises:
        InputError: an unknown test, or a value that is not finite.
    """
    if test not in ("permutation", "wilcoxon"):
        raise unknown_name("paired test", str(test), ("permutation", "wilcoxon"))
    shared = sorted(set(first) & set(second))
    gaps = np.array([first[one] - second[one] for one in shared])
    difference = mean_interval(gaps.tolist(), confidence)
    p_value = None
    if len(gaps) > 1:
        p_value = 1.0 if not gaps.any() else _p_value(gaps, test)
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


def students(mean: float, samples: Sequence[Sequence[float]], confidence: float) -> Estimate:
    """Return `mean`, of one sample or of the difference of two, with the interval of Student's or Welch's t.

    Each of `samples` has two values or more; `n` is the smaller size.
    """
    squares = [float(np.var(np.asarray(sample, float), ddof=1)) / len(sample) for sample in samples]
    error = sum(squares)
    n = min(map(len, samples))
    if error == 0:
        return Estimate(mean=mean, low=mean, high=mean, n=n)
    # By shares of the sum, for squares of tiny numbers vanish.
    freedom = 1.0 / sum((s / error) ** 2 / (len(sample) - 1) for s, sample in zip(squares, samples, strict=True))
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * math.sqrt(error)
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n)


def _check_finite(values: Sequence[float]) -> None:
    if not all(map(math.isfinite, values)):
        raise InputError("An interval of values that are not finite. Valid: finite ones; leave the others out.")


def _p_value(gaps: NDArray[np.float64], test: str) -> float:
    if test == "wilcoxon":
        return float(stats.wilcoxon(gaps).pvalue)
    outcome = stats.permutation_test(
        (gaps,),
        lambda sample, axis=-1: np.mean(sample, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES - 1,
        random_state=np.random.default_rng(_SEED),
    )
    return float(outcome.pvalue)


def _resampled(values: NDArray[np.float64], stream: int) -> NDArray[np.float64]:
    """Return RESAMPLES means (RESAMPLES,) of samples drawn from `values` (n,) with replacement."""
    chosen = np.random.default_rng((_SEED, stream)).integers(len(values), size=(RESAMPLES, len(values)))
    means: NDArray[np.float64] = values[chosen].mean(1)
    return means
