"""The judges of large-batch-curves on made results: both answers, diverged, unfinished."""

from __future__ import annotations

import pytest
from study_worlds import effort_of, facts_of, judged, result

from batchlimit.records import HistoryPoint, Scores
from batchlimit.studies.arm import Arm
from batchlimit.studies.large_batch_curves import BASELINE, CYCLES, LAMB_LONG, LARS, UNTUNED, arms

PAPER = {LARS: 0.958, LAMB_LONG: 0.987, UNTUNED: 0.873, CYCLES: 0.962, BASELINE: 0.992}


def paper(arm: Arm) -> float:
    if arm.labels["batch"] == "large":
        return 0.992
    return PAPER.get(str(arm.labels["recipe"]), 0.92)


def test_the_papers_own_figures_agree_with_its_claims() -> None:
    found = result("large-batch-curves", paper)
    for text in (
        "loses accuracy",
        "momentum and Adam",
        "better than LARS",
        "not reach the accuracy",
        "hurts",
        "a little",
    ):
        assert judged(found, text).agreement == "agrees", text


def test_a_world_where_nothing_is_as_the_paper_says() -> None:
    def turned(arm: Arm) -> float:
        return 0.99 if arm.labels["batch"] == "large" else 1.95 - paper(arm)

    found = result("large-batch-curves", turned)
    for text in ("loses accuracy", "momentum and Adam", "better than LARS", "hurts", "a little"):
        assert judged(found, text).agreement == "differs", text
    reaching = result("large-batch-curves", lambda arm: 0.993 if arm.labels["recipe"] == LAMB_LONG else 0.992)
    assert judged(reaching, "not reach the accuracy").agreement == "differs"


def test_diverged_and_unfinished_arms() -> None:
    def some(arm: Arm) -> float | str | None:
        return {UNTUNED: None, LAMB_LONG: "unfinished"}.get(str(arm.labels["recipe"]), paper(arm))

    found = result("large-batch-curves", some)
    assert judged(found, "hurts").agreement == "agrees"
    assert judged(found, "better than LARS").agreement == "not comparable"


def course(losses: list[float], accuracies: list[float]) -> list[HistoryPoint]:
    return [
        HistoryPoint(step=i, epoch=float(i), train_loss=loss, train=Scores(metric=a), selection=Scores(metric=a))
        for i, (loss, a) in enumerate(zip(losses, accuracies, strict=True))
    ]


@pytest.mark.parametrize(
    ("losses", "accuracies", "expected"),
    [
        ([2.0, 1.0, 1.5, 2.0, 1.0], [0.1, 0.5, 0.6, 0.7, 0.9], "agrees"),
        ([2.0, 1.5, 1.0, 0.7, 0.5], [0.1, 0.5, 0.6, 0.7, 0.9], "differs"),
        ([2.0, 1.0, 1.5, 2.0, 1.0], [0.1, 0.5, 0.4, 0.3, 0.9], "differs"),
        ([2.0, 1.0], [0.1, 0.5], "undecided"),
    ],
)
def test_loss_that_rises_while_errors_fall(losses: list[float], accuracies: list[float], expected: str) -> None:
    found = result("large-batch-curves", paper, history=lambda arm: course(losses, accuracies))
    assert judged(found, "In the middle").agreement == expected


def test_training_loss_at_the_end() -> None:
    high = result("large-batch-curves", paper, train_loss=lambda arm: 2.0 if arm.labels["recipe"] == CYCLES else 0.5)
    assert judged(high, "still high").agreement == "agrees"
    low = result("large-batch-curves", paper, train_loss=lambda arm: 0.1 if arm.labels["recipe"] == CYCLES else 0.5)
    assert judged(low, "still high").agreement == "differs"


def test_smoke_never_judges() -> None:
    found = result("large-batch-curves", paper, scale="smoke")
    assert {claim.judge(found).agreement for claim in found.study.claims} == {"not comparable"}


def test_all_but_the_baseline_have_the_same_budget_and_every_arm_is_watched() -> None:
    for scale in ("smoke", "quick", "paper"):
        made = arms(facts_of(), effort_of(scale))
        assert len({arm.budget for arm in made[1:]}) == 1
        assert all(arm.watch == ("train", "test") for arm in made)
        long = next(arm for arm in made if arm.labels["recipe"] == LAMB_LONG)
        assert min(float(w.removesuffix("%")) for w in long.space["warmup"]) >= 40
