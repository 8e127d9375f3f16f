"""The cost of trials: fitted to timed ones, exact where the truth is a sum of the three costs, never negative."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlimit.config import Recipe, TrialConfig
from batchlimit.records import TrialRecord
from batchlimit.tuning.cost import CostModel, timed_here

SIZE = 1000
HERE = {"cpu": "x", "device": "cpu"}


def config(batch_size: int, steps: int, **changes: object) -> TrialConfig:
    return TrialConfig(workload="fake", batch_size=batch_size, budget=f"{steps} steps", **changes)


def timed(batch_size: int, steps: int, per_step: float, per_sample: float, per_evaluation: float) -> TrialRecord:
    samples = batch_size * steps
    seconds = steps * per_step + samples * per_sample + (math.ceil(samples / SIZE) + 1) * per_evaluation
    return TrialRecord(
        config=config(batch_size, steps),
        status="complete",
        steps=steps,
        samples=samples,
        seconds=seconds,
        environment=HERE,
    )


@given(st.floats(1e-4, 1e-1), st.floats(1e-6, 1e-3), st.floats(1e-3, 1.0))
def test_known_costs_are_found(per_step: float, per_sample: float, per_evaluation: float) -> None:
    costs = (per_step, per_sample, per_evaluation)
    known = [timed(16, 1, *costs), timed(16, 200, *costs), timed(128, 50, *costs), timed(1000, 10, *costs)]
    model = CostModel(known, SIZE)
    asked = timed(64, 300, *costs)
    assert model.seconds(asked.config) == pytest.approx(asked.seconds, rel=1e-6)


def test_no_cost_is_negative() -> None:
    odd = [timed(16, 100, 1e-2, 0, 0), timed(1000, 1, 1e-9, 0, 1e-4)]
    assert CostModel(odd, SIZE).seconds(config(500, 20)) >= 0


def test_only_trials_like_these_on_a_machine_like_this_one_count() -> None:
    good = timed(16, 10, 1e-3, 1e-5, 0)
    elsewhere = good.model_copy(update={"environment": {**HERE, "cpu": "y"}})
    lost = good.model_copy(update={"status": "diverged"})
    coarse = good.model_copy(update={"config": config(16, 10, recipe=Recipe(precision="bf16"))})
    assert timed_here([good, elsewhere, lost, coarse], config(32, 1), HERE) == [good]
