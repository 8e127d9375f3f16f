"""Cyclical learning rates: a triangular wave."""

from __future__ import annotations

import math

from batchlimit.errors import InputError
from batchlimit.schedules import schedules
from batchlimit.schedules.warmup import WarmupShape, check_fraction, warmup_factor


@schedules.register("cyclical")
def cyclical(
    step: int,
    total_steps: int,
    warmup_steps: float,
    *,
    length: float = 0.2,
    length_steps: float = 0.0,
    low: float = 0.1,
    shrink: float = 1.0,
    warmup_shape: WarmupShape = "linear",
    warmup_from_zero: bool = False,
) -> float:
    """Return a triangular wave between `low` and 1 (fractions of the peak) after warmup.

    A cycle (down and up again) lasts `length`, a fraction of all steps, or `length_steps` steps if that is above 0; at
    least one step. The wave begins where the warmup left off: at the peak after a warmup, at `low` without one. The
    height above `low` is multiplied by `shrink` at each lowest point (1: 'triangular', 0.5: 'triangular2').

    Source: Smith, 2017 (arXiv 1506.01186), section 3; You et al., 2020, Figures 32 and 33, where the length decides
    whether it hurts or helps.
    """
    check_fraction("length", length, above_zero=True)
    check_fraction("low", low)
    check_fraction("shrink", shrink, above_zero=True)
    if length_steps < 0:
        raise InputError(f"The schedule option 'length_steps' is {length_steps:g}. Valid: 0 or more.")
    rising = warmup_factor(step, warmup_steps, shape=warmup_shape, from_zero=warmup_from_zero)
    if rising is not None:
        return rising
    period = max(1.0, length_steps or length * total_steps)
    cycles = (min(step, total_steps) - min(warmup_steps, total_steps)) / period
    within = cycles - math.floor(cycles)
    height = abs(2.0 * within - 1.0)
    lowest = math.floor(cycles + 0.5)
    if warmup_steps == 0:
        height, lowest = 1.0 - height, math.floor(cycles)
    return low + (1.0 - low) * height * shrink**lowest
