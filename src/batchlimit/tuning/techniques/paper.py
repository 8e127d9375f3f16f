"""What You et al. had in 2020: Optimizations 0 to 4, and the solvers of Table 3 and Figure 5."""

from __future__ import annotations

from typing import Any

from batchlimit.config import UNSCALED, LayerWise, Recipe
from batchlimit.tuning.question import Candidate
from batchlimit.tuning.techniques import techniques

POLYNOMIAL: dict[str, Any] = {"schedule": "polynomial", "schedule_options": {"power": 1.0}}


def solver(baseline: Recipe, name: str, lr: float, **changes: object) -> Recipe:
    """Return the baseline's recipe with another solver, a decay to 0 and `changes`."""
    return baseline.with_solver(name, lr, **{**POLYNOMIAL, **changes})


@techniques.register("paper")
def paper(baseline: Recipe) -> tuple[Candidate, ...]:
    """Return the paper's recipes: LAMB, LARS, bounded layer-wise Adam, tuned momentum, the same with label smoothing.

    The last two are of the baseline's own solver; where that is not momentum, tuned momentum comes besides.

    Source: section 3.1 (Optimizations 1 to 4), Table 3, Figure 5.
    """
    own = Candidate(name=f"tuned {baseline.solver}", recipe=baseline.updated(UNSCALED))
    smooth = own.recipe.updated({"label_smoothing": 0.1})
    heavy_ball = solver(baseline, "momentum", 0.5, solver_options={"momentum": 0.9})
    bounded = solver(baseline, "adam", 0.1, layerwise=LayerWise(lower=0.0, upper=10.0))
    # The author's LARS: with biases left out of it, they would move with an LR that is meant for a ratio of 0.001.
    lars = solver(baseline, "lars", 16.0, solver_options={"preset": "paper-author"})
    found = [
        Candidate(name="lamb", recipe=solver(baseline, "lamb", 0.1), anchor="full"),
        Candidate(name="lars", recipe=lars, anchor="full", exponent=0.25),
        Candidate(name="bounded layer-wise adam", recipe=bounded, anchor="full"),
        own,
    ]
    if smooth != own.recipe:
        found.append(Candidate(name=f"smoothed {own.name}", recipe=smooth))
    if baseline.solver != "momentum":
        found.append(Candidate(name="tuned momentum", recipe=heavy_ball, anchor="full"))
    return tuple(found)
