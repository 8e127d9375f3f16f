"""The rise of the learning rate at the start of training, and the progress after it: shared by all schedules."""

from __future__ import annotations

import math
from typing import Literal

from batchlimit.errors import InputError

WarmupShape = Literal["linear", "cosine"]


def warmup_factor(
    step: int, warmup_steps: float, *, shape: WarmupShape = "linear", from_zero: bool = False
) -> float | None:
    """Return the factor on the peak learning rate during warmup, None once warmup is over (step >= warmup_steps).

    The linear factor is (step + 1) / warmup_steps, at most 1: a first step at a learning rate of 0 would waste one of
    the 35 steps of a full-batch training. `from_zero` gives step / warmup_steps instead, as the paper's author ran it.
    The cosine shape bends that factor f to (1 - cos(pi f)) / 2.

    Source: Goyal et al., 2017 (arXiv 1706.02677), section 2.2; You et al., 2020, Figures 24 (linear) and 29 (cosine).
    """
    if step >= warmup_steps:
        return None
    linear = min(1.0, (step if from_zero else step + 1) / warmup_steps)
    return linear if shape == "linear" else 0.5 * (1.0 - math.cos(math.pi * linear))


def progress_after_warmup(step: int, total_steps: int, warmup_steps: float) -> float:
    """Return how much of the training after warmup is done before weight update `step`: 0 at its start, 1 at the end.

    1 for all steps if warmup is as long as the training or longer.
    """
    rest = total_steps - warmup_steps
    if rest <= 0:
        return 1.0
    return min(1.0, max(0.0, (step - warmup_steps) / rest))


def check_fraction(name: str, value: float, *, above_zero: bool = False) -> None:
    """Raise InputError unless the schedule option `name` lies between 0 and 1 (0 itself excluded by `above_zero`)."""
    if not (0.0 <= value <= 1.0) or (above_zero and value == 0.0):
        valid = "above 0, at most 1" if above_zero else "0 to 1"
        raise InputError(f"The schedule option '{name}' is {value:g}. Valid: {valid}.")
