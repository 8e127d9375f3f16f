"""The judges of train-longer on made results."""

from __future__ import annotations

from dataclasses import replace

from study_worlds import effort_of, facts_of, judged, result

from batchlimit.studies.arm import Arm
from batchlimit.studies.train_longer import EQUAL, arms

GAINS = {1: 0.958, 3: 0.98, 10: 0.9906, 33: 0.9916}


def paper(arm: Arm) -> float:
    if arm.labels["part"] == "baseline":
        return 0.993
    if arm.labels["batch"] == "large":
        return 0.992
    return GAINS[int(arm.labels["times"])] - (0.01 if arm.labels["batch"] == "full" else 0.0)


def turned(arm: Arm) -> float:
    times = {1: 0.999, 3: 0.998, 10: 0.991}
    if arm.labels["part"] == "baseline":
        return 0.992
    return times[int(arm.labels["times"])] - (0.003 if arm.labels["batch"] == "huge" else 0.0)


TEXTS = (
    "A huge batch does not",
    "The full batch does not",
    "better at all",
    "less and less",
    "below the best",
    "bar of Definition",
)


def test_the_papers_world_agrees() -> None:
    found = result("train-longer", paper, train_loss=lambda arm: 0.1 if arm.labels["batch"] == "full" else 0.2)
    for text in (*TEXTS, "lower training loss", "does not test better"):
        assert judged(found, text).agreement == "agrees", text
    assert judged(found, "lower training loss").reason.startswith("difference +0.1 ("), "a loss has no points"


def test_a_count_of_one_is_in_the_singular() -> None:
    found = result("train-longer", paper)
    assert judged(found, "less and less").ours.startswith("the usual length: ")
    once = [replace(arm, arm=arm.arm.updated({"labels": {**arm.arm.labels, "updates": 1}})) for arm in found.arms]
    single = replace(found, arms=tuple(once))
    assert ", 1 update: " in judged(single, "does not test better").ours
    assert judged(single, "lower training loss").ours.endswith(", after 1 update")


def test_a_world_the_other_way_round_differs() -> None:
    found = result("train-longer", turned, train_loss=lambda arm: 0.3 if arm.labels["batch"] == "full" else 0.2)
    for text in (*TEXTS[:3], *TEXTS[4:], "lower training loss", "does not test better"):
        assert judged(found, text).agreement == "differs", text

    def accelerating(arm: Arm) -> float:
        return {1: 0.9, 3: 0.91, 10: 0.95}[int(arm.labels["times"])]

    assert judged(result("train-longer", accelerating), "less and less").agreement == "differs"


def test_diverged_and_unfinished() -> None:
    found = result("train-longer", lambda arm: None if arm.labels["batch"] == "full" else paper(arm))
    assert judged(found, "The full batch does not").agreement == "agrees"
    assert judged(found, "less and less").agreement == "undecided"
    assert judged(found, "lower training loss").agreement == "undecided"
    nothing = result("train-longer", lambda arm: "unfinished")
    assert {claim.judge(nothing).agreement for claim in nothing.study.claims} == {"not comparable"}
    without = result("train-longer", lambda arm: "unfinished" if arm.labels["part"] == "baseline" else paper(arm))
    assert judged(without, "A huge batch does not").agreement == "not comparable"


def test_smoke_never_judges() -> None:
    found = result("train-longer", paper, scale="smoke")
    assert {claim.judge(found).agreement for claim in found.study.claims} == {"not comparable"}


def test_equal_updates_are_equal() -> None:
    for scale in ("smoke", "quick", "paper"):
        facts = facts_of()
        pairs: dict[object, set[int]] = {}
        for arm in arms(facts, effort_of(scale)):
            if arm.labels["part"] == EQUAL:
                made = arm.epochs.steps(batch_size=arm.batch_size, dataset_size=facts.dataset_size)
                assert made == arm.labels["updates"]
                pairs.setdefault(arm.labels["times"], set()).add(made)
        assert pairs
        assert all(len(found) == 1 for found in pairs.values())


def test_a_longest_training_that_collapsed_proves_nothing() -> None:
    def collapsed(arm: Arm) -> float:
        return 0.1 if arm.labels.get("batch") == "full" and arm.labels.get("times", 1) == longest else paper(arm)

    arms = result("train-longer", paper).arms
    longest = max(int(str(arm.labels["times"])) for arm in arms if arm.labels.get("batch") == "full")
    loss = {"full": 2.3, "huge": 0.01}
    found = result("train-longer", collapsed, train_loss=lambda arm: loss.get(str(arm.labels["batch"]), 0.1))
    assert judged(found, "brings less and less").reason == "the longest training is worse than the one before"
    assert judged(found, "does not test better").reason == "its training loss is not lower"
    assert {judged(found, text).agreement for text in ("brings less and less", "does not test better")} == {"undecided"}
