"""Which learning-rate schedule is best for a workload at a large batch?

Paper: section 6.5, Figures 23 to 29, with the cyclical ones of Figures 32 and 33. LARS with each schedule is tuned with
the same budget at the batch size that corresponds to 8K on MNIST: LR and warmup, or, where the schedule has no warmup,
LR alone on as many points. Constant (outside smoke) and trapezoid are there for comparison.
"""

from __future__ import annotations

from typing import Any

from batchlimit.config import Scalar
from batchlimit.schedules.figures import PAPER_FIGURES
from batchlimit.studies import standard_arms, studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Claim, better
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import unbeaten
from batchlimit.studies.recipes import derived, lr_window
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, TableSpec

# Name -> whether there is a warmup, schedule, its options.
OTHERS: dict[str, tuple[bool, str, dict[str, Scalar]]] = {
    "warmup, then trapezoid": (True, "trapezoid", {}),
    "warmup, then constant": (True, "constant", {}),
}
GALLERY: dict[str, tuple[bool, str, dict[str, Scalar]]] = {
    f"{title} (Fig. {figure})": (warmup, name, options)
    for figure, (title, warmup, name, options) in PAPER_FIGURES.items()
} | OTHERS


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return LARS with each schedule at the large batch."""
    left_out = {"warmup, then constant"} if effort.scale == "smoke" else set()
    return tuple(_arm(facts, effort, title) for title in GALLERY if title not in left_out)


def _arm(facts: Facts, effort: Effort, title: str) -> Arm:
    warmup, name, options = GALLERY[title]
    recipe = derived(facts, "lars", facts.large, schedule=name, schedule_options=options)
    if warmup:  # what is drawn for the gallery, and the middle of what is tried
        recipe = recipe.updated({"warmup": "10%"})
    where = _space(recipe.lr, lr_window(recipe, effort.budget), effort, warmup=warmup)
    return standard_arms.searched(facts, effort, "large", {"schedule": title}, recipe, where)


def _space(lr: float, rates: list[float], effort: Effort, *, warmup: bool) -> dict[str, Any]:
    """Return LRs and warmups, as many cells as there are trials: a schedule without warmup gets more LRs."""
    if not warmup:
        return {"lr": rates}
    if effort.budget <= 4:
        return {"lr": rates, "warmup": ["10%"]}
    points = -(-effort.budget // 2)
    below = (points - 1) // 2
    return {
        "lr": [float(f"{lr * 2.0**power:.3g}") for power in range(-below, points - below)],
        "warmup": ["10%", "30%"],
    }


def _figure(number: int) -> dict[str, Scalar]:
    return {"schedule": f"{PAPER_FIGURES[number][0]} (Fig. {number})"}


STUDY = Study(
    name="schedules",
    question="Which learning-rate schedule is best at a large batch?",
    paper="section 6.5, Figs. 23-29",
    paper_setting="schedules drawn without values; MNIST, LeNet, 8K (section 3.1)",
    paper_workload="mnist",
    note=(
        "The paper draws the schedules and gives neither powers nor numbers nor lengths of cycles: those are ours "
        "(polynomial of power 2; 20, 5 and 2 descents; cycles of 10 % and 40 % of training). All are tuned with LARS "
        "and the same budget."
    ),
    arms=arms,
    tables=(TableSpec(name="schedules", title="What does each schedule reach?", rows="schedule", columns="batch"),),
    figures=(
        FigureSpec(
            name="gallery",
            kind="schedules",
            title="What do the schedules look like?",
            facet="schedule",
        ),
        FigureSpec(
            name="schedules",
            kind="dots",
            title="Which schedule is best at a large batch?",
            caption="LARS, each schedule tuned with the same budget.",
            x="schedule",
        ),
    ),
    claims=(
        Claim(
            "Warmup and polynomial decay are best.",
            "section 3.1 (MNIST at 8K)",
            unbeaten(_figure(24)),
        ),
        Claim(
            "The regular cosine is better with warmup than without.",
            "Optimization 1, Figures 23 and 26",
            better(_figure(26), _figure(23)),
        ),
    ),
    comparisons=("schedule",),
)
studies.register("schedules")(STUDY)
