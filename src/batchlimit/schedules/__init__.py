"""Learning-rate schedules: pure functions of progress, one registered file each."""

from __future__ import annotations

from typing import Any, Protocol

from batchlimit.registry import Registry


class Schedule(Protocol):
    """Returns the factor on the peak learning rate for weight update `step` (0-based) of `total_steps`.

    `warmup_steps` may be fractional. `options` are the recipe's schedule_options.
    """

    def __call__(self, step: int, total_steps: int, warmup_steps: float, **options: Any) -> float: ...


schedules: Registry[Schedule] = Registry("schedule", "batchlimit.schedules")
