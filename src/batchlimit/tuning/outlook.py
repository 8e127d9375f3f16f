"""How many trials a search still expects to ask for: an estimate for the progress line, nothing depends on it."""

from __future__ import annotations

import math

from batchlimit.tuning.question import Question
from batchlimit.tuning.windows import grid_space

# Of searches watched: a verdict takes 1.5 times the first number of seeds, a batch size 0.6 of all tuning budgets.
_SEEDS_SHARE = 1.5
_BUDGET_SHARE = 0.6


class Outlook:
    """The batch sizes that a search has still to decide, by linear scaling alone and by any recipe."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self.linear = halvings(len(question.batch_sizes) + 1)
        self.tries = self.linear

    def trials(self) -> int:
        """Return the expected number of trials after those just asked for."""
        settings, candidates = self._question.settings, self._question.candidates
        if settings.exhaustive:
            size = self._question.batch_sizes[-1]
            grids = sum(grid_space(c, size, self._question).grid_size() + settings.max_seeds for c in candidates)
            return self.tries * grids + self.linear * settings.max_seeds
        verdict = settings.seeds * _SEEDS_SHARE
        tuning = settings.budget * len(candidates) * _BUDGET_SHARE
        return round(self.linear * verdict + self.tries * (tuning + verdict))


def halvings(gap: int) -> int:
    """Return how many times a gap of `gap` rungs can be halved until it is 1."""
    return math.ceil(math.log2(gap)) if gap > 1 else 0
