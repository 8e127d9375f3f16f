"""What is computed from an arm's records."""

from __future__ import annotations

import pytest

from batchlimit.config import Recipe, TrialConfig
from batchlimit.records import TrialRecord
from batchlimit.studies.arm import Arm
from batchlimit.studies.results import ArmResult, Told


def arm_result(chosen: float | None, tried: tuple[float, ...]) -> ArmResult:
    arm = Arm.model_validate({"labels": {"a": 1}, "batch_size": 8, "epochs": "3 epochs", "recipe": Recipe()})

    def told(lr: float) -> Told:
        config = TrialConfig(workload="w", batch_size=8, budget="3 epochs", recipe=Recipe(lr=lr))
        return Told({"lr": lr}, TrialRecord(config=config, status="complete"))

    recipe = None if chosen is None else Recipe(lr=chosen)
    return ArmResult(arm, tuple(map(told, tried)), recipe)


@pytest.mark.parametrize(
    ("chosen", "tried", "at_edge"),
    [
        (0.1, (0.05, 0.1, 0.2), False),
        (0.05, (0.05, 0.1, 0.2), True),
        (0.2, (0.05, 0.1, 0.2), True),
        (0.1, (0.1, 0.1), False),
        (0.1, (), False),
        (None, (0.05, 0.1), False),
    ],
)
def test_a_learning_rate_at_the_edge_of_those_tried(
    chosen: float | None, tried: tuple[float, ...], at_edge: bool
) -> None:
    assert arm_result(chosen, tried).at_edge is at_edge
