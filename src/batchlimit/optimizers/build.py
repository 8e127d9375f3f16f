"""From a recipe to an optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch
from torch import nn

from batchlimit.config import Recipe
from batchlimit.errors import InputError, unknown_name
from batchlimit.optimizers import SolverFactory, solvers
from batchlimit.optimizers.layerwise import LayerWise, check_rescalable
from batchlimit.validation import check_options


def build_optimizer(recipe: Recipe, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """Return the recipe's solver for `named_parameters` at `recipe.lr`, wrapped in `LayerWise` if the recipe says so.

    The learning rate is the recipe's own, before the LR rule and the schedule, which are the caller's.

    Raises:
        InputError: an unknown solver, an option that the solver does not take (the message names those that it does),
            a value of another kind than the option's or that the solver refuses, or layer-wise scaling of a solver that
            evaluates at other weights than it trains.
    """
    factory = solvers.get(recipe.solver)
    valid = option_names(factory)
    for name in recipe.solver_options:
        if valid is not None and name not in valid:
            raise unknown_name(f"option of the solver '{recipe.solver}':", name, valid)
    check_options(f"the solver '{recipe.solver}'", factory, recipe.solver_options)
    try:
        optimizer = factory(named_parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, **recipe.solver_options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"The solver '{recipe.solver}' refuses its options {recipe.solver_options}: {message}"
        ) from error
    if recipe.layerwise is None:
        return optimizer
    check_rescalable(optimizer, recipe.solver)
    wise = recipe.layerwise
    return LayerWise(optimizer, wise.lower, wise.upper, wise.coefficient, wise.exclude)


def option_names(factory: SolverFactory) -> list[str] | None:
    """Return the options that a factory takes besides `lr` and `weight_decay`; None if it takes any."""
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [
        p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in ("lr", "weight_decay")
    ]
