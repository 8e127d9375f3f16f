"""How much do LR and warmup matter: heat maps of two solvers, side by side, at large, huge and full batch.

Paper: Figures 2, 7, 15, 16 and 17. Every cell of a grid of LRs (a factor of 2 apart) and warmups is trained once, the
best cell then with fresh seeds. The registered study compares momentum with LARS; `between` makes one of any two.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from batchlimit.studies import standard_arms, studies
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.claims import Claim, Judgement, better, missing, only_on, reaches, too_short
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import Judge, opposite
from batchlimit.studies.recipes import derived, lr_window
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.study import Arms, Study
from batchlimit.studies.views import FigureSpec, TableSpec

BATCHES = ("large", "huge", "full")
WARMUPS = {
    "smoke": ["0%", "10%"],
    "quick": ["0%", "10%", "30%", "60%"],
    "paper": ["0%", "5%", "10%", "20%", "40%", "60%"],
}
NEAR = 0.01  # how near the best a cell has to be, as a share of it


def grid(facts: Facts, effort: Effort, solver: str, batch: str) -> Arm:
    """Return an arm that trains every cell of the grid of a solver at a batch size."""
    recipe = derived(facts, solver, standard_arms.batch_size(facts, batch))
    rates, warmups = lr_window(recipe, effort.most(2, 7, 9)), WARMUPS[effort.scale]
    where: dict[str, Any] = {"lr": rates, "warmup": warmups}
    cells = len(rates) * len(warmups)
    return standard_arms.searched(facts, effort, batch, {"solver": solver}, recipe, where, budget=cells)


def arms_of(first: str, second: str) -> Arms:
    """Return the arms of a comparison of two solvers."""

    def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
        return tuple(grid(facts, effort, solver, batch) for batch in BATCHES for solver in (first, second))

    return arms


def near_the_best(results: tuple[ArmResult, ...], direction: str) -> list[tuple[int, int]]:
    """Return for each arm how many of its cells are within 1 % of the best cell of all arms, and how many it has."""
    sign = 1.0 if direction == "up" else -1.0
    cells = [[told.metric for told in result.tuning] for result in results]
    known = [sign * metric for own in cells for metric in own if metric is not None]
    bar = max(known) - NEAR * abs(max(known)) if known else 0.0
    return [(sum(metric is not None and sign * metric >= bar for metric in own), len(own)) for own in cells]


def more_tolerant(tolerant: Labels, other: Labels) -> Judge:
    """Return a judge: more cells of `tolerant` than of `other` are within 1 % of the best cell of both."""

    def judge(result: StudyResult) -> Judgement:
        pair: list[ArmResult] = []
        for where in (tolerant, other):
            found = result.select(where)
            if not found or len(found[0].tuning) < found[0].arm.budget:
                return missing(result, where)
            pair.append(found[0])
        (ours, of), (theirs, of_other) = near_the_best(tuple(pair), result.facts.metric_direction)
        names = [str(where["solver"]) for where in (tolerant, other)]
        counts = f"{ours} of {of} cells with {names[0]}, {theirs} of {of_other} with {names[1]}"
        said = f"within 1 % of the best cell of both: {counts}"
        if result.effort.scale == "smoke":
            return too_short(said)
        if ours == theirs:
            return Judgement("undecided", said, "as many of either")
        return Judgement("agrees" if ours > theirs else "differs", said, "each cell trained once")

    return judge


def between(first: str, second: str, *, name: str, claims: tuple[Claim, ...] = ()) -> Study:
    """Return the study that compares the sensitivity of two solvers to LR and warmup."""
    return Study(
        name=name,
        question=f"How much do LR and warmup matter to {first} and to {second}?",
        note=(
            f"LRs are a factor of 2 apart, around where each solver is looked for at that batch size, so the columns "
            f"of {first} and {second} are of different LRs."
        ),
        arms=arms_of(first, second),
        tables=(
            TableSpec(
                name="best", title="What does the best cell reach with fresh seeds?", rows="solver", columns="batch"
            ),
        ),
        figures=tuple(
            FigureSpec(
                name=f"{batch}-batch",
                kind="heat",
                title=f"How much do LR and warmup matter at {batch} batch?",
                caption="One training a cell.",
                facet="solver",
                only={"batch": batch},
            )
            for batch in BATCHES
        ),
        claims=claims,
        comparisons=("solver",),
    )


def _paper() -> tuple[Claim, ...]:
    """Return the paper's claims about momentum and LARS."""
    figures = {"huge": "Figure 2", "full": "Figures 7, 15, 16 and 17"}
    why = "the target of 99.2 % is of MNIST with the paper's LeNet"
    found: list[Claim] = []
    for batch, source in figures.items():
        lars: Labels = {"solver": "lars", "batch": batch}
        momentum: Labels = {"solver": "momentum", "batch": batch}
        found += [
            Claim(
                f"The best cell of LARS beats the best of momentum at {batch} batch.", source, better(lars, momentum)
            ),
            Claim(
                f"At {batch} batch more cells of the grid come near the best with LARS than with momentum.",
                source,
                more_tolerant(lars, momentum),
            ),
        ]
    short = only_on("mnist", opposite(reaches({"batch": "full"}, 0.992)), why)
    return (*found, Claim("Neither reaches the target at full batch.", "Figure 16", short, paper="99.2 %"))


STUDY = replace(
    between("momentum", "lars", name="sensitivity", claims=_paper()),
    paper="Figs. 2, 7, 15, 16, 17",
    paper_setting="MNIST, LeNet, batch 60,000 (Fig. 16); ImageNet and CIFAR-10 in the others",
    paper_workload="mnist",
)
studies.register("sensitivity")(STUDY)
