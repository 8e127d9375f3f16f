"""Do weights move away from their start as slowly as ultra-slow diffusion says, at any batch size? (Figures 11 and 12)

Trained: the baseline's solver and LARS at batch sizes a factor of four apart, up to the full batch, with a constant
learning rate and no warmup, as the theory is about a fixed rate; the rate is tuned. Equal seeds begin at equal weights.
Everyone trains for the study's epochs, or for 100 updates where that is more: fewer do not tell one law from another.

Three laws of the distance from the start are compared (`analysis.laws`), and distances between end points estimated
from sketches of the weights (`analysis.end_points`).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from batchlimit.analysis.end_points import end_points
from batchlimit.analysis.intervals import mean_interval
from batchlimit.analysis.laws import FEWEST, Diffusion, curves, diffusion
from batchlimit.config import Scalar
from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Agreement, Claim, Judgement, missing, together, too_short, unanimous
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import Judge
from batchlimit.studies.recipes import derived, lr_window
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, TableSpec

PROBE = "weight-distance"
SAME_DISTANCE = 1.25  # the farthest at most this many times the nearest
OWN, LARS = "the baseline's solver", "LARS"
OTHER_MINIMUM = 0.5  # end points at least this share of the distance travelled apart


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return the batch sizes of a ladder for two solvers, each training with the distances measured."""
    solvers = dict.fromkeys((facts.baseline.solver, "lars"))
    return tuple(_arm(facts, effort, solver, size) for solver in solvers for size in facts.ladder(4.0))


def _arm(facts: Facts, effort: Effort, solver: str, batch_size: int) -> Arm:
    recipe = derived(facts, solver, batch_size, schedule="constant", schedule_options={}, warmup="0%")
    points = effort.most(1, 3, 5)
    group = OWN if solver == facts.baseline.solver else LARS
    return Arm(
        labels={"solver": solver, "group": group, "regime": regime(facts, batch_size), "batch size": batch_size},
        batch_size=batch_size,
        epochs=_length(facts, effort, batch_size),
        recipe=recipe,
        space={"lr": lr_window(recipe, points)} if points > 1 else {},
        budget=points if points > 1 else 0,
        seeds=effort.seeds,
        protocol=effort.protocol,
        probes=(PROBE,),
    )


def regime(facts: Facts, batch_size: int) -> str:
    """Return where a batch size stands by the paper's shares of the training examples."""
    if batch_size >= facts.full:
        return "full"
    return "baseline" if batch_size <= facts.batch_size else "large" if batch_size <= facts.large else "huge"


def _length(facts: Facts, effort: Effort, batch_size: int) -> Duration:
    fewest = effort.most(8, 100, 100)
    updates = effort.epochs.steps(batch_size=batch_size, dataset_size=facts.dataset_size)
    return effort.epochs if updates >= fewest else Duration(fewest, "steps")


def measured(arm: ArmResult) -> dict[int, dict[str, Any]]:
    """Return what the probe measured, by seed."""
    return {record.config.seed: record.measurements[PROBE] for record in arm.complete if PROBE in record.measurements}


def law_of(arm: ArmResult) -> Diffusion | None:
    """Return the laws fitted to an arm's distances, None where there are too few of them."""
    known = list(measured(arm).values())
    updates, distances = curves(known)
    if sum(update >= 2 for update in updates) < FEWEST:
        return None
    try:
        return diffusion(updates, distances)
    except InputError:  # weights that did not move, or are not finite
        return None


def slow(law: Diffusion) -> bool:
    """Return whether the distance grows like the logarithm: a line in log t fits best, or alpha may be 2.

    Not where a power law of t fits best: alpha then describes a curve that the theory does not.
    """
    return law.best == "log-linear" or (law.best == "log-power" and bool(law.consistent))


def logarithmic(*regimes: str, expected: bool) -> Judge:
    """Return a judge: in all these regimes the diffusion is ultra-slow (or, expected false, in none)."""

    def judge(result: StudyResult) -> Judgement:
        arms_there = [arm for name in regimes for arm in result.select({"regime": name})]
        laws = [(arm, law) for arm in arms_there if (law := law_of(arm)) is not None]
        if result.effort.scale == "smoke":
            return too_short("")
        if not laws:
            return missing(result, {"regime": " or ".join(regimes)})
        said = "; ".join(_said(arm, law) for arm, law in laws)
        holds = [slow(law) for _, law in laws]
        mixed = f"so in {sum(holds)} of {len(holds)} cases"
        return unanimous([one is expected for one in holds], said, mixed)

    return judge


def _said(arm: ArmResult, law: Diffusion) -> str:
    name = f"{arm.labels['solver']}, {arm.labels['batch size']:,}"
    alpha = law.alpha
    if alpha is None or alpha.mean is None:
        return f"{name}: best law {law.best}"
    low, high = ("any" if end is None else f"{end:.2g}" for end in (alpha.low, alpha.high))
    return f"{name}: alpha {alpha.mean:.2g} ({low} to {high}), best law {law.best}"


