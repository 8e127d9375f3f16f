"""When a training ends before its last step."""

from __future__ import annotations

import math

import pytest
import torch
from small_training import TRAIN, config, workload
from torch import Tensor

from batchlimit.config import Recipe, StopRule
from batchlimit.engine import Execution, run
from batchlimit.engine import trial as trial_module
from batchlimit.engine.stopping import FiniteWatch, hopeless
from batchlimit.records import Scores
from batchlimit.workloads.workload import LOSS

CPU, ACCELERATOR = torch.device("cpu"), torch.device("cuda")
ON_CPU = Execution(device="cpu", microbatch_size=30)
BAR = StopRule(fraction=0.5, metric=0.8)


def t(value: float) -> Tensor:
    return torch.tensor(value)


@pytest.mark.parametrize(
    ("loss", "norm", "reason"),
    [
        (math.nan, 1.0, "the loss was nan at step 8"),
        (math.inf, 1.0, "the loss was inf at step 8"),
        (1.0, math.nan, "the gradient norm was nan at step 8"),
        (1.0, math.inf, "the gradient norm was inf at step 8"),
        (1.0, 1.0, ""),
        (1e38, 0.0, ""),
    ],
)
def test_a_step_is_judged_by_its_loss_and_gradient(loss: float, norm: float, reason: str) -> None:
    """At once on the CPU; one step later where asking would make the host wait."""
    now = FiniteWatch(CPU)
    assert now.verdict(7, t(loss), t(norm)) == reason
    assert now.final() == ""
    later = FiniteWatch(ACCELERATOR)
    assert later.verdict(7, t(loss), t(norm)) == ""
    assert later.final() == reason
    assert later.verdict(8, t(1.0), t(1.0)) == reason


@pytest.mark.parametrize(
    ("step", "metric", "direction", "is_hopeless"),
    [
        (49, 0.1, "up", False),  # too early
        (50, 0.1, "up", True),
        (50, 0.8, "up", False),  # at the bar is not worse
        (99, 0.79, "up", True),
        (100, 0.1, "up", False),  # it is over: let it be complete
        (50, 0.9, "down", True),
        (50, 0.8, "down", False),
        (50, 0.1, "down", False),
    ],
)
def test_hopeless_is_past_the_fraction_and_worse_than_the_bar(
    step: int, metric: float, direction: str, is_hopeless: bool
) -> None:
    reason = hopeless(BAR, step, 100, Scores(loss=1.0, metric=metric), direction)
    assert bool(reason) is is_hopeless
    if is_hopeless:
        assert f"{metric:.4g} at step {step} of 100, the bar 0.8" in reason
    assert hopeless(None, step, 100, Scores(loss=1.0, metric=metric), direction) == ""


def test_a_metric_that_is_not_finite_is_hopeless() -> None:
    assert "not finite at step 60" in hopeless(BAR, 60, 100, Scores(loss=None, metric=None), "down")


def test_a_hopeless_trial_is_pruned_without_final_scores() -> None:
    trial = config(Recipe(lr=1e-6), budget="8 epochs", stop=StopRule(fraction=0.5, metric=0.99))
    record = run(trial, workload=workload(), execution=ON_CPU)
    assert record.status == "pruned"
    assert record.steps == 16  # of 32: the first epoch's end past one half
    assert record.samples == 16 * 30
    assert [point.step for point in record.history] == [4, 8, 12, 16]
    assert "at step 16 of 32, the bar 0.99" in record.reason
    assert record.selection is record.test is None


@pytest.mark.parametrize("stop", [None, StopRule(fraction=0.2, metric=0.99)], ids=["no rule", "rule"])
def test_an_epoch_s_end_is_not_scored_before_its_step_is_judged(
    stop: StopRule | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that judges late says what one that judges at once says, and keeps the same history."""
    trial = config(Recipe(lr=1e38), batch_size=TRAIN, budget="8 epochs", stop=stop)
    now = run(trial, workload=workload(), execution=ON_CPU)
    monkeypatch.setattr(trial_module, "FiniteWatch", lambda device: FiniteWatch(ACCELERATOR))
    late = run(trial, workload=workload(), execution=ON_CPU)
    assert (late.status, late.reason) == (now.status, now.reason)
    assert now.status == "diverged"
    assert late.history == now.history


def test_the_rule_knows_a_metric_that_goes_down() -> None:
    stop = StopRule(fraction=0.5, metric=0.01)
    pruned = run(
        config(Recipe(lr=1e-6), budget="4 epochs", stop=stop), workload=workload(metric=LOSS), execution=ON_CPU
    )
    assert (pruned.status, pruned.steps) == ("pruned", 8)
    bearable = StopRule(fraction=0.5, metric=100.0)
    trial = config(Recipe(lr=1e-6), budget="4 epochs", stop=bearable)
    assert run(trial, workload=workload(metric=LOSS), execution=ON_CPU).status == "complete"


def test_a_trial_that_is_good_enough_is_the_one_without_the_rule() -> None:
    plain = run(config(Recipe(lr=0.1), budget="4 epochs"), workload=workload(), execution=ON_CPU)
    stop = StopRule(fraction=0.5, metric=0.01)
    ruled = run(config(Recipe(lr=0.1), budget="4 epochs", stop=stop), workload=workload(), execution=ON_CPU)
    assert ruled.status == "complete"
    assert ruled.history == plain.history
    assert ruled.hash != plain.hash
