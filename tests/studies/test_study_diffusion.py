"""The judges of diffusion on made distances."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from study_worlds import effort_of, facts_of, judged, result

from batchlimit.studies.arm import Arm
from batchlimit.studies.diffusion import PROBE, arms
from batchlimit.studies.results import StudyResult

UPDATES = [1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, 100]
BASE, HUGE, SAME, APART = "At the baseline", "At huge and full", "travel the same", "very different"


def world(
    law: Callable[[Arm, float], float],
    place: Callable[[Arm], np.ndarray] = lambda arm: np.ones(512),
    scale: str = "quick",
    metric: float | str | None = 0.9,
) -> StudyResult:
    def measured(arm: Arm, seed: int) -> dict[str, Any]:
        random = np.random.default_rng((seed, arm.batch_size))
        distances = [law(arm, t) * (1 + 0.002 * random.normal()) for t in UPDATES]
        end = place(arm)
        end = end / np.linalg.norm(end) * distances[-1]
        return {
            PROBE: {
                "updates": UPDATES,
                "distance": distances,
                "final_distance": distances[-1],
                "parameters": 512,
                "sketch": end.tolist(),
                "end_sketch": (end + 1.0).tolist(),
            }
        }

    return result("diffusion", lambda arm: metric, measured=measured, scale=scale)


def log_law(arm: Arm, t: float) -> float:
    return math.log(t) if t > 1 else 0.01


def power_law(arm: Arm, t: float) -> float:
    return math.sqrt(t)


def apart(arm: Arm) -> np.ndarray:
    return np.random.default_rng(arm.batch_size).normal(size=512)


def test_the_papers_world() -> None:
    def law(arm: Arm, t: float) -> float:
        return log_law(arm, t) if arm.labels["regime"] == "baseline" else power_law(arm, t) / 10 * math.log(100)

    found = world(law, apart)
    assert {judged(found, text).agreement for text in (BASE, HUGE, SAME, APART)} == {"agrees"}


def test_the_other_way_round() -> None:
    def law(arm: Arm, t: float) -> float:
        far = 1.0 if arm.labels["regime"] == "baseline" else 3.0
        return far * (power_law(arm, t) if arm.labels["regime"] == "baseline" else log_law(arm, t))

    found = world(law)
    assert {judged(found, text).agreement for text in (BASE, HUGE, SAME)} == {"differs"}
    assert judged(world(log_law), APART).agreement == "differs"


def test_laws_that_differ_between_solvers_are_undecided() -> None:
    def law(arm: Arm, t: float) -> float:
        return log_law(arm, t) if arm.labels["solver"] == "lars" else power_law(arm, t)

    assert judged(world(law), BASE).agreement == "undecided"


def test_diverged_unfinished_and_smoke() -> None:
    for found in (
        world(log_law, metric=None),
        world(log_law, metric="unfinished"),
        world(log_law, scale="smoke"),
    ):
        assert {claim.judge(found).agreement for claim in found.study.claims} == {"not comparable"}


def test_every_arm_makes_enough_updates_to_fit_laws_to() -> None:
    facts = facts_of()
    for scale, fewest in (("smoke", 8), ("quick", 100), ("paper", 100)):
        for arm in arms(facts, effort_of(scale)):
            assert arm.epochs.steps(batch_size=arm.batch_size, dataset_size=facts.dataset_size) >= fewest
            assert arm.recipe.schedule == "constant"
