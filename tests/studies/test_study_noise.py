"""The judge of noise: paired gains, corrected for four comparisons."""

from __future__ import annotations

import pytest
from study_worlds import effort_of, facts_of, judged, result

from batchlimit.studies.arm import Arm
from batchlimit.studies.noise import arms, chosen

CLAIM = "None of the four"


@pytest.mark.parametrize(
    ("of_labels", "expected"), [(0.95, "agrees"), (0.96, "agrees"), (0.97, "differs"), (None, "agrees")]
)
def test_none_helps(of_labels: float | None, expected: str) -> None:
    def world(arm: Arm) -> float | None:
        return {"none": 0.96, "labels": of_labels}.get(str(arm.labels["noise"]), 0.955)

    assert judged(result("noise", world), CLAIM).agreement == expected


def test_a_gain_within_the_scatter_is_undecided() -> None:
    def world(arm: Arm) -> float:
        return 0.9600001 if arm.labels["noise"] == "weights" else 0.96

    found = result("noise", world)
    scattered = []
    for arm in found.arms:
        if arm.labels["noise"] != "weights":
            scattered.append(arm)
            continue
        final = []
        for place, record in enumerate(arm.final):
            assert record.test is not None
            moved = record.test.model_copy(update={"metric": 0.96 + 0.01 * (-1) ** place + 0.001})
            final.append(record.model_copy(update={"test": moved}))
        scattered.append(type(arm)(arm.arm, arm.tuning, arm.chosen, tuple(final)))
    turned = type(found)(found.study, found.facts, found.effort, tuple(scattered))
    assert judged(turned, CLAIM).agreement == "undecided"


def test_unfinished_and_diverged() -> None:
    waiting = result("noise", lambda arm: "unfinished" if arm.labels["noise"] == "labels" else 0.96)
    assert judged(waiting, CLAIM).agreement == "undecided"
    nothing = result("noise", lambda arm: "unfinished")
    assert judged(nothing, CLAIM).agreement == "not comparable"
    saved = result("noise", lambda arm: None if arm.labels["noise"] == "none" else 0.96)
    assert judged(saved, CLAIM).agreement == "differs"
    assert judged(result("noise", lambda arm: 0.96, scale="smoke"), CLAIM).agreement == "not comparable"


def test_the_size_is_chosen_by_tuning() -> None:
    found = result("noise", lambda arm: 0.96 - float(arm.labels["size"]))
    arm = chosen(found, "activations")
    assert arm is not None
    assert arm.labels["size"] == 0.03


def test_same_budget_and_at_least_eight_seeds_for_all() -> None:
    made = arms(facts_of(), effort_of())
    assert len({(arm.budget, arm.seeds, arm.batch_size) for arm in made}) == 1
    assert made[0].seeds >= 8
    gradient = next(arm for arm in made if arm.labels["noise"] == "gradients")
    assert gradient.recipe.noise is not None
    assert gradient.recipe.noise.std == pytest.approx(float(gradient.labels["size"]) / 100)
