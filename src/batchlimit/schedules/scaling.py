"""How the learning rate grows with the batch size."""

from __future__ import annotations

from typing import Literal, get_args

from batchlimit.config import Recipe
from batchlimit.errors import InputError, unknown_name

Rule = Literal["none", "sqrt", "linear"]


def scaled_lr(lr: float, rule: Rule, *, batch_size: int, reference_batch_size: int) -> float:
    """Return the peak learning rate at `batch_size` of an `lr` that is meant for `reference_batch_size`.

    'none' keeps it, 'linear' multiplies it by the ratio of the batch sizes, 'sqrt' by its square root. It is
    `Recipe.peak_lr`, for those who have no recipe.

    Raises:
        InputError: an unknown rule, or an lr or a batch size that is not positive.

    Source: You et al., 2020, section 2 (linear scaling); Krizhevsky, 2014 (arXiv 1404.5997), section 5 (square root).
    """
    if rule not in get_args(Rule):
        raise unknown_name("LR rule", rule, get_args(Rule))
    if not lr > 0 or batch_size < 1 or reference_batch_size < 1:
        raise InputError(
            f"lr {lr:g} for batch size {reference_batch_size} at batch size {batch_size}. Valid: all above 0."
        )
    return Recipe(lr=lr, lr_rule=rule, reference_batch_size=reference_batch_size).peak_lr(batch_size)
