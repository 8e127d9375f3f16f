"""Tuners: pure functions from what was tried to what to try next; one registered file each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from batchlimit.config import Scalar
from batchlimit.findings import Direction
from batchlimit.registry import Registry
from batchlimit.tuning.search_space import Proposal, SearchSpace

TUNING_SEED = 0  # of every tuning trial: seeds from 1 on are for measuring, so none is used for both
PROPOSALS_AT_ONCE = 4  # a round; must not depend on the number of jobs

Told = Sequence[tuple[dict[str, Scalar], float | None]]


class Tuner(Protocol):
    """Proposes up to `count` further points of `space`, given all points so far in order with their selection metric.

    A metric of None means that the trial diverged or failed: as bad as the worst. No more than `budget` points are
    proposed in all; [] says that the budget is spent or that nothing is left to try. The answer depends on the
    arguments alone, so a search that was killed proposes the same again; `count` must not depend on the number of jobs.
    """

    def __call__(
        self, space: SearchSpace, told: Told, *, count: int, budget: int, direction: Direction, seed: int
    ) -> list[Proposal]: ...


tuners: Registry[Tuner] = Registry("tuner", "batchlimit.tuning.tuners")
