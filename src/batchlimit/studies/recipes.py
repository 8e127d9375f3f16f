"""Where the learning rate of a solver is looked for at a batch size: the prior that all studies share."""

from __future__ import annotations

from typing import Any

from batchlimit.config import UNSCALED, LayerWise, Recipe
from batchlimit.studies.facts import Effort, Facts

DECAY: dict[str, Any] = {"schedule": "polynomial", "schedule_options": {"power": 1.0}}
WARMUPS = ("0%", "10%", "30%")

# A solver's LR at the full batch, and the power of B / N it grows with: rough, since all are tuned around them.
AT_FULL = {
    "adagrad": (0.05, 0.25),
    "rmsprop": (0.01, 0.25),
    "adam": (0.03, 0.25),
    "adamw": (0.03, 0.25),
    "lion": (0.01, 0.25),
    "lars": (16.0, 0.5),
    "lamb": (0.1, 0.5),
    "muon": (0.2, 0.5),
    "soap": (0.06, 0.25),
    "kfac": (0.3, 0.5),
    "schedule-free": (0.03, 0.25),
}
# LARS is the paper's author's: it leaves nothing out, so that biases do not move with an LR meant for a ratio of 0.001.
OPTIONS: dict[str, dict[str, Any]] = {"lars": {"preset": "paper-author"}}
LAYERWISE_AT_FULL = (0.1, 0.5)  # a trust ratio makes all solvers' updates alike
OWN_POWER = 0.25  # of B / B0: full batches bear less than the square root
STEP = 2.0
UNDECAYED = ("schedule-free",)  # averages in the place of a decay, so its LR is constant after warmup


def derived(facts: Facts, solver: str, batch_size: int, **changes: Any) -> Recipe:
    """Return the workload's recipe with another solver at the LR where it is looked for at `batch_size`.

    The baseline's own solver keeps its options and scales its LR with a power of the batch size; the others start from
    a table. `changes` are further recipe fields.
    """
    layerwise = changes.get("layerwise")
    if solver == facts.baseline.solver:
        base = facts.baseline.updated(UNSCALED)
        lr = facts.baseline.peak_lr(facts.batch_size) * (batch_size / facts.batch_size) ** OWN_POWER
    else:
        base = facts.baseline.with_solver(solver, 1.0, **({"averaging": None} if solver in UNDECAYED else DECAY))
        at_full, power = AT_FULL.get(solver, (0.1, 0.5))
        lr = at_full * (batch_size / facts.dataset_size) ** power
    if layerwise is not None:
        lr = LAYERWISE_AT_FULL[0] * (batch_size / facts.dataset_size) ** LAYERWISE_AT_FULL[1]
    fields = {**base.model_dump(exclude_defaults=True), "lr": float(f"{lr:.3g}"), **changes}
    if solver in OPTIONS and solver != facts.baseline.solver:
        fields["solver_options"] = {**OPTIONS[solver], **fields.get("solver_options", {})}
    return Recipe.model_validate(fields)


def plain_layerwise() -> LayerWise:
    """Return layer-wise scaling without bounds (Table 3)."""
    return LayerWise()


def bounded_layerwise() -> LayerWise:
    """Return layer-wise scaling with its ratio bounded to [0, 10] (Table 3)."""
    return LayerWise(lower=0.0, upper=10.0)


def lr_window(recipe: Recipe, points: int, *, step: float = STEP) -> list[float]:
    """Return `points` learning rates around the recipe's, `step` apart; of an even number, one more above."""
    below = (points - 1) // 2
    return [float(f"{recipe.lr * step**power:.3g}") for power in range(-below, points - below)]


def space(recipe: Recipe, effort: Effort) -> dict[str, Any]:
    """Return the search space of LR and warmup for a budget: fewer points where there are few trials."""
    if effort.budget <= 2:
        return {"lr": lr_window(recipe, effort.budget), "warmup": ["10%"]}
    if effort.budget <= 4:
        return {"lr": lr_window(recipe, effort.budget, step=2.5), "warmup": ["10%"]}
    warmups = ["0%", "20%"] if effort.budget <= 8 else list(WARMUPS)
    points = max(3, -(-effort.budget // len(warmups)))
    return {"lr": lr_window(recipe, points, step=3.0 if points <= 4 else STEP), "warmup": warmups}
