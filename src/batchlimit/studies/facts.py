"""What a study has to know of a workload, and how much work it may spend on it: plain data, no torch."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from batchlimit.config import DurationField, Frozen, Recipe, TrainingLength
from batchlimit.durations import Duration
from batchlimit.findings import Direction

ScaleName = Literal["smoke", "quick", "paper"]
Protocol = Literal["validation", "paper"]

# Where the paper's 8K, 32K and 60K stand among the 60,000 examples of MNIST.
LARGE, HUGE = 8192 / 60_000, 32_768 / 60_000


class Facts(Frozen):
    """A workload as a study sees it: its baseline, its metric and the number of its training examples.

    `constant_score` is what always answering the most frequent label would score, where the metric is an accuracy.
    `dropout` says whether its model drops anything in training, `own_weights` whether its initial weights are others
    than torch's and a recipe can set them. `solvers` are the names registered where the study was planned, but for
    those that cannot train the model, which `refused` has with the reason: one that a user added takes part in studies
    that compare all solvers.
    """

    workload: str
    metric_name: str = "accuracy"
    metric_direction: Direction = "up"
    metric_percent: bool = True
    constant_score: float | None = None
    dataset_size: int
    batch_size: int
    baseline: Recipe
    epochs: float
    parameters: int = 0
    dropout: bool = False
    own_weights: bool = False
    solvers: tuple[str, ...] = ()
    refused: dict[str, str] = Field(default_factory=dict)

    def size(self, share: float) -> int:
        """Return the batch size nearest to `share` of the training examples that is the baseline's doubled a few times.

        1 is the full batch.
        """
        if share >= 1:
            return self.dataset_size
        doublings = max(1, round(math.log2(max(2.0, share * self.dataset_size / self.batch_size))))
        return min(self.batch_size * (1 << doublings), self.dataset_size)

    @property
    def large(self) -> int:
        """The batch size that corresponds to 8K on MNIST."""
        return self.size(LARGE)

    @property
    def huge(self) -> int:
        """The batch size that corresponds to 32K on MNIST."""
        return self.size(HUGE)

    @property
    def full(self) -> int:
        """The full batch."""
        return self.dataset_size

    def ladder(self, factor: float = 2.0) -> tuple[int, ...]:
        """Return batch sizes from the baseline's to the full batch, spaced by `factor`."""
        count = max(1, round(math.log(self.dataset_size / self.batch_size) / math.log(factor)))
        sizes = {round(self.batch_size * factor**rung) for rung in range(count)}
        return (*sorted(size for size in sizes if size < self.dataset_size), self.dataset_size)


class Effort(Frozen):
    """How much a study spends: training length, seeds behind each figure, tuning trials for each arm.

    `scale` is 'smoke' (does everything run?), 'quick' (minutes) or 'paper' (the paper's lengths and protocol); `recipe`
    are the fields of the baseline's recipe that were changed, which `Facts.baseline` has already.
    """

    scale: ScaleName = "quick"
    epochs: DurationField
    seeds: int = Field(default=5, ge=1)
    budget: int = Field(default=6, ge=1)
    protocol: Protocol = "validation"
    recipe: dict[str, Any] = Field(default_factory=dict)

    def times(self, factor: float) -> Duration:
        """Return the training length times `factor`."""
        return Duration(round(self.epochs.amount * factor, 9), self.epochs.unit)

    def most(self, smoke: int, quick: int, paper: int) -> int:
        """Return the number for this scale."""
        return {"smoke": smoke, "quick": quick, "paper": paper}[self.scale]


class StudySettings(Frozen):
    """What a user may choose about a study; where None, the scale's own values hold.

    `recipe` changes fields of the workload's baseline recipe, and with it of every recipe derived from it
    (`recipe.precision=bf16`).
    """

    scale: ScaleName = "quick"
    epochs: TrainingLength | None = None
    seeds: int | None = Field(default=None, ge=1)
    budget: int | None = Field(default=None, ge=1)
    protocol: Protocol | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    max_hours: float | None = Field(default=None, gt=0)

    def effort(self, epochs: float) -> Effort:
        """Return the effort for a workload whose baseline trains for `epochs`."""
        scale = SCALES[self.scale]
        return Effort(
            scale=self.scale,
            epochs=self.epochs or scale.get("epochs") or Duration(epochs, "epochs"),
            seeds=self.seeds or scale["seeds"],
            budget=self.budget or scale["budget"],
            protocol=self.protocol or scale["protocol"],
            recipe=self.recipe,
        )


SCALES: dict[ScaleName, dict[str, Any]] = {
    "smoke": {"epochs": Duration(1.0, "epochs"), "seeds": 2, "budget": 2, "protocol": "validation"},
    "quick": {"seeds": 5, "budget": 6, "protocol": "validation"},
    "paper": {"seeds": 5, "budget": 16, "protocol": "paper"},
}
