"""Where a candidate's learning rate is looked for at a batch size: a window on a grid that all batch sizes share."""

from __future__ import annotations

import math

from batchlimit.tuning.question import Candidate, Question
from batchlimit.tuning.search_space import Dimension, SearchSpace, rounded


def centre(candidate: Candidate, batch_size: int, question: Question) -> float:
    """Return the candidate's LR for a batch size at which nothing was learned, on its grid."""
    anchor = question.dataset_size if candidate.anchor == "full" else question.baseline_batch_size
    return snapped(candidate, candidate.recipe.lr * (batch_size / anchor) ** candidate.exponent)


def snapped(candidate: Candidate, lr: float) -> float:
    """Return the point of the candidate's grid nearest to `lr` in ratio."""
    rung = round(math.log(lr / candidate.recipe.lr) / math.log(candidate.step))
    return rounded(candidate.recipe.lr * candidate.step**rung)


def grid_space(candidate: Candidate, batch_size: int, question: Question) -> SearchSpace:
    """Return the whole grid: `reach` learning rates to either side of the unlearned centre, all warmups."""
    rates = _rates(candidate, centre(candidate, batch_size, question), candidate.reach, stride=1)
    return _space(rates, candidate.warmups)


def first_window(candidate: Candidate, middle: float, *, learned: bool) -> SearchSpace:
    """Return where tuning begins: three learning rates with the middle warmup, further apart if nothing was learned."""
    rates = _rates(candidate, middle, 1, stride=1 if learned else 2)
    return _space(rates, (candidate.warmups[(len(candidate.warmups) - 1) // 2],))


def next_window(candidate: Candidate, best: float) -> SearchSpace:
    """Return where tuning goes on: around the best learning rate so far, with all warmups."""
    return _space(_rates(candidate, best, 1, stride=1), candidate.warmups)


def range_space(candidate: Candidate, middle: float) -> SearchSpace:
    """Return a continuous range as wide as the whole grid, and all warmups: for tuners that learn by themselves."""
    span = candidate.step**candidate.reach
    lr = Dimension(name="lr", low=rounded(middle / span), high=rounded(middle * span), log=True)
    return SearchSpace(dimensions=(lr, Dimension(name="warmup", choices=candidate.warmups)))


def _rates(candidate: Candidate, middle: float, reach: int, *, stride: int) -> tuple[float, ...]:
    # Snapped, not multiplied alone: rounding twice would make two trials of one point of the grid.
    rungs = range(-stride * reach, stride * reach + 1, stride)
    return tuple(snapped(candidate, middle * candidate.step**rung) for rung in rungs)


def _space(rates: tuple[float, ...], warmups: tuple[str, ...]) -> SearchSpace:
    return SearchSpace(dimensions=(Dimension(name="lr", choices=rates), Dimension(name="warmup", choices=warmups)))
