"""The critical batch size that the measured gradient noise predicts, before any larger batch is trained with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from batchlimit.analysis.intervals import FEW, expanded
from batchlimit.errors import InputError
from batchlimit.findings import Finding
from batchlimit.records import TrialRecord

Numbers = npt.NDArray[np.float64]

_RESAMPLES = 4999
_NEIGHBOURS = 2


class NoiseCurve(Finding):
    """What the probe 'gradient-noise' saw along one training of `steps` updates at `batch_size`.

    One number for each look: the weight update, the estimates of |G|^2 (at times negative) and of tr(Sigma) (above 0).
    `dataset_size` is the number N of training examples, of which batches are drawn without replacement; None: endless.
    """

    batch_size: int
    dataset_size: int | None = None
    steps: int
    updates: tuple[int, ...]
    gradient_sq: tuple[float, ...]
    variance: tuple[float, ...]

    @property
    def share(self) -> float:
        """The variance of the batch's gradient in units of tr(Sigma): 1/B - 1/N, and 0 at the full batch."""
        return _share(self.batch_size, self.dataset_size)


class CriticalBatch(Finding):
    """The predicted critical batch size, with its bootstrap interval.

    `batch_size` is None where the noise hid the gradient, `high` where no finite upper end can be given. `low` and
    `high` are over seeds where there are five trainings or more; over the looks of the trainings where there are
    fewer, and then they say how well it was measured, not how much it differs from seed to seed.
    """

    batch_size: float | None
    low: float | None
    high: float | None
    over: Literal["seeds", "looks"]
    trainings: int
    looks: int
    confidence: float


def noise_curve(record: TrialRecord, dataset_size: int | None = None) -> NoiseCurve | None:
    """Return what `record` holds of gradient noise, without looks that were not finite; None where it holds nothing.

    `dataset_size` is for records of older versions, which do not tell the number of training examples.
    """
    measured = record.measurements.get("gradient-noise")
    if not measured:
        return None
    columns = (measured["updates"], measured["gradient_sq"], measured["variance"])
    rows = [row for row in zip(*columns, strict=True) if None not in row]
    if not rows:
        return None
    updates, gradient_sq, variance = zip(*rows, strict=True)
    return NoiseCurve(
        batch_size=record.config.batch_size,
        dataset_size=measured.get("dataset_size", dataset_size),
        steps=max(record.steps, updates[-1]),
        updates=updates,
        gradient_sq=gradient_sq,
        variance=variance,
    )


def critical_batch(
    curves: Iterable[NoiseCurve], *, confidence: float = 0.95, resamples: int = _RESAMPLES, seed: int = 0
) -> CriticalBatch:
    """Return the critical batch size of the trainings `curves`: the mean of tr(Sigma) / |G|^2 by progress.

    With batch size B an update makes 1 / (1 + noise scale * f) of the progress that the true gradient would make, f
    being 1/B - 1/N of batches drawn from N examples without replacement. The noise scale at each moment counts by the
    progress made then, so that steps(B) = S (1 + B_crit f) of a training as a whole, S being the steps without noise.
    With x = |G|^2 / tr(Sigma), the inverse of the noise scale,

        B_crit = sum_t w_t / (f + y_t)  over  sum_t w_t x_t / (f + y_t)

    where w_t are the updates nearest to look t and y_t is the mean of x over the two looks on either side. Several
    trainings add their sums. No look is divided by its own x, so noisy and negative ones do not bias the answer as long
    as B is not far below it. At B_crit a training needs twice the fewest steps and twice the fewest examples; it is no
    limit of accuracy.

    Raises:
        InputError: no curve, or a confidence outside (0, 1).

    Source: McCandlish et al., 2018 (arXiv 1812.06162), sections 2.2 and 2.3, where N is endless.
    """
    sums = [_sums(curve) for curve in curves]
    if not sums:
        raise InputError("No training with the probe 'gradient-noise'. Valid: records of trials that had it on.")
    if not 0 < confidence < 1:
        raise InputError(f"The confidence is {confidence:g}. Valid: between 0 and 1, both excluded.")
    looks = sum(len(above) for above, _ in sums)
    above, below = (sum(float(pair[side].sum()) for pair in sums) for side in (0, 1))
    over: Literal["seeds", "looks"] = "seeds" if len(sums) >= FEW else "looks"
    low, high = _interval(sums, over, confidence, resamples, seed) if looks > 1 else (math.inf, math.inf)
    return CriticalBatch(
        batch_size=above / below if below > 0 else None,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        over=over,
        trainings=len(sums),
        looks=looks,
        confidence=confidence,
    )


