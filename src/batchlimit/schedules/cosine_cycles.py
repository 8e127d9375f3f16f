"""Several cosine cycles over the training: the paper's regular, fine-grained and coarse-grained cosine schedules."""

from __future__ import annotations

import math
from typing import Literal

from batchlimit.errors import InputError
from batchlimit.schedules import schedules
from batchlimit.schedules.warmup import WarmupShape, check_fraction, progress_after_warmup, warmup_factor

Grain = Literal["fine", "regular", "coarse"]
DESCENTS: dict[Grain, int] = {"fine": 20, "regular": 5, "coarse": 2}


@schedules.register("cosine-cycles")
def cosine_cycles(
    step: int,
    total_steps: int,
    warmup_steps: float,
    *,
    grain: Grain = "regular",
    cycles: int = 0,
    restarts: bool = False,
    end: float = 0.0,
    warmup_shape: WarmupShape = "linear",
    warmup_from_zero: bool = False,
) -> float:
    """Return a cosine between 1 and `end` (a fraction of the peak) that comes down several times after warmup.

    The factor comes down `cycles` times, by default as often as `grain` says: 20 times (fine), 5 (regular) or 2
    (coarse); the paper gives only the words. It begins at 1 and ends at `end`, so one cycle is the cosine decay.
    Between descents it rises the same way; with `restarts` it jumps back to 1 at once.

    Source: You et al., 2020, Figures 23 and 25-27; with restarts, Loshchilov and Hutter, 2017 (arXiv 1608.03983),
    equation 5.
    """
    check_fraction("end", end)
    if cycles < 0:
        raise InputError(f"The schedule option 'cycles' is {cycles}. Valid: 1 or more, or 0 for what 'grain' says.")
    rising = warmup_factor(step, warmup_steps, shape=warmup_shape, from_zero=warmup_from_zero)
    if rising is not None:
        return rising
    progress = progress_after_warmup(step, total_steps, warmup_steps)
    descents = cycles or DESCENTS[grain]
    if restarts:
        phase = descents * progress
        phase = 1.0 if progress == 1.0 else phase - math.floor(phase)
    else:
        phase = (2 * descents - 1) * progress
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * phase))
