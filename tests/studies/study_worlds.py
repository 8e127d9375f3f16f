"""Results of studies that nobody trained: every arm with the values that a test says it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from batchlimit.config import Recipe
from batchlimit.records import HistoryPoint, Scores, TrialRecord
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Judgement
from batchlimit.studies.facts import Effort, Facts, StudySettings
from batchlimit.studies.results import ArmResult, StudyResult, Told

BASELINE = Recipe(solver="momentum", lr=0.03, schedule="polynomial", schedule_options={"power": 1.0})
JITTER = (0.0, 0.0002, -0.0002, 0.0001, -0.0001, 0.00015, -0.00015, 0.00005, -0.00005, 0.00012)

Value = float | str | None


def facts_of(workload: str = "digits", **changes: Any) -> Facts:
    """Return the facts of a workload as large as the paper's MNIST."""
    given = {"dataset_size": 60_000, "batch_size": 256, "baseline": BASELINE, "epochs": 30.0, "parameters": 10_000}
    return Facts.model_validate({"workload": workload, **given, **changes})


def effort_of(scale: str = "quick", **changes: Any) -> Effort:
    """Return a scale's effort for 30 epochs."""
    return StudySettings.model_validate({"scale": scale, **changes}).effort(30.0)


def result(
    name: str,
    metric: Callable[[Arm], Value],
    *,
    scale: str = "quick",
    workload: str = "digits",
    train_loss: Callable[[Arm], float] | None = None,
    history: Callable[[Arm], Sequence[HistoryPoint]] | None = None,
    measured: Callable[[Arm, int], dict[str, Any]] | None = None,
    facts: Facts | None = None,
) -> StudyResult:
    """Return a study's result; `metric` says an arm's mean test metric, None for diverged or 'unfinished'.

    Seeds differ a little, by `JITTER`.
    """
    facts = facts or facts_of(workload)
    effort = effort_of(scale)
    study = studies.get(name)

    def points(arm: Arm) -> tuple[HistoryPoint, ...]:
        if history is not None:
            return tuple(history(arm))
        loss = 0.1 if train_loss is None else train_loss(arm)
        return (HistoryPoint(step=1, epoch=1.0, train_loss=loss),)

    def made(arm: Arm) -> ArmResult:
        value = metric(arm)
        if value == "unfinished":
            return ArmResult(arm)

        def record(seed: int, final: bool) -> TrialRecord:
            config = arm.trial(facts.workload, arm.recipe, seed, final=final)
            if value is None:
                return TrialRecord(config=config, status="diverged", reason="the loss is not finite")
            assert isinstance(value, float)
            scores = Scores(metric=value + JITTER[seed % len(JITTER)], loss=0.1)
            extra = {"measurements": measured(arm, seed)} if measured is not None and final else {}
            return TrialRecord(
                config=config, status="complete", steps=1, history=points(arm), selection=scores, test=scores, **extra
            )

        told = (Told({"lr": arm.recipe.lr}, record(0, final=False)),) if arm.tuned else ()
        if arm.tuned and value is None:
            return ArmResult(arm, told, None, ())
        return ArmResult(arm, told, arm.recipe, tuple(record(seed, final=True) for seed in range(1, arm.seeds + 1)))

    return StudyResult(study, facts, effort, tuple(made(arm) for arm in study.arms(facts, effort)))


def judged(found: StudyResult, text: str) -> Judgement:
    """Return the judgement of the one claim whose words hold `text`."""
    claims = [claim for claim in found.study.claims if text in claim.text]
    assert len(claims) == 1, [claim.text for claim in found.study.claims]
    return claims[0].judge(found)
