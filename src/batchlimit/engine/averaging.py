"""The recipe's averaging of the weights: kept beside the training, used by its evaluations."""

from __future__ import annotations

import torch
from torch import nn

from batchlimit.config import Recipe, TrialConfig
from batchlimit.errors import InputError
from batchlimit.optimizers.averaging import WeightAverage, decay_of_half_life


def average_of(
    config: TrialConfig, model: nn.Module, optimizer: torch.optim.Optimizer, *, dataset_size: int, total_steps: int
) -> WeightAverage | None:
    """Return the average of `model`'s weights that the recipe asks for, None where it asks for none.

    Raises:
        InputError: the solver averages by itself, the half-life is too short for a number, or training ends before the
            average starts.
    """
    check_averaging(config.recipe, optimizer)
    averaging = config.recipe.averaging
    if averaging is None:
        return None
    decay, batch_size = averaging.decay, config.batch_size
    # Before rounding up: half of a training of one step is within it.
    begin = averaging.start.fractional_steps(batch_size=batch_size, dataset_size=dataset_size, total_steps=total_steps)
    if begin >= total_steps:
        raise InputError(
            f"recipe.averaging.start is {averaging.start}, but training ends after {total_steps} step(s), so nothing "
            "would be averaged. Valid: an earlier start, '50%' say."
        )
    if averaging.half_life is not None:
        decay = decay_of_half_life(
            averaging.half_life.fractional_steps(
                batch_size=batch_size, dataset_size=dataset_size, total_steps=total_steps
            )
        )
    start = averaging.start.steps(batch_size=batch_size, dataset_size=dataset_size, total_steps=total_steps)
    return WeightAverage(model, averaging.kind, decay=decay, start=start)


def check_averaging(recipe: Recipe, optimizer: torch.optim.Optimizer) -> None:
    """Check that the weights are not averaged twice.

    Raises:
        InputError: the recipe averages the weights, and its solver evaluates with an average of its own.
    """
    if recipe.averaging is not None and callable(getattr(optimizer, "eval", None)):
        raise InputError(
            f"The solver '{recipe.solver}' averages its weights by itself. Valid: no recipe.averaging with it."
        )
