"""Where a candidate's learning rate is looked for at a batch size: a window on a grid that all batch sizes share."""

from __future__ import annotations

import math

from batchlimit.tuning.question import Candidate
from batchlimit.tuning.search_space import Dimension, SearchSpace, rounded


def centre(candidate: Candidate, batch_size: int, baseline_batch_size: int) -> float:
    """Return the candidate's LR for a batch size at which nothing was learned, on its grid."""
    return snapped(candidate, candidate.recipe.lr * (batch_size / baseline_batch_size) ** candidate.exponent)


def snapped(candidate: Candidate, lr: float) -> float:
    """Return the point of the candidate's grid nearest to `lr` in ratio."""
    rung = round(math.log(lr / candidate.recipe.lr) / math.log(candidate.step))
    return rounded(candidate.recipe.lr * candidate.step**rung)


def grid_space(candidate: Candidate, batch_size: int, baseline_batch_size: int) -> SearchSpace:
    """Return the whole grid: `reach` learning rates to either side of the unlearned centre, all warmups."""
    return _grid(candidate, centre(candidate, batch_size, baseline_batch_size), candidate.reach)


def window_space(
    candidate: Candidate, batch_size: int, baseline_batch_size: int, learned: float | None, *, as_grid: bool
) -> SearchSpace:
    """Return the window an adaptive search tunes in, centred by what another batch size taught, if any did.

    A grid's points are shared by all batch sizes; otherwise the same window is a continuous range.
    """
    middle = learned if learned is not None else centre(candidate, batch_size, baseline_batch_size)
    if as_grid:
        return _grid(candidate, middle, candidate.window)
    span = candidate.step**candidate.window
    lr = Dimension(name="lr", low=rounded(middle / span), high=rounded(middle * span), log=True)
    return SearchSpace(dimensions=(lr, Dimension(name="warmup", choices=candidate.warmups)))


def _grid(candidate: Candidate, middle: float, reach: int) -> SearchSpace:
    rates = tuple(rounded(middle * candidate.step**offset) for offset in range(-reach, reach + 1))
    return SearchSpace(
        dimensions=(Dimension(name="lr", choices=rates), Dimension(name="warmup", choices=candidate.warmups))
    )
