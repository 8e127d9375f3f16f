"""A step is the same whatever executes it: micro-batches, memory that runs out, bf16 as near as bf16 can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import (
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
from batchlimit.engine import trial as trial_module
from batchlimit.engine.step import arithmetic, full_fp32, out_of_memory
from batchlimit.engine.trial import limit_gradient, train

CPU = torch.device("cpu")
BATCH = 50


def plainly_dropping() -> nn.Module:
    layers = [nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.4), nn.Linear(32, 32), nn.Dropout(0.2, inplace=True)]
    return nn.Sequential(nn.Dropout(0.1), *layers, nn.Linear(32, 4))


PLAIN = Recipe(lr=0.1, label_smoothing=0.1)
GHOST = PLAIN.updated({"ghost_batch_size": 10})
CASES = [
    pytest.param(perceptron, PLAIN, (1, 7, 16, 49, 50, 64), id="plain"),
    pytest.param(dropping, PLAIN, (1, 7, 16, 50), id="keyed dropout"),
    pytest.param(plainly_dropping, PLAIN, (1, 7, 16, 50), id="torch's dropout"),
    pytest.param(normed, GHOST, (10, 20, 30, 50), id="ghost batch norm"),
    pytest.param(convolutional, GHOST, (10, 20, 30, 50), id="convolutions and ghost batch norm"),
]


@pytest.mark.parametrize(("make_model", "recipe", "sizes"), CASES)
def test_micro_batches_give_the_gradient_and_the_buffers_of_one_pass(
    make_model: Callable[[], nn.Module], recipe: Recipe, sizes: tuple[int, ...]
) -> None:
    seen: dict[int, tuple[Tensor, Tensor, list[Tensor]]] = {}
    for size in sizes:
        training = prepared(config(recipe, batch_size=BATCH), workload(make_model), size)
        found = [gradient(training.accumulate, step, training.stream.batch(step)) for step in range(2)]
        loss = training.accumulate(2, training.stream.batch(2))
        seen[size] = (torch.cat(found), loss, [buffer.clone() for buffer in training.model.buffers()])
    whole = seen[BATCH]
    for size, (found, loss, buffers) in seen.items():
        assert distance(found, whole[0]) < 1e-5, size
        torch.testing.assert_close(loss, whole[1], rtol=1e-5, atol=0)
        for buffer, expected in zip(buffers, whole[2], strict=True):
            torch.testing.assert_close(buffer, expected, rtol=1e-5, atol=1e-6)


@given(batch_size=st.integers(1, TRAIN), microbatch_size=st.integers(1, TRAIN), step=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_any_micro_batch_of_any_batch_gives_one_gradient(batch_size: int, microbatch_size: int, step: int) -> None:
    trial = config(PLAIN, batch_size=batch_size, budget="100 steps")
    found = []
    for size in (microbatch_size, batch_size):
        training = prepared(trial, workload(dropping), size)
        found.append(gradient(training.accumulate, step, training.stream.batch(step)))
    assert distance(*found) < 1e-5


@pytest.mark.parametrize(("make_model", "recipe", "sizes"), CASES)
def test_a_whole_training_ends_at_the_same_weights(
    make_model: Callable[[], nn.Module], recipe: Recipe, sizes: tuple[int, ...]
) -> None:
    ends = []
    for size in (sizes[1], BATCH):
        training = prepared(config(recipe, batch_size=BATCH, budget="3 epochs"), workload(make_model), size)
        start = weights(training)
        train(training)
        ends.append(weights(training))
        assert distance(start, ends[-1]) > 0.01  # it went somewhere
    assert distance(ends[0], ends[1]) < 1e-5


def test_the_gradient_is_the_mean_over_the_batch_not_over_micro_batches() -> None:
    """One of the gradients by hand: the mean loss over exactly the batch's examples, in one call of autograd."""
    training = prepared(config(PLAIN, batch_size=BATCH), workload(), 16)
    batch = training.stream.batch(0)
    found = gradient(training.accumulate, 0, batch)
    inputs, targets = training.examples.train.gather(batch)
    loss = nn.functional.cross_entropy(training.model(inputs), targets, label_smoothing=0.1)
    byhand = torch.autograd.grad(loss, list(training.model.parameters()))
    assert distance(found, torch.cat([part.flatten() for part in byhand])) < 1e-5


def test_dropout_masks_change_with_step_and_seed_only() -> None:
    first = prepared(config(batch_size=BATCH), workload(dropping), BATCH)
    other = prepared(config(batch_size=BATCH, seed=1), workload(dropping), BATCH)
    other.model.load_state_dict(first.model.state_dict())
    batch = first.stream.batch(0)
    base = gradient(first.accumulate, 0, batch)
    assert torch.equal(gradient(first.accumulate, 0, batch), base)
    assert distance(gradient(first.accumulate, 1, batch), base) > 0.05
    assert distance(gradient(other.accumulate, 0, batch), base) > 0.05


