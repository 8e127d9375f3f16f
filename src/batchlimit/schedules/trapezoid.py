"""The trapezoid: warmup, stable, decay."""

from __future__ import annotations

import math
from typing import Literal

from batchlimit.schedules import schedules
from batchlimit.schedules.warmup import WarmupShape, check_fraction, progress_after_warmup, warmup_factor


@schedules.register("trapezoid")
def trapezoid(
    step: int,
    total_steps: int,
    warmup_steps: float,
    *,
    decay: float = 0.2,
    decay_shape: Literal["linear", "sqrt", "cosine"] = "linear",
    end: float = 0.0,
    warmup_shape: WarmupShape = "linear",
    warmup_from_zero: bool = False,
) -> float:
    """Return 1 after warmup, coming down to `end` (a fraction of the peak) over the last part of training.

    `decay` is that part as a fraction of all steps; a warmup that reaches into it shortens it. With p the progress
    through the decay, it is 1 - p (linear), 1 - sqrt(p) (sqrt) or (1 + cos(pi p)) / 2 (cosine) from 1 to `end`.

    Source: Zhai et al., 2022 (arXiv 2106.04560), section 3.4; Hägele et al., 2024 (arXiv 2405.18392), equation 1 and
    section 4 for 1 - sqrt; 'warmup-stable-decay' in Hu et al., 2024 (arXiv 2404.06395), section 4.
    """
    check_fraction("decay", decay)
    check_fraction("end", end)
    rising = warmup_factor(step, warmup_steps, shape=warmup_shape, from_zero=warmup_from_zero)
    if rising is not None:
        return rising
    begin = max(warmup_steps, (1.0 - decay) * total_steps)
    if step < begin:
        return 1.0
    progress = progress_after_warmup(step, total_steps, begin)
    left = {
        "linear": 1.0 - progress,
        "sqrt": 1.0 - math.sqrt(progress),
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }[decay_shape]
    return end + (1.0 - end) * left
