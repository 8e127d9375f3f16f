"""Facts of the built-in workloads and study results that nobody measured, for the tests of studies and their judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from batchlimit.config import Recipe
from batchlimit.records import HistoryPoint, Scores, TrialRecord
from batchlimit.studies.arm import Arm
from batchlimit.studies.facts import Effort, Facts, ScaleName, StudySettings
from batchlimit.studies.results import ArmResult, StudyResult, Told
from batchlimit.studies.study import Study
from batchlimit.workloads import workloads

WORKLOADS = ("digits", "mnist-lenet5", "mnist")
# Training examples under the 'validation' and under the 'paper' protocol.
SIZES = {"digits": (1000, 1300), "mnist-lenet5": (55_000, 60_000), "mnist": (55_000, 60_000)}
EPOCHS = 30.0
Metrics = Callable[[Arm], Sequence[float] | None]


@lru_cache
def _baseline(workload: str) -> tuple[int, Recipe]:
    found = workloads.get(workload)()
    return found.batch_size, found.baseline


def effort_of(scale: ScaleName) -> Effort:
    """Return the effort of a scale for a workload of 30 epochs."""
    return StudySettings(scale=scale).effort(EPOCHS)


def facts_of(workload: str, scale: ScaleName = "quick", **changes: object) -> Facts:
    """Return the facts of a built-in workload, with the training examples that the scale's protocol leaves it."""
    batch_size, baseline = _baseline(workload)
    known = {
        "workload": workload,
        "dataset_size": SIZES[workload][effort_of(scale).protocol == "paper"],
        "batch_size": batch_size,
        "baseline": baseline,
        "epochs": EPOCHS,
    }
    return Facts.model_validate({**known, **changes})


def record_of(
    arm: Arm, seed: int, metric: float | None, *, final: bool = True, workload: str = "digits"
) -> TrialRecord:
    """Return the record of a training of the arm's recipe that ended with this metric; None: it diverged."""
    config = arm.trial("digits", arm.recipe, seed, final=final)
    if metric is None:
        return TrialRecord(config=config, status="diverged", reason="made up", steps=3)
    scores = Scores(metric=metric, loss=1.0 - metric, others={"top-5": 0.5 + metric / 2})
    points = tuple(
        HistoryPoint(step=step, epoch=step, lr=0.1, train_loss=1.0 / step, selection=scores, train=scores, test=scores)
        for step in (1, 2, 3)
    )
    return TrialRecord(
        config=config, status="complete", steps=3, samples=3, history=points, selection=scores, test=scores
    )


def arm_result(arm: Arm, metrics: Sequence[float] | None, *, cells: Sequence[float | None] | None = None) -> ArmResult:
    """Return an arm measured with these metrics, one a seed; None: everything diverged; []: nothing has run yet.

    `cells` are the selection metrics of its tuning trials, by default the mean of `metrics` for each of its budget.
    """
    if metrics is not None and not metrics:
        return ArmResult(arm)
    if metrics is None:
        tuning = [Told({}, record_of(arm, 0, None, final=False))] if arm.tuned else []
        lost = () if arm.tuned else tuple(record_of(arm, seed, None) for seed in range(1, arm.seeds + 1))
        return ArmResult(arm, tuple(tuning), None if arm.tuned else arm.recipe, lost)
    told = cells if cells is not None else [sum(metrics) / len(metrics)] * (arm.budget if arm.tuned else 0)
    return ArmResult(
        arm,
        tuple(Told({"lr": 0.1, "warmup": "10%"}, record_of(arm, 0, metric, final=False)) for metric in told),
        arm.recipe,
        tuple(record_of(arm, seed, metric) for seed, metric in enumerate(metrics, start=1)),
    )


def result_of(study: Study, metrics: Metrics, *, facts: Facts | None = None, scale: ScaleName = "quick") -> StudyResult:
    """Return a study whose arms were measured as `metrics` says."""
    known = facts or facts_of("digits", scale)
    effort = effort_of(scale)
    return StudyResult(study, known, effort, tuple(arm_result(arm, metrics(arm)) for arm in study.arms(known, effort)))


def around(mean: float, seeds: int = 5, spread: float = 0.001) -> list[float]:
    """Return metrics of so many seeds with this mean."""
    return [mean + spread * (seed - (seeds - 1) / 2) / seeds for seed in range(seeds)]
