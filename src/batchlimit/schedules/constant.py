"""The peak learning rate throughout, after warmup."""

from __future__ import annotations

from batchlimit.schedules import schedules
from batchlimit.schedules.warmup import WarmupShape, warmup_factor


@schedules.register("constant")
def constant(
    step: int,
    total_steps: int,
    warmup_steps: float,
    *,
    warmup_shape: WarmupShape = "linear",
    warmup_from_zero: bool = False,
) -> float:
    """Return 1 once warmup is over."""
    rising = warmup_factor(step, warmup_steps, shape=warmup_shape, from_zero=warmup_from_zero)
    return 1.0 if rising is None else rising
