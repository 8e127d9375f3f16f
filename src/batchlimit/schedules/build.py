"""From a recipe to its schedule, with every option checked before training begins."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from batchlimit.config import Recipe
from batchlimit.errors import InputError
from batchlimit.schedules import schedules
from batchlimit.validation import check_options


def schedule_options(name: str) -> dict[str, Any]:
    """Return the option names of the schedule `name` with their defaults.

    Raises:
        InputError: no schedule of that name.
    """
    parameters = inspect.signature(schedules.get(name)).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def make_schedule(
    name: str, options: Mapping[str, Any], *, total_steps: int, warmup_steps: float
) -> Callable[[int], float]:
    """Return the function step -> factor on the peak learning rate; it pickles.

    Raises:
        InputError: an unknown schedule or option, an option value of the wrong kind or not finite, total_steps below 1,
            or a warmup that is negative or not finite.
    """
    if total_steps < 1:
        raise InputError(f"A schedule over {total_steps} steps. Valid: 1 or more.")
    if not (math.isfinite(warmup_steps) and warmup_steps >= 0):
        raise InputError(f"A warmup of {warmup_steps:g} steps. Valid: 0 or more.")
    entry = schedules.get(name)
    valid = schedule_options(name)
    for option in options:
        if option not in valid:
            raise InputError(f"The schedule '{name}' has no option '{option}'. Valid: {', '.join(sorted(valid))}.")
    check_options(f"the schedule '{name}'", entry, options)
    factor: Callable[[int], float] = partial(entry, total_steps=total_steps, warmup_steps=warmup_steps, **options)
    factor(total_steps)  # values out of range are found here, not at the end of warmup
    return factor


def spaced_steps(total_steps: int, most: int = 2000) -> list[int]:
    """Return the steps to draw a schedule by: all, or `most` of them evenly spaced, the first and the last included."""
    points = min(total_steps, most)
    return [round(point * (total_steps - 1) / max(1, points - 1)) for point in range(points)]


def build_schedule(recipe: Recipe, *, total_steps: int, warmup_steps: float) -> Callable[[int], float]:
    """Return the recipe's schedule as a function step -> factor on the peak learning rate, `recipe.peak_lr(B)`.

    Raises:
        InputError: as `make_schedule`.
    """
    return make_schedule(recipe.schedule, recipe.schedule_options, total_steps=total_steps, warmup_steps=warmup_steps)
