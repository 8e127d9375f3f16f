"""Arms that several studies have in common, built alike so that they are the same trials everywhere."""

from __future__ import annotations

from typing import Any

from batchlimit.config import Recipe, Scalar
from batchlimit.durations import Duration
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.facts import LARGE, Effort, Facts
from batchlimit.studies.recipes import derived, space


def batch_size(facts: Facts, batch: str) -> int:
    """Return the batch size that a label names: 'baseline', 'large', 'twice large', 'huge' or 'full'."""
    sizes = {
        "baseline": facts.batch_size,
        "large": facts.large,
        "twice large": facts.size(2 * LARGE),
        "huge": facts.huge,
        "full": facts.full,
    }
    return sizes[batch]


def labels(facts: Facts, batch: str, given: Labels) -> Labels:
    """Return `given` with the batch in words, which is the same for every workload, and its size."""
    return {**given, "batch": batch, "batch size": batch_size(facts, batch)}


def as_is(
    facts: Facts, effort: Effort, batch: str, given: Labels, recipe: Recipe, *, epochs: Duration | None = None
) -> Arm:
    """Return an arm that trains `recipe` as it is, with the effort's seeds."""
    return Arm(
        labels=labels(facts, batch, given),
        batch_size=batch_size(facts, batch),
        epochs=epochs or effort.epochs,
        recipe=recipe,
        seeds=effort.seeds,
        protocol=effort.protocol,
    )


def baseline(facts: Facts, effort: Effort, given: Labels) -> Arm:
    """Return the workload's own baseline: the trials that the search for the limit measures it with."""
    return as_is(facts, effort, "baseline", given, facts.baseline)


def linear(facts: Facts) -> Recipe:
    """Return the baseline's recipe with linear LR scaling and nothing else changed (Definition 2.1)."""
    lr = facts.baseline.peak_lr(facts.batch_size)
    changes = {"lr": lr, "lr_rule": "linear", "reference_batch_size": facts.batch_size}
    recipe: Recipe = facts.baseline.updated(changes)
    return recipe


def tuned(
    facts: Facts,
    effort: Effort,
    solver: str,
    batch: str,
    given: Labels,
    *,
    epochs: Duration | None = None,
    **changes: Any,
) -> Arm:
    """Return an arm whose LR and warmup are tuned with the effort's budget; `changes` are further recipe fields."""
    recipe = derived(facts, solver, batch_size(facts, batch), **changes)
    return searched(facts, effort, batch, given, recipe, space(recipe, effort), epochs=epochs)


def searched(
    facts: Facts,
    effort: Effort,
    batch: str,
    given: Labels,
    recipe: Recipe,
    where: dict[str, Any],
    *,
    epochs: Duration | None = None,
    budget: int | None = None,
    tuner: str = "grid",
    repeat: int = 0,
) -> Arm:
    """Return an arm whose recipe is tuned over the search space `where`, by default with the effort's budget."""
    plain = as_is(facts, effort, batch, given, recipe, epochs=epochs)
    tuning = {"space": where, "budget": budget or effort.budget, "tuner": tuner, "repeat": repeat}
    return Arm.model_validate({**plain.model_dump(exclude_defaults=True), **tuning})


def length(facts: Facts, effort: Effort, factor: float = 1.0) -> Scalar:
    """Return the training length times `factor` in epochs, as a label: whole where it is."""
    every = effort.times(factor).fractional_steps(batch_size=1, dataset_size=facts.dataset_size) / facts.dataset_size
    if effort.epochs.unit == "steps":  # of the baseline's batches
        every *= facts.batch_size
    return round(every) if abs(every - round(every)) < 1e-6 else round(every, 2)
