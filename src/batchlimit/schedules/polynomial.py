"""Polynomial decay: the paper's 'poly'."""

from __future__ import annotations

from typing import Literal

from batchlimit.errors import InputError
from batchlimit.schedules import schedules
from batchlimit.schedules.warmup import WarmupShape, check_fraction, progress_after_warmup, warmup_factor


@schedules.register("polynomial")
def polynomial(
    step: int,
    total_steps: int,
    warmup_steps: float,
    *,
    power: float = 1.0,
    end: float = 0.0,
    decay_from: Literal["warmup_end", "start"] = "warmup_end",
    warmup_shape: WarmupShape = "linear",
    warmup_from_zero: bool = False,
) -> float:
    """Return end + (1 - end) * (1 - p)^power after warmup; `end` is a fraction of the peak, `power` at least 0.

    `decay_from` says from where the progress p counts: 'warmup_end' makes the factor continuous, p = (step - warmup) /
    (total - warmup), as MLPerf's recipes have it; 'start' is p = step / total, so that the factor jumps down where
    warmup ends, as the paper's author ran it (with warmup_from_zero=True). Those recipes give the end as an
    absolute learning rate (1e-4): divide it by the peak.

    Source: You et al., 2020, Figure 24; Mattson et al., 2020 (MLPerf), LARS reference.
    """
    check_fraction("end", end)
    if power < 0:
        raise InputError(f"The schedule option 'power' is {power:g}. Valid: 0 or more.")
    rising = warmup_factor(step, warmup_steps, shape=warmup_shape, from_zero=warmup_from_zero)
    if rising is not None:
        return rising
    skipped = 0.0 if decay_from == "start" else warmup_steps
    return float(end + (1.0 - end) * (1.0 - progress_after_warmup(step, total_steps, skipped)) ** power)
