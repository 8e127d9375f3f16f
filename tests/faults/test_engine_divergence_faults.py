"""Numbers that are not finite: noticed within the step, before the weights are touched, and told, not raised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import TEST, TRAIN, VALIDATION, blobs, config, perceptron, prepared, weights, workload
from torch import Tensor, nn

from batchlimit.config import Recipe
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine import Execution, run
from batchlimit.engine.trial import final_scores, train
from batchlimit.workloads.workload import Workload, cross_entropy

ON_CPU = Execution(device="cpu", microbatch_size=7)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with torch.random.fork_rng(devices=[]):
        yield


def poisoned(where: int, value: float = math.nan, **parts: Any) -> Workload:
    """One number of one training example is `value`."""
    inputs, targets = blobs(TRAIN, 1).gather(torch.arange(TRAIN))
    inputs[where, 2] = value
    return workload(data=DataSet(TensorSplit(inputs, targets), blobs(TEST, 2), validation_size=VALIDATION), **parts)


@pytest.mark.parametrize("clip_norm", [None, 1.0], ids=["", "clipped"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("solver", ["momentum", "adam", "lars", "lamb"])
def test_data_that_are_not_finite_end_the_training_in_the_very_step(
    solver: str, value: float, clip_norm: float | None
) -> None:
    """Infinity saturates tanh, so the loss may be finite and the gradient not; either way no update is made of it."""
    training = prepared(config(Recipe(solver=solver, lr=0.1, clip_norm=clip_norm)), poisoned(50, value), 7)
    step = next(k for k in range(training.total_steps) if 50 in training.stream.batch(k))
    clean = prepared(config(Recipe(solver=solver, lr=0.1, clip_norm=clip_norm)), workload(), 7)
    clean.total_steps = step
    assert step > 0
    train(clean)
    train(training)
    assert training.status == "diverged"
    assert training.reason.endswith(f"was nan at step {step + 1}")
    assert training.step == step
    assert torch.equal(weights(training), weights(clean))
    assert final_scores(training) == (None, None)


def test_nan_at_the_first_step_leaves_nothing_behind() -> None:
    training = prepared(config(batch_size=TRAIN), poisoned(0), 7)
    before = weights(training)
    train(training)
    assert (training.status, training.reason) == ("diverged", "the loss was nan at step 1")
    assert torch.equal(weights(training), before)

    called: list[object] = []
    record = run(config(batch_size=TRAIN), workload=poisoned(0), execution=ON_CPU, on_point=lambda *p: called.append(p))
    assert (record.status, record.reason) == ("diverged", "the loss was nan at step 1")
    assert (record.steps, record.samples, record.history, called) == (0, 0, (), [])
    assert record.selection is record.test is None


def infinite_loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    """A loss of infinity whose gradient is finite."""
    return cross_entropy(outputs, targets, label_smoothing=label_smoothing) + math.inf


def steep_loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    """A finite loss with a gradient that is not."""
    return (outputs * 0.0).sum().sqrt() + cross_entropy(outputs, targets)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [(infinite_loss, "the loss was inf at step 1"), (steep_loss, "the gradient norm was nan at step 1")],
)
def test_loss_and_gradient_are_each_looked_at(loss: Any, reason: str) -> None:
    training = prepared(config(), workload(loss=loss), 7)
    before = weights(training)
    train(training)
    assert (training.status, training.reason, training.step) == ("diverged", reason, 0)
    assert torch.equal(weights(training), before)


def test_a_learning_rate_out_of_this_world_is_noticed_one_step_later() -> None:
    record = run(
        config(Recipe(lr=1e38), budget="8 epochs"), workload=workload(lambda: nn.Linear(6, 4)), execution=ON_CPU
    )
    assert record.status == "diverged"
    assert record.steps < 4
    assert record.reason.endswith(f"at step {record.steps + 1}")


@pytest.mark.parametrize("batch_size", [30, TRAIN])
def test_weights_that_blow_up_in_the_last_step_are_no_completed_training(batch_size: int) -> None:
    trial = config(Recipe(lr=3e38), batch_size=batch_size, budget="1 step")
    record = run(trial, workload=workload(lambda: nn.Linear(6, 4)), execution=ON_CPU)
    assert (record.status, record.steps) == ("diverged", 1)
    assert record.reason == "the loss on the selection split was not finite at the end"
    assert len(record.history) == 1
    assert record.selection is record.test is None


def test_a_training_that_only_comes_near_is_complete() -> None:
    """Finite but enormous numbers are not divergence: the record says how bad they are."""
    huge = poisoned(0, 1e30, make_model=perceptron)
    record = run(config(Recipe(lr=0.01), batch_size=TRAIN), workload=huge, execution=ON_CPU)
    assert record.status == "complete"
    assert record.test is not None
    assert math.isfinite(record.test.loss)


def test_the_next_trial_is_none_the_worse_for_it() -> None:
    good = workload()
    first = run(config(), workload=good, execution=ON_CPU)
    run(config(), workload=poisoned(0), execution=ON_CPU)
    assert run(config(), workload=good, execution=ON_CPU).history == first.history
