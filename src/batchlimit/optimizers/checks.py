"""Checks of solver options: one line that names the option and what it may be."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from batchlimit.errors import InputError, unknown_name


def check_numbers(solver: str, **options: float | Tensor | None) -> None:
    """Raise an `InputError` that names the first of `options` that is negative or not finite (None is not checked)."""
    for name, value in options.items():
        if value is None or isinstance(value, Tensor):
            continue
        if not 0 <= value < math.inf:
            raise InputError(f"{name} = {value} for the solver '{solver}'. Valid: 0 or a positive number.")


def check_below_one(solver: str, **options: float) -> None:
    """Raise an `InputError` that names the first of `options` that is not in [0, 1)."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise InputError(f"{name} = {value} for the solver '{solver}'. Valid: from 0 to below 1.")


def check_positive(solver: str, **options: float | None) -> None:
    """Raise an `InputError` that names the first of `options` that is not above 0 and finite (None is not checked)."""
    for name, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} = {value} for the solver '{solver}'. Valid: above 0, or none.")


def check_counts(solver: str, **options: int) -> None:
    """Raise an `InputError` that names the first of `options` that is below 1."""
    for name, count in options.items():
        if count < 1:
            raise InputError(f"{solver}'s {name} is {count}. Valid: 1 or more.")


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Raise an `InputError` unless `value` is one of `choices`."""
    if value not in choices:
        raise unknown_name(f"value of {option}", str(value), choices)


def check_bounds(solver: str, lower: float, upper: float | None) -> None:
    """Raise an `InputError` unless 0 <= lower <= upper and 0 < upper; no `upper` is no bound."""
    check_numbers(solver, lower=lower)
    check_positive(solver, upper=upper)  # at 0 nothing would be trained
    if upper is not None and upper < lower:
        raise InputError(
            f"upper = {upper:g} is below lower = {lower:g} for the solver '{solver}'. Valid: at least lower."
        )


def check_dense(solver: str, gradient: Tensor) -> None:
    """Raise an `InputError` for a sparse gradient, of which a solver with trust ratios would need all of the tensor."""
    if gradient.layout != torch.strided:
        raise InputError(
            f"The solver '{solver}' takes no sparse gradients. Valid: dense ones, or layer-wise scaling of SGD."
        )
