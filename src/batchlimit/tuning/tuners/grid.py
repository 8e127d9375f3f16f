"""Grid search in an order whose every prefix is useful: from the middle outwards, thinned to the budget."""

from __future__ import annotations

import math
import random
from itertools import product

from batchlimit.findings import Direction
from batchlimit.tuning.search_space import Proposal, SearchSpace
from batchlimit.tuning.tuner import Told, tuners

_MOST_CELLS = 4096  # of a larger grid, a random sample of this size is considered
Cell = tuple[int, ...]


@tuners.register("grid")
def grid(space: SearchSpace, told: Told, *, count: int, budget: int, direction: Direction, seed: int) -> list[Proposal]:
    """Return the next points of the grid, nearest to the middle first.

    A grid of more than `budget` points is thinned to a well-spread subset. Metrics are ignored; `seed` only matters
    for grids of more than 4096 points.
    """
    values = [dimension.grid() for dimension in space.dimensions]
    names = [dimension.name for dimension in space.dimensions]
    tried = [proposal for proposal, _ in told]
    proposals = (
        dict(zip(names, (values[d][i] for d, i in enumerate(cell)), strict=True))
        for cell in _order([len(v) for v in values], budget, seed)
    )
    left = [proposal for proposal in proposals if proposal not in tried]
    return left[: max(0, min(count, budget - len(told)))]


def _order(lengths: list[int], budget: int, seed: int) -> list[Cell]:
    cells = _cells(lengths, seed)
    middle = [(length - 1) / 2 for length in lengths]

    def from_middle(cell: Cell) -> tuple[float, Cell]:
        return math.dist(_scaled(cell, lengths), _scaled(middle, lengths)), cell

    cells.sort(key=from_middle)
    return sorted(_spread(cells, lengths, budget), key=from_middle)


def _cells(lengths: list[int], seed: int) -> list[Cell]:
    total = math.prod(lengths)
    if total <= _MOST_CELLS:
        return list(product(*(range(length) for length in lengths)))
    middle = tuple((length - 1) // 2 for length in lengths)
    chosen = {middle}
    for number in random.Random(seed).sample(range(total), _MOST_CELLS - 1):
        cell = []
        for length in lengths:
            number, index = divmod(number, length)
            cell.append(index)
        chosen.add(tuple(cell))
    return list(chosen)


def _spread(cells: list[Cell], lengths: list[int], budget: int) -> list[Cell]:
    """Return `budget` of the cells (the first one is taken), so that every value of a dimension gets its share.

    Each next cell has the values least used so far; of several, the one furthest from those taken, then the one
    nearest the middle. A thinned grid so keeps all its learning rates rather than its corners.
    """
    if len(cells) <= budget:
        return cells
    points = [_scaled(cell, lengths) for cell in cells]
    used = [[0] * length for length in lengths]
    nearest = [math.inf] * len(cells)
    taken: list[int] = []
    best = 0
    while True:
        taken.append(best)
        for dimension, index in enumerate(cells[best]):
            used[dimension][index] += 1
        if len(taken) == budget:
            return [cells[i] for i in taken]
        nearest = [min(old, math.dist(point, points[best])) for old, point in zip(nearest, points, strict=True)]
        best = min(
            (i for i in range(len(cells)) if nearest[i] > 0),
            key=lambda i: (_use(cells[i], used), -round(nearest[i], 9), i),
        )


def _use(cell: Cell, used: list[list[int]]) -> int:
    """Return how often a cell's values were used, weighted so that each dimension's average use counts the same."""
    return sum(len(counts) * counts[index] for counts, index in zip(used, cell, strict=True))


def _scaled(cell: Cell | list[float], lengths: list[int]) -> list[float]:
    """Return a cell's place in the unit cube, so that dimensions with few and many values weigh the same."""
    return [(index + 0.5) / length for index, length in zip(cell, lengths, strict=True)]
