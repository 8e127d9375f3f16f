"""All that defines a search for the limit: frozen, stored with its ledger, so that the search can be replayed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from batchlimit.config import DurationField, Frozen, Recipe, TrainingLength
from batchlimit.durations import Duration
from batchlimit.errors import InputError, unknown_name
from batchlimit.findings import Direction

if TYPE_CHECKING:
    from batchlimit.workloads.workload import Workload


class Candidate(Frozen):
    """A recipe to be tuned at a batch size: where its learning rate is looked for, and which warmups are tried.

    The grid of learning rates is `recipe.lr` times powers of `step`, so that neighbouring batch sizes share points. A
    batch size never tuned before starts at `recipe.lr` times (B / anchor) ** `exponent`, where the anchor is the
    'baseline' batch size or the 'full' one: in 30 full-batch steps, workloads differ less than at their baselines.
    `reach` is how many grid points an exhaustive search goes to either side; an adaptive search moves a window over the
    same grid.
    """

    name: str
    recipe: Recipe
    anchor: Literal["baseline", "full"] = "baseline"
    exponent: float = 0.5
    step: float = Field(default=2.0, gt=1)
    reach: int = Field(default=3, ge=0)
    warmups: tuple[str, ...] = ("0%", "10%", "30%")


class FindSettings(Frozen):
    """What a user may choose about a search for the limit; everything has a default."""

    batch_sizes: tuple[int, ...] | None = None
    resolution: float = Field(default=2.0, gt=1)
    epochs: TrainingLength | None = None
    seeds: int = Field(default=5, ge=2)
    max_seeds: int = Field(default=20, ge=2)
    budget: int = Field(default=8, ge=1)
    tuner: str = "grid"
    techniques: str = "modern"
    recipes: tuple[str, ...] | None = None
    protocol: Literal["validation", "paper"] = "validation"
    exhaustive: bool = False
    tolerance: float = Field(default=0.995, gt=0, le=1)
    loss_factor: float = Field(default=1.2, ge=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    baseline: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _seeds(self) -> FindSettings:
        if self.max_seeds < self.seeds:
            raise ValueError(f"max_seeds ({self.max_seeds}) is below seeds ({self.seeds})")
        return self

    @field_validator("baseline")
    @classmethod
    def _whole(cls, given: dict[str, Any]) -> dict[str, Any]:
        size = given.get("batch_size", 1)
        if not isinstance(size, int) or isinstance(size, bool):
            raise ValueError(f"batch_size is {size!r}, no whole number")
        return given


class Question(Frozen):
    """How large can the batch be, for this workload, by these definitions, with these techniques and this budget?

    `no_validation` says that the workload has no validation split, so that the test split selects under any protocol.
    `refused` are recipes of the technique set that cannot train the workload's model, with the reason.
    """

    workload: str
    metric_name: str
    metric_direction: Direction
    metric_percent: bool = False
    dataset_size: int
    baseline: Recipe
    baseline_batch_size: int
    budget: DurationField
    batch_sizes: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    techniques: str
    settings: FindSettings
    no_validation: bool = False
    refused: dict[str, str] = Field(default_factory=dict)

    def differs_in_techniques_alone(self, other: Question) -> bool:
        """Say whether the two differ in their technique set and recipes, and in nothing else."""
        rest = {"techniques", "candidates", "refused", "settings"}
        own = {"techniques", "recipes"}
        return (
            self.techniques != other.techniques
            and self.candidates != other.candidates
            and self.model_dump(exclude=rest) == other.model_dump(exclude=rest)
            and self.settings.model_dump(exclude=own) == other.settings.model_dump(exclude=own)
        )


def ladder(smallest: int, largest: int, resolution: float) -> tuple[int, ...]:
    """Return the batch sizes above `smallest` that a search considers: spaced by `resolution`, ending at `largest`.

    A size within half a rung of `largest` is left out.
    """
    count = max(1, round(math.log(largest / smallest) / math.log(resolution)))
    sizes = {round(smallest * resolution**rung) for rung in range(1, count)}
    return (*sorted(size for size in sizes if smallest < size < largest), largest)


def checked_batch_sizes(sizes: tuple[int, ...], baseline: int, dataset_size: int) -> tuple[int, ...]:
    """Return the user's batch sizes above the baseline's sorted, with the full batch last.

    Raises:
        InputError: there is none above the baseline's, or a size is below 1 or above the number of training examples.
    """
    if not sizes:
        raise InputError(f"batch_sizes is empty. Valid: sizes from {baseline + 1} to {dataset_size}.")
    for size in sizes:
        if not 0 < size <= dataset_size:
            valid = f"{baseline + 1} to {dataset_size} (the training examples)"
            raise InputError(f"batch_sizes has {size}. Valid: {valid}.")
    if max(sizes) <= baseline:
        raise InputError(
            f"batch_sizes has no size above the baseline's {baseline}. Valid: {baseline + 1} to {dataset_size}, or a "
            "smaller baseline.batch_size."
        )
    return tuple(sorted({size for size in sizes if size > baseline} | {dataset_size}))


def asked_baseline(workload: Workload, settings: FindSettings, dataset_size: int) -> tuple[int, Recipe]:
    """Return the baseline's batch size and recipe: the workload's, with what the settings change.

    Raises:
        InputError: the batch size leaves no larger one among `dataset_size` examples, or the recipe cannot be.
    """
    changes = dict(settings.baseline)
    batch_size: int = changes.pop("batch_size", workload.batch_size)
    if not 0 < batch_size < dataset_size:
        raise InputError(f"The baseline's batch_size is {batch_size}. Valid: 1 to {dataset_size - 1}.")
    return batch_size, workload.baseline.updated(changes)


def _length(workload: Workload, settings: FindSettings, batch_size: int) -> Duration:
    """Return the training length in epochs or examples: every batch size gets as many (Definitions 2.1 and 2.2)."""
    if settings.epochs is not None:
        return settings.epochs.in_examples(batch_size)
    return Duration.parse(workload.budget).in_examples(workload.batch_size)


def make_question(
    workload: Workload, settings: FindSettings, *, dataset_size: int, candidates: tuple[Candidate, ...]
) -> Question:
    """Return the question that `settings` ask about `workload` with `dataset_size` training examples.

    Raises:
        InputError: a batch size, a recipe name or the baseline cannot be.
    """
    batch_size, baseline = asked_baseline(workload, settings, dataset_size)
    if settings.recipes is not None:
        known = {candidate.name for candidate in candidates}
        for name in settings.recipes:
            if name not in known:
                raise unknown_name("recipe", name, known)
        candidates = tuple(candidate for candidate in candidates if candidate.name in settings.recipes)
    if settings.batch_sizes is None:
        sizes = ladder(batch_size, dataset_size, settings.resolution)
    else:
        sizes = checked_batch_sizes(settings.batch_sizes, batch_size, dataset_size)
    return Question(
        workload=workload.name,
        metric_name=workload.metric.name,
        metric_direction=workload.metric.direction,
        metric_percent=workload.metric.percent,
        dataset_size=dataset_size,
        baseline=baseline,
        baseline_batch_size=batch_size,
        budget=_length(workload, settings, batch_size),
        batch_sizes=sizes,
        candidates=candidates,
        techniques=settings.techniques,
        settings=settings,
    )