def _by_seed(result: StudyResult, solver: Scalar) -> dict[int, dict[Scalar, dict[str, Any]]]:
    """Return measurements by seed and batch size, of the seeds that every batch size measured has."""
    known = {arm.labels["batch size"]: measured(arm) for arm in result.select({"solver": solver})}
    known = {size: found for size, found in known.items() if found}
    seeds = sorted(set.intersection(*map(set, known.values()))) if len(known) > 1 else []
    return {seed: {size: found[seed] for size, found in known.items()} for seed in seeds}


def travel_alike(result: StudyResult) -> Judgement:
    """Judge whether all batch sizes travel the same distance: the farthest at most a quarter more than the nearest."""
    if result.effort.scale == "smoke":
        return too_short("")
    said: list[str] = []
    found: list[Agreement] = []
    for solver in result.values("solver"):
        spreads = []
        for sizes in _by_seed(result, solver).values():
            gone = [one["final_distance"] for one in sizes.values()]
            if all(value is not None and value > 0 for value in gone):
                spreads.append(max(gone) / min(gone))
        known = mean_interval(spreads)
        if known.mean is None:
            continue
        said.append(f"{solver}: the farthest {known.mean:.3g} times the nearest")
        if known.low is None or known.high is None:
            found.append("undecided")
        else:
            above, below = known.low > SAME_DISTANCE, known.high <= SAME_DISTANCE
            found.append("differs" if above else "agrees" if below else "undecided")
    return _all_of(result, found, said)


def end_apart(result: StudyResult) -> Judgement:
    """Judge whether batch sizes end at different minima: all pairs at least half of the distance travelled apart."""
    if result.effort.scale == "smoke":
        return too_short("")
    said: list[str] = []
    found: list[Agreement] = []
    for solver in result.values("solver"):
        nearest = [value for sizes in _by_seed(result, solver).values() if (value := _nearest_pair(sizes)) is not None]
        known = mean_interval(nearest)
        if known.mean is None:
            continue
        said.append(f"{solver}: the nearest two end {known.mean:.3g} of the distance travelled apart")
        if known.low is None or known.high is None:
            found.append("undecided")
        else:
            above, below = known.low >= OTHER_MINIMUM, known.high < OTHER_MINIMUM
            found.append("agrees" if above else "differs" if below else "undecided")
    return _all_of(result, found, said)


def _nearest_pair(sizes: dict[Scalar, dict[str, Any]]) -> float | None:
    """Return the least distance between two end points of one seed, as a share of the mean distance of the two."""
    ends = end_points({str(size): one for size, one in sizes.items()})
    shares = [
        ends.distances[i][j] / length
        for i, j in itertools.combinations(range(len(ends.names)), 2)
        if (length := (ends.lengths[i] + ends.lengths[j]) / 2) > 0
    ]
    return min((share for share in shares if math.isfinite(share)), default=None)


def _all_of(result: StudyResult, found: list[Agreement], said: list[str]) -> Judgement:
    if not found:
        return missing(result, {"batch size": "two or more, with equal seeds"})
    return together(found, "; ".join(said), of="solvers")


STUDY = Study(
    name="diffusion",
    question="Do weights move away from their start as slowly as ultra-slow diffusion says?",
    paper="Figures 11, 12",
    paper_setting="ImageNet with ResNet-50",
    note="Constant learning rates, tuned; equal seeds begin at equal weights. Ultra-slow diffusion (Hoffer et al., "
    "2017) says that the distance grows like log t, alpha = 2. Two minima are called different where they are at least "
    "half of the distance travelled apart, two distances the same where they differ by a quarter at most.",
    arms=arms,
    tables=(
        TableSpec(name="accuracy", title="How good are the trainings compared?", rows="batch size", columns="solver"),
    ),
    figures=(
        FigureSpec(
            name="distance",
            kind="distance",
            title="How does the distance from the start grow with the number of updates?",
            colour="batch size",
            facet="solver",
        ),
        *(
            FigureSpec(
                name=f"end-points-{name}",
                kind="end-points",
                title=f"How far from each other do the batch sizes end, with {group}?",
                colour="batch size",
                only={"group": group},
            )
            for name, group in (("baseline", OWN), ("lars", LARS))
        ),
    ),
    claims=(
        Claim(
            "At the baseline's batch size the distance grows like log t.",
            "Hoffer et al., 2017, section 3",
            logarithmic("baseline", expected=True),
            paper="alpha = 2",
        ),
        Claim(
            "At huge and full batches it does not: ultra-slow diffusion does not hold there.",
            "sections 4.2 and 5",
            logarithmic("huge", "full", expected=False),
        ),
        Claim("All batch sizes travel the same distance.", "Figures 11 and 12", travel_alike),
        Claim("Yet each reaches a very different minimum.", "section 6.1", end_apart),
    ),
)
studies.register(STUDY.name)(STUDY)
