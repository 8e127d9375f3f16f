"""What each of the paper's Optimizations 0 to 4 adds, one on top of the other, at huge and at full batch.

Paper: Figures 1, 6 (top-1), 13 and 14 (top-5), section 3.1. Rungs 0 and 1 take the better of linear and square-root LR
scaling and tune nothing else; rungs 2 to 4 tune LR and warmup with the same budget. Clipping is at a global norm of 1:
the paper gives no value. Ghost batch norm is the workload's own: the models of digits and MNIST have no batch norm,
so nothing of it is in their ladder.
"""

from __future__ import annotations

from typing import Any

from batchlimit.config import Recipe
from batchlimit.studies import standard_arms, studies
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.claims import Claim, better
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import gains_most, keeps, no_change, opposite
from batchlimit.studies.recipes import derived
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, PaperValue, TableSpec

RUNGS = (
    "0: momentum, LR scaling, cosine, clipping",
    "1: + warmup",
    "2: + tuned LR and warmup",
    "3: + label smoothing",
    "4: LARS for momentum",
)
BATCHES = ("huge", "full")
COMMON: dict[str, Any] = {"schedule": "cosine", "schedule_options": {}, "clip_norm": 1.0}
SMOOTHING: dict[str, Any] = {**COMMON, "label_smoothing": 0.1}
TOP_1 = (0.000977, 0.02712, 0.04563, 0.04226, 0.1895)


def scaled(facts: Facts, warmup: str) -> Recipe:
    """Return momentum with an LR that grows with the batch size from the baseline's, and a warmup."""
    at_baseline = derived(facts, "momentum", facts.batch_size, **COMMON)
    changes = {"lr_rule": "linear", "reference_batch_size": facts.batch_size, "warmup": warmup}
    recipe: Recipe = at_baseline.updated(changes)
    return recipe


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return the baseline and the five rungs at huge and full batch."""
    return (
        standard_arms.baseline(facts, effort, {"rung": "baseline"}),
        *(arm for batch in BATCHES for arm in _rungs(facts, effort, batch)),
    )


def _rungs(facts: Facts, effort: Effort, batch: str) -> tuple[Arm, ...]:
    rules = {"lr_rule": ["linear", "sqrt"]}
    names: list[Labels] = [{"rung": rung} for rung in RUNGS]
    return (
        standard_arms.searched(facts, effort, batch, names[0], scaled(facts, "0%"), rules, budget=2),
        standard_arms.searched(facts, effort, batch, names[1], scaled(facts, "10%"), rules, budget=2),
        standard_arms.tuned(facts, effort, "momentum", batch, names[2], **COMMON),
        standard_arms.tuned(facts, effort, "momentum", batch, names[3], **SMOOTHING),
        standard_arms.tuned(facts, effort, "lars", batch, names[4], **SMOOTHING),
    )


def _at(rung: int, batch: str) -> Labels:
    return {"rung": RUNGS[rung], "batch": batch}


STUDY = Study(
    name="ladder",
    question="What does each of the paper's optimizations add at huge and at full batch?",
    paper="Figs. 1, 6, 13, 14",
    paper_setting="ImageNet, ResNet-50, batch 819,200, 90 epochs (141 steps)",
    note=(
        "Rung 0 of the paper has ghost batch norm too. Here it is part of a recipe that sets recipe.ghost_batch_size; "
        "the models of digits and MNIST have no batch norm. Clipping is at a global norm of 1, the warmup of rung 1 is "
        "10 % of training: the paper gives neither. The paper's values are of ImageNet: compare the order, not the "
        "numbers. Figures 6, 13 and 14 are drawn without numbers."
    ),
    arms=arms,
    tables=(
        TableSpec(name="top-1", title="What does each rung reach? Top-1 accuracy", rows="rung", columns="batch"),
        TableSpec(
            name="top-5",
            title="What does each rung reach? Top-5 accuracy",
            rows="rung",
            columns="batch",
            value="top-5",
        ),
    ),
    figures=(
        FigureSpec(
            name="top-1",
            kind="dots",
            title="What does each optimization add?",
            caption="Each rung keeps what the rungs before it have; LARS takes the place of momentum.",
            x="rung",
            facet="batch",
        ),
        FigureSpec(
            name="top-5",
            kind="dots",
            title="What does each optimization add to top-5 accuracy?",
            caption="The same trainings as above.",
            x="rung",
            y="top-5",
            facet="batch",
        ),
    ),
    claims=(
        Claim(
            "Warmup improves on LR scaling alone at huge batch.",
            "Figure 1, Optimization 1",
            better(_at(1, "huge"), _at(0, "huge")),
            paper="0.0977 % to 2.712 %",
        ),
        Claim(
            "Tuning LR and warmup improves further.",
            "Figure 1, Optimization 2",
            better(_at(2, "huge"), _at(1, "huge")),
            paper="2.712 % to 4.563 %",
        ),
        Claim(
            "Label smoothing neither helps nor significantly hurts.",
            "Figure 1, Optimization 3",
            no_change(_at(3, "huge"), _at(2, "huge")),
            paper="4.563 % to 4.226 %",
        ),
        Claim(
            "LARS instead of momentum improves at huge batch.",
            "Figure 1, Optimization 4",
            better(_at(4, "huge"), _at(3, "huge")),
            paper="4.226 % to 18.95 %",
        ),
        Claim(
            "Of all rungs, LARS adds most.",
            "Figure 1, section 3.1",
            gains_most([_at(rung, "huge") for rung in range(len(RUNGS))], 4),
            paper="+ 14.7 points of 18.9",
        ),
        Claim(
            "LARS instead of momentum improves at full batch.",
            "Figures 6 and 14, section 3.2",
            better(_at(4, "full"), _at(3, "full")),
        ),
        *(
            Claim(
                f"No rung reaches the target at {batch} batch.",
                "sections 3.1 and 3.2",
                opposite(keeps({"batch": batch}, {"batch": "baseline"})),
                paper="18.95 % against 75.9 %" if batch == "huge" else "",
            )
            for batch in BATCHES
        ),
    ),
    paper_values=tuple(
        PaperValue(where=_at(rung, "huge"), value=value, source="Figure 1") for rung, value in enumerate(TOP_1)
    ),
    comparisons=("rung",),
)
studies.register("ladder")(STUDY)
