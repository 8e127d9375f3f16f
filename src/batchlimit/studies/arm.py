"""One line of a study: a recipe at a batch size, tuned or taken as it is, then measured with several seeds."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from batchlimit.config import DurationField, Frozen, Recipe, Scalar, TrialConfig
from batchlimit.studies.facts import Protocol

Labels = dict[str, Scalar]


class Arm(Frozen):
    """What is trained for one cell of a table or one point of a figure.

    `labels` tells it from the other arms of its study ({"solver": "lars", "batch size": 8192}) and is what tables,
    figures and claims select by. `space` (as in a TOML search space: lists of choices, or tables with low, high, log,
    points) is tuned with `budget` trials by `tuner`; without it the recipe is taken as it is. The best by the selection
    split is then trained with `seeds` fresh seeds. `repeat` > 0 repeats a tuning with other seeds. `watch` asks for the
    scores on 'train' and 'test' after every epoch, `probes` for measurements, of the final trainings.
    """

    labels: Labels
    batch_size: int = Field(gt=0)
    epochs: DurationField
    recipe: Recipe
    space: dict[str, Any] = Field(default_factory=dict)
    budget: int = Field(default=0, ge=0)
    tuner: str = "grid"
    seeds: int = Field(default=5, ge=0)
    repeat: int = Field(default=0, ge=0)
    protocol: Protocol = "validation"
    probes: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()

    @property
    def tuned(self) -> bool:
        """Whether fields of the recipe are looked for before it is measured."""
        return bool(self.space) and self.budget > 0

    def trial(self, workload: str, recipe: Recipe, seed: int, *, final: bool) -> TrialConfig:
        """Return the trial that trains this arm with `recipe` and `seed`."""
        extra: dict[str, Any] = {"probes": self.probes, "watch": self.watch} if final else {}
        return TrialConfig(
            workload=workload,
            batch_size=self.batch_size,
            budget=self.epochs,
            recipe=recipe,
            seed=seed,
            protocol=self.protocol,
            **extra,
        )

    def matches(self, where: Labels) -> bool:
        """Return whether the labels have these values."""
        return all(name in self.labels and self.labels[name] == value for name, value in where.items())
