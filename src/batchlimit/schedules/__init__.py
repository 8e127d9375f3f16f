"""Learning-rate schedules: pure functions of progress, one registered file each."""

from __future__ import annotations

from typing import Any, Protocol

from batchlimit.registry import Registry


class Schedule(Protocol):
    """Returns the factor (0 to 1) on the peak learning rate for weight update `step` (0-based) of `total_steps`.

    `warmup_steps` may be fractional, and longer than the training; a `step` past the end gives the end value. `options`
    are the recipe's schedule_options: keyword arguments with defaults and type hints, by which `build` checks them.
    Raises InputError for an option whose value it does not take.
    """

    def __call__(self, step: int, total_steps: int, warmup_steps: float, *args: Any, **options: Any) -> float: ...


schedules: Registry[Schedule] = Registry("schedule", "batchlimit.schedules")
