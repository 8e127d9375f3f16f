"""Cosine decay: half a cosine from the peak to the end."""

from __future__ import annotations

import math

from batchlimit.schedules import schedules
from batchlimit.schedules.warmup import WarmupShape, check_fraction, progress_after_warmup, warmup_factor


@schedules.register("cosine")
def cosine(
    step: int,
    total_steps: int,
    warmup_steps: float,
    *,
    end: float = 0.0,
    warmup_shape: WarmupShape = "linear",
    warmup_from_zero: bool = False,
) -> float:
    """Return end + (1 - end) * (1 + cos(pi p)) / 2, p the progress after warmup; `end` is a fraction of the peak.

    Source: Loshchilov and Hutter, 2017 (arXiv 1608.03983), equation 5 without restarts; You et al., 2020, Figures 28
    (linear warmup) and 29 (cosine warmup).
    """
    check_fraction("end", end)
    rising = warmup_factor(step, warmup_steps, shape=warmup_shape, from_zero=warmup_from_zero)
    if rising is not None:
        return rising
    progress = progress_after_warmup(step, total_steps, warmup_steps)
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
