"""Memory runs out in the middle of a step: half as many examples a pass, the same step, or one clear line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import (
    TEST,
    TRAIN,
    config,
    convolutional,
    distance,
    dropping,
    gradient,
    normed,
    perceptron,
    prepared,
    weights,
    workload,
)
from torch import Tensor, nn

from batchlimit.config import Recipe
from batchlimit.engine import Execution, run
from batchlimit.engine.trial import scores, train
from batchlimit.errors import InputError
from batchlimit.workloads.workload import Metric, correct, cross_entropy

CUDA_WORDS = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU_WORDS = RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried")
GHOST = Recipe(lr=0.1, ghost_batch_size=10)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with torch.random.fork_rng(devices=[]):
        yield


class Memory:
    """A loss, that is after the forward pass has moved the buffers: it fails above `most` examples a pass.

    The first `spared` passes get through, so that gradients of the abandoned attempt are lying about.
    """

    def __init__(self, most: int, error: Exception, spared: int = 0) -> None:
        self.most, self.error, self.spared = most, error, spared
        self.sizes: list[int] = []

    def __call__(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
        if torch.is_grad_enabled():
            self.sizes.append(len(outputs))
            if len(outputs) > self.most and len(self.sizes) > self.spared:
                raise self.error
        return cross_entropy(outputs, targets, label_smoothing=label_smoothing)


@pytest.mark.parametrize("error", [CUDA_WORDS, CPU_WORDS, MemoryError()], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("make_model", "recipe", "most", "sizes", "end"),
    [
        (perceptron, Recipe(), 16, [50, 25, 12], 12),
        (dropping, Recipe(), 16, [50, 25, 12], 12),
        (normed, GHOST, 20, [50, 20], 20),
        (convolutional, GHOST, 15, [50, 20, 10], 10),
    ],
)
def test_the_micro_batch_is_halved_and_the_step_is_the_same(
    make_model: Callable[[], nn.Module], recipe: Recipe, most: int, sizes: list[int], end: int, error: Exception
) -> None:
    memory = Memory(most, error)
    trial = config(recipe, batch_size=50)
    poor = prepared(trial, workload(make_model, loss=memory), 50)
    found = gradient(poor.accumulate, 0, poor.stream.batch(0))
    assert memory.sizes[: len(sizes)] == sizes
    assert poor.accumulate.microbatch_size == end

    rich = prepared(trial, workload(make_model), end)
    assert torch.equal(found, gradient(rich.accumulate, 0, rich.stream.batch(0)))
    for mine, expected in zip(poor.model.buffers(), rich.model.buffers(), strict=True):
        assert torch.equal(mine, expected)
    one_pass = prepared(trial, workload(make_model), 50)
    assert distance(found, gradient(one_pass.accumulate, 0, one_pass.stream.batch(0))) < 1e-5

    memory.sizes.clear()
    gradient(poor.accumulate, 1, poor.stream.batch(1))
    assert max(memory.sizes) == end  # halved for good


def test_what_was_summed_before_memory_ran_out_is_forgotten() -> None:
    """Three micro-batches get through and the fourth does not: their gradients and statistics must not count twice."""
    trial = config(GHOST, batch_size=TRAIN)
    poor = prepared(trial, workload(normed, loss=Memory(19, CUDA_WORDS, spared=3)), 20)
    rich = prepared(trial, workload(normed), 10)
    found = gradient(poor.accumulate, 0, poor.stream.batch(0))
    assert torch.equal(found, gradient(rich.accumulate, 0, rich.stream.batch(0)))
    for mine, expected in zip(poor.model.buffers(), rich.model.buffers(), strict=True):
        assert torch.equal(mine, expected)


def test_a_whole_training_survives_and_its_record_says_with_what() -> None:
    memory = Memory(16, CUDA_WORDS)
    trial = config(Recipe(lr=0.1), batch_size=TRAIN)
    large, small = (Execution(device="cpu", microbatch_size=size) for size in (TRAIN, 15))
    record = run(trial, workload=workload(dropping, loss=memory), execution=large)
    assert record.status == "complete"
    assert record.environment["microbatch_size"] == 15
    untroubled = run(trial, workload=workload(dropping), execution=small)
    assert record.history == untroubled.history
    assert record.test == untroubled.test


@pytest.mark.parametrize(
    ("make_model", "recipe", "most", "smallest"),
    [(perceptron, Recipe(), 0, 1), (normed, GHOST, 9, 10), (normed, Recipe(), 40, 50)],
    ids=["one example", "one ghost batch", "plain batch norm"],
)
def test_at_the_smallest_micro_batch_it_is_an_input_error(
    make_model: Callable[[], nn.Module], recipe: Recipe, most: int, smallest: int
) -> None:
    training = prepared(config(recipe, batch_size=50), workload(make_model, loss=Memory(most, CPU_WORDS)), 50)
    before = weights(training)
    with pytest.raises(
        InputError, match=f"at a micro-batch of {smallest}, the smallest possible for 'small'"
    ) as caught:
        train(training)
    assert "\n" not in str(caught.value)
    assert torch.equal(weights(training), before)
    assert all(parameter.grad is None for parameter in training.accumulate.parameters)


def test_other_errors_of_a_step_are_the_users_to_see() -> None:
    def broken(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Any:
        raise RuntimeError("expected scalar type Long but found Float")

    training = prepared(config(), workload(loss=broken))
    with pytest.raises(RuntimeError, match="expected scalar type Long"):
        train(training)
    assert training.accumulate.microbatch_size == 30


class Shelf:
    """A metric's total that runs out of memory above `most` examples, in evaluation alone."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.sizes: list[int] = []

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.sizes.append(len(outputs))
        if len(outputs) > self.most:
            raise CUDA_WORDS
        return correct(outputs, targets)


def test_an_evaluation_without_memory_goes_on_with_half_the_examples() -> None:
    shelf = Shelf(11)
    trial = config(GHOST)
    poor = prepared(trial, workload(normed, metric=Metric(total=shelf)), 10)
    rich = prepared(trial, workload(normed), 10)
    found, expected = (scores(training, training.examples.test) for training in (poor, rich))
    assert shelf.sizes == [TEST, TEST // 2, *[TEST // 4] * 4]
    assert found.metric == expected.metric
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert poor.model.training


def test_an_evaluation_of_one_example_without_memory_is_an_input_error() -> None:
    training = prepared(config(), workload(metric=Metric(total=Shelf(0))))
    with pytest.raises(InputError, match=r"^Memory ran out on cpu evaluating one example of 'small'\.$"):
        train(training)
    assert training.model.training


def test_other_errors_of_an_evaluation_are_the_users_to_see() -> None:
    def broken(outputs: Tensor, targets: Tensor) -> Any:
        raise RuntimeError("The size of tensor a must match the size of tensor b")

    training = prepared(config(), workload(metric=Metric(total=broken)))
    with pytest.raises(RuntimeError, match="must match"):
        train(training)
    assert training.model.training