def mean_snr(curve: NoiseCurve) -> float:
    """Return the signal-to-noise ratio |G|^2 / E||g - G||^2 of a training, a mean over its updates; at times negative.

    Every look counts for the updates nearest to it, also one where the noise hides the gradient (|G|^2 estimated below
    0): a mean over those alone where it does not would be far too high in small batches. Infinite at the full batch.

    Source: You et al., 2020, section 6.1; McCandlish et al., 2018 (arXiv 1812.06162), appendix A.1.
    """
    weights, inverse = _looks(curve)
    mean = float(np.average(inverse, weights=weights))
    return mean / curve.share if curve.share > 0 else math.inf


def predicted_snr(batch_size: int, noise_scale: float, dataset_size: int | None = None) -> float:
    """Return the signal-to-noise ratio |G|^2 / E||g - G||^2 of a batch: B |G|^2 / tr(Sigma) = B / noise scale.

    With `dataset_size` N, of a batch drawn without replacement, 1 / (noise scale (1/B - 1/N)): infinite at B = N.
    Of the paper's ratio E||g_par||^2 / E||g_perp||^2 it leaves out the noise along G, one direction of many.

    Raises:
        InputError: a batch size below 1 or above the data set, or a noise scale that is not positive.

    Source: You et al., 2020, section 6.1.
    """
    if not 1 <= batch_size <= (dataset_size or math.inf):
        raise InputError(f"The batch size is {batch_size}. Valid: 1 to {dataset_size or 'any'}.")
    if not noise_scale > 0:
        raise InputError(f"The noise scale is {noise_scale:g}. Valid: above 0.")
    share = _share(batch_size, dataset_size)
    return 1.0 / (noise_scale * share) if share > 0 else math.inf


def _share(batch_size: int, dataset_size: int | None) -> float:
    return max(0.0, 1.0 / batch_size - (1.0 / dataset_size if dataset_size else 0.0))


def look_weights(updates: Sequence[int], steps: int) -> list[float]:
    """Return how many of the updates 1 to `steps` each look stands for: those nearest to it."""
    edges = [0.5, *((a + b) / 2 for a, b in pairwise(updates)), steps + 0.5]
    return [after - before for before, after in pairwise(edges)]


def _looks(curve: NoiseCurve) -> tuple[Numbers, Numbers]:
    """Return how many updates each look stands for, and its |G|^2 / tr(Sigma), the inverse of the noise scale."""
    weights = np.array(look_weights(curve.updates, curve.steps))
    return weights, np.array(curve.gradient_sq) / np.array(curve.variance)


def _sums(curve: NoiseCurve) -> tuple[Numbers, Numbers]:
    """Return the terms of the numerator and of the denominator, one for each look."""
    weights, inverse = _looks(curve)
    smooth = _of_neighbours(inverse) + curve.share
    return weights / smooth, weights * inverse / smooth


def _of_neighbours(values: Numbers) -> Numbers:
    """Return the mean of the values next to each, without itself: free of its noise, so that no ratio is biased."""
    if len(values) == 1:
        return values
    return np.array(
        [
            np.concatenate([values[max(0, place - _NEIGHBOURS) : place], values[place + 1 :][:_NEIGHBOURS]]).mean()
            for place in range(len(values))
        ]
    )


def _interval(
    sums: list[tuple[Numbers, Numbers]], over: str, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    source = np.random.default_rng(seed)
    if over == "seeds":
        groups = [np.array([[float(above.sum()), float(below.sum())] for above, below in sums])]
    else:
        groups = [np.stack(pair, axis=1) for pair in sums]
    totals = np.zeros((resamples, 2))
    for rows in groups:
        totals += rows[source.integers(len(rows), size=(resamples, len(rows)))].sum(axis=1)
    found = np.divide(totals[:, 0], totals[:, 1], out=np.full(resamples, np.inf), where=totals[:, 1] > 0)
    # Order statistics, not a mean of two: an infinite value has no mean with a finite one.
    low, high = np.quantile(found, expanded(confidence, sum(map(len, groups))), method="inverted_cdf")
    return float(low), float(high)
