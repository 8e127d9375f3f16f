"""Which solvers keep the baseline's accuracy at a large batch: plain, layer-wise, and layer-wise with bounds.

Paper: Table 3. Every solver is tuned with the same budget at the baseline's batch size and at the one that corresponds
to 8K on MNIST; those of torch are tried there with layer-wise rescaling too, unbounded and bounded to [0, 10]. The
baseline's recipe with linear LR scaling and nothing tuned is there as well. Later solvers, and those that a user
registered, are trained at the large batch, and at paper scale also at the baseline's. AdamW is left out where there is
no weight decay: there it is Adam.
"""

from __future__ import annotations

from typing import Any

from batchlimit.config import Scalar
from batchlimit.studies import standard_arms, studies
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.claims import Claim, better, fails, only_on, reaches
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import keeps, opposite
from batchlimit.studies.recipes import bounded_layerwise, plain_layerwise
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, PaperValue, TableSpec

PLAIN = ("momentum", "adagrad", "rmsprop", "adam")
PAPER = (*PLAIN, "lars", "lamb")
LATER = ("adamw", "lion", "muon", "soap", "kfac", "schedule-free")

BASELINE, LARGE = "baseline batch", "large batch"
LAYERWISE, BOUNDED = "large batch, layer-wise", "large batch, layer-wise bounded"
UNTUNED = "large batch, linear LR scaling, not tuned"
WHY = "Table 3 is of MNIST with the paper's LeNet"


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return every solver in every setup that makes sense for it."""
    added = after_the_paper(facts)
    at_baseline = (*PAPER, *added) if effort.scale == "paper" else PAPER
    untuned = _labels(facts.baseline.solver, UNTUNED)
    return (
        *(_arm(facts, effort, solver, BASELINE) for solver in at_baseline),
        *(_arm(facts, effort, solver, LARGE) for solver in (*PAPER, *added)),
        *(_arm(facts, effort, solver, LAYERWISE, layerwise=plain_layerwise()) for solver in PLAIN),
        *(_arm(facts, effort, solver, BOUNDED, layerwise=bounded_layerwise()) for solver in PLAIN),
        standard_arms.as_is(facts, effort, "large", untuned, standard_arms.linear(facts)),
    )


def after_the_paper(facts: Facts) -> tuple[str, ...]:
    """Return the later solvers and, at the end, those that a user registered; AdamW where there is weight decay."""
    known = (*PAPER, *LATER, facts.baseline.solver)
    own = tuple(solver for solver in facts.solvers if solver not in known)
    later = (solver for solver in LATER if solver != "adamw" or facts.baseline.weight_decay > 0)
    return (*(solver for solver in later if solver not in facts.refused), *own)


def _arm(facts: Facts, effort: Effort, solver: str, setup: str, **changes: Any) -> Arm:
    batch = "baseline" if setup == BASELINE else "large"
    return standard_arms.tuned(facts, effort, solver, batch, _labels(solver, setup), **changes)


def _labels(solver: str, setup: str) -> Labels:
    scaling = {LAYERWISE: "layer-wise", BOUNDED: "layer-wise bounded"}.get(setup, "plain")
    if solver in ("lars", "lamb"):
        scaling = "layer-wise by itself"
    return {"solver": solver, "scaling": scaling, "setup": setup}


def _of(solver: str, setup: str) -> dict[str, Scalar]:
    return {"solver": solver, "setup": setup}


TABLE_3: dict[str, tuple[float | str, ...]] = {
    "momentum": (0.992, "diverges", 0.992, 0.992),
    "adagrad": (0.992, 0.983, 0.993, 0.993),
    "rmsprop": (0.992, 0.986, "diverges", 0.990),
    "adam": (0.993, 0.991, "unstable", 0.994),
    "lars": (0.993, 0.994),
}


def _paper_values() -> tuple[PaperValue, ...]:
    found = []
    for solver, row in TABLE_3.items():
        for setup, value in zip((BASELINE, LARGE, LAYERWISE, BOUNDED), row, strict=False):
            known = {"words": value} if isinstance(value, str) else {"value": value}
            found.append(PaperValue.model_validate({"where": _of(solver, setup), "source": "Table 3", **known}))
    return tuple(found)


STUDY = Study(
    name="solvers",
    question="Which solvers keep the baseline's accuracy at a large batch?",
    paper="Table 3",
    paper_setting="MNIST, LeNet, batch 256 and 8K, 30 epochs",
    paper_workload="mnist",
    note=(
        "SGD in the paper is momentum here, LARS and LAMB are layer-wise by themselves. 'Large' corresponds to 8K on "
        "MNIST. Every tuned cell has the same tuning budget. Layer-wise: the solver's own update times "
        "||w|| / ||update||, tensor by tensor; bounded: that ratio clamped to [0, 10], bounds of ours, for the paper "
        "gives none. The paper does not say whether its plain column was tuned: here it is, and beside it stands "
        "linear LR scaling without tuning. Without weight decay AdamW is Adam, and left out."
    ),
    arms=arms,
    tables=(
        TableSpec(
            name="solvers",
            title="Which solvers keep the baseline's accuracy at a large batch?",
            rows="solver",
            columns="setup",
        ),
    ),
    figures=(
        FigureSpec(
            name="solvers",
            kind="dots",
            title="Which solvers keep the baseline's accuracy at a large batch?",
            x="solver",
            colour="solver",
            facet="setup",
        ),
    ),
    claims=(
        Claim(
            "Momentum with linear LR scaling and nothing tuned diverges at the large batch.",
            "Table 3, section 3.1",
            fails(_of("momentum", UNTUNED)),
            paper="diverges",
        ),
        Claim(
            "Momentum, tuned but plain, does not keep the target at the large batch.",
            "Table 3",
            opposite(keeps(_of("momentum", LARGE), _of("momentum", BASELINE))),
            paper="diverges",
        ),
        *(
            Claim(
                f"{words}, plain, cannot achieve an accuracy over 99 % at 8K.",
                "Table 3, section 3.1",
                only_on("mnist", opposite(reaches(_of(solver, LARGE), 0.99)), WHY),
                paper=paper,
            )
            for solver, words, paper in (("adagrad", "AdaGrad", "98.3 %"), ("rmsprop", "RMSprop", "98.6 %"))
        ),
        *(
            Claim(
                f"With layer-wise rescaling {words} keeps the target at the large batch.",
                "Table 3",
                keeps(_of(solver, LAYERWISE), _of(solver, BASELINE)),
                paper=paper,
            )
            for solver, words, paper in (
                ("momentum", "momentum", "99.2 % against 99.2 %"),
                ("adagrad", "AdaGrad", "99.3 % against 99.2 %"),
            )
        ),
        Claim(
            "RMSprop diverges with layer-wise rescaling.",
            "Table 3",
            fails(_of("rmsprop", LAYERWISE)),
            paper="diverges",
        ),
        *(
            Claim(
                f"Bounding the ratio improves on plain layer-wise rescaling of {words}.",
                "Table 3, section 3.1",
                better(_of(solver, BOUNDED), _of(solver, LAYERWISE)),
                paper=paper,
            )
            for solver, words, paper in (("adam", "Adam", "unstable to 99.4 %"), ("rmsprop", "RMSprop", "to 99.0 %"))
        ),
        Claim(
            "LARS at the large batch is better than the baseline.",
            "Table 3, section 3.1",
            better(_of("lars", LARGE), _of("momentum", BASELINE)),
            paper="99.4 % against 99.2 %",
        ),
        Claim(
            "Momentum tuned with the same budget keeps up with LARS.",
            "Nado et al., 2021 (arXiv 2102.06356), on ImageNet at 32K",
            keeps(_of("momentum", LARGE), _of("lars", LARGE)),
        ),
    ),
    paper_values=_paper_values(),
    comparisons=("solver",),
)
studies.register("solvers")(STUDY)
