"""What You et al. had in 2020: Optimizations 0 to 4, and the solvers of Table 3 and Figure 5."""

from __future__ import annotations

from typing import Any

from batchlimit.config import LayerWise, Recipe
from batchlimit.tuning.question import Candidate
from batchlimit.tuning.techniques import techniques

POLYNOMIAL: dict[str, Any] = {"schedule": "polynomial", "schedule_options": {"power": 1.0}}


def solver(baseline: Recipe, name: str, lr: float, **changes: object) -> Recipe:
    """Return the baseline's recipe with another solver, a decay to 0 and `changes`."""
    return baseline.with_solver(name, lr, **{**POLYNOMIAL, **changes})


@techniques.register("paper")
def paper(baseline: Recipe) -> tuple[Candidate, ...]:
    """Return the paper's recipes: LAMB, LARS, bounded layer-wise Adam, tuned momentum, the same with label smoothing.

    Source: section 3.1 (Optimizations 1 to 4), Table 3, Figure 5.
    """
    tuned = baseline.updated({"lr_rule": "none", "reference_batch_size": None})
    bounded = solver(baseline, "adam", 0.1, layerwise=LayerWise(lower=0.0, upper=10.0))
    # The author's LARS: with biases left out of it, they would move with an LR that is meant for a ratio of 0.001.
    lars = solver(baseline, "lars", 16.0, solver_options={"preset": "paper-author"})
    return (
        Candidate(name="lamb", recipe=solver(baseline, "lamb", 0.1), anchor="full"),
        Candidate(name="lars", recipe=lars, anchor="full", exponent=0.25),
        Candidate(name="bounded layer-wise adam", recipe=bounded, anchor="full"),
        Candidate(name="tuned momentum", recipe=tuned),
        Candidate(name="smoothed tuned momentum", recipe=tuned.updated({"label_smoothing": 0.1})),
    )