def test_old_gradients_do_not_leak_into_a_step() -> None:
    training = prepared(config(batch_size=BATCH), workload(), 16)
    clean = gradient(training.accumulate, 0, training.stream.batch(0))
    for parameter in training.accumulate.parameters:
        parameter.grad = torch.full_like(parameter, 7.0)
    assert torch.equal(gradient(training.accumulate, 0, training.stream.batch(0)), clean)


def test_bf16_is_near_fp32_and_opt_in() -> None:
    def of(**changes: str) -> tuple[Tensor, set[torch.dtype]]:
        recipe = PLAIN.updated(dict(changes))
        training = prepared(config(recipe, batch_size=TRAIN), workload(convolutional), TRAIN)
        seen: set[torch.dtype] = set()
        training.model[0].register_forward_hook(lambda layer, inputs, output: seen.add(output.dtype))
        found = gradient(training.accumulate, 0, training.stream.batch(0))
        assert {parameter.dtype for parameter in training.model.parameters()} == {torch.float32}
        return found, seen

    default, dtype = of()
    assert dtype == {torch.float32}
    assert torch.equal(default, of(precision="fp32")[0])
    found, dtype = of(precision="bf16")
    assert dtype == {torch.bfloat16}
    assert 1e-4 < distance(found, default) < 0.02


def test_a_bf16_training_ends_near_the_fp32_one_and_is_evaluated_in_fp32() -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        recipe = PLAIN.updated({"precision": precision, "lr": 0.05})
        training = prepared(config(recipe, batch_size=TRAIN, budget="10 epochs"), workload(), TRAIN)
        evaluated: set[torch.dtype] = set()

        def look(module: nn.Module, inputs: object, output: Tensor, into: set[torch.dtype] = evaluated) -> None:
            if not module.training:
                into.add(output.dtype)

        training.model.register_forward_hook(look)
        train(training)
        assert evaluated == {torch.float32}
        last = training.history[-1].selection
        assert last is not None
        losses[precision] = last.loss
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.01)
    assert losses["bf16"] != losses["fp32"]


def test_arithmetic_is_the_recipes_inside_and_fp32_outside() -> None:
    layer, inputs = nn.Linear(4, 4), torch.randn(2, 4)
    with arithmetic(Recipe(precision="bf16"), CPU):
        assert layer(inputs).dtype == torch.bfloat16
    with arithmetic(Recipe(), CPU):
        assert layer(inputs).dtype == torch.float32
    assert layer(inputs).dtype == torch.float32


@pytest.mark.parametrize("clip_norm", [None, 0.5, 100.0])
def test_the_gradient_is_limited_as_a_whole(clip_norm: float | None) -> None:
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(5))]
    parameters[0].grad = torch.tensor([3.0, 0.0, 0.0])
    parameters[1].grad = torch.tensor([[0.0, 4.0], [0.0, 0.0]])
    assert limit_gradient(parameters, clip_norm).item() == pytest.approx(5.0)
    factor = 0.1 if clip_norm == 0.5 else 1.0
    torch.testing.assert_close(parameters[0].grad, torch.tensor([3.0, 0.0, 0.0]) * factor)
    torch.testing.assert_close(parameters[1].grad, torch.tensor([[0.0, 4.0], [0.0, 0.0]]) * factor)
    assert parameters[2].grad is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_which_errors_are_memory_running_out(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) is expected


def test_torchs_own_words_for_memory_running_out_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert out_of_memory(caught.value)


@pytest.fixture
def cudnn() -> Iterator[Any]:
    """cuDNN's switches, which can be read and set without a device; as they were after the test."""
    backends: Any = torch.backends
    operators = (backends.cudnn.conv, backends.cudnn.rnn)
    before = [operator.fp32_precision for operator in operators]
    yield backends.cudnn
    for operator, precision in zip(operators, before, strict=True):
        operator.fp32_precision = precision


def test_fp32_is_not_tf32_on_an_accelerator(cudnn: Any) -> None:
    cudnn.allow_tf32 = True
    with full_fp32(CPU):
        assert cudnn.allow_tf32
    with full_fp32(torch.device("cuda")):
        assert not cudnn.allow_tf32
    assert cudnn.allow_tf32


def test_torch_s_newer_names_for_tf32_are_put_back_too(cudnn: Any) -> None:
    cudnn.rnn.fp32_precision = "ieee"  # from here on torch refuses to say what `allow_tf32` is
    with full_fp32(torch.device("cuda")):
        assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("ieee", "ieee")
    assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("tf32", "ieee")


def test_a_trial_runs_in_it_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[object] = []

    @contextmanager
    def noting(device: torch.device) -> Iterator[None]:
        order.append(device)
        yield
        order.append("end")

    monkeypatch.setattr(trial_module, "full_fp32", noting)
    run(
        config(budget="1 step"),
        workload=workload(prepare=lambda inputs: order.append("pass") or inputs),
        execution=Execution(device="cpu", microbatch_size=30),
    )
    assert order[0] == CPU
    assert order[-1] == "end"
    assert order.count("pass") > 1
