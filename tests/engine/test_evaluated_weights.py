"""Evaluation at other weights than the trained ones: batch-norm statistics are those of the weights evaluated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive_norm_statistics import naive_norm_statistics
from small_training import (
    CLASSES,
    CPU,
    FEATURES,
    TRAIN,
    config,
    convolutional,
    distance,
    prepared,
    workload,
)
from small_training import weights as weights_of
from spawned_ranks import run_ranks
from torch import Tensor, nn

from batchlimit.config import Noise, Recipe
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine import Execution, run, trial
from batchlimit.engine.distributed import group_of
from batchlimit.engine.evaluated_weights import estimate_statistics, moving_norms, with_mode
from batchlimit.engine.layout import Layout
from batchlimit.engine.seeds import generator
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.engine.trial import Training, answering, final_scores, measure, take_step, train
from batchlimit.errors import InputError
from batchlimit.models.ghost_batch_norm import GhostBatchNorm1d
from batchlimit.models.group_batch_norm import convert_group_batch_norm
from batchlimit.workloads.resolve import resolve

FREE = Recipe(solver="schedule-free", lr=0.05, batch_norm_statistics="estimated")


def twice_normed() -> nn.Module:
    first, second = [nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.Tanh()], [nn.Linear(16, 8), nn.BatchNorm1d(8)]
    return nn.Sequential(*first, *second, nn.Tanh(), nn.Linear(8, CLASSES))


def dropping_and_normed() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, CLASSES))


def trained(model: Any = twice_normed, recipe: Recipe = FREE, size: int = 30, **changes: Any) -> Training:
    training = prepared(config(recipe, **changes), workload(model), size)
    train(training)
    return training


def state(training: Training) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in training.model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def as_layers(model: nn.Sequential) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for module in model:
        own = {name: value.detach().numpy() for name, value in module.named_parameters()}
        if isinstance(module, nn.BatchNorm1d):
            found.append(("norm", {**own, "eps": module.eps}))
        else:
            found.append(("linear" if own else "tanh", own))
    return found


@pytest.mark.parametrize(("ghost", "span"), [(None, 30), (10, 10), (5, 5)])
def test_statistics_are_those_of_the_naive_twin_at_the_answer(ghost: int | None, span: int) -> None:
    training = trained(recipe=FREE.updated({"ghost_batch_size": ghost}))
    gathered = state(training)
    with answering(training):
        model = training.model
        assert isinstance(model, nn.Sequential)
        order = torch.randperm(TRAIN, generator=generator(0, "norm statistics"))
        inputs = training.examples.train.gather(order)[0].numpy()
        expected = naive_norm_statistics(inputs, as_layers(model), span=span)
        norms = [module for module in model if isinstance(module, nn.BatchNorm1d)]
        for norm, (mean, variance) in zip(norms, expected, strict=True):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-4, atol=1e-6)
        held = state(training)
    assert not torch.allclose(held["1.running_mean"], gathered["1.running_mean"], rtol=1e-2)


@pytest.mark.parametrize("ghost", [None, 10])
def test_a_training_does_not_notice_its_evaluations(ghost: int | None) -> None:
    recipe = FREE.updated({"ghost_batch_size": ghost})
    watched = trained(dropping_and_normed, recipe)
    alone, watch = prepared(config(recipe), workload(dropping_and_normed)), FiniteWatch(CPU)
    for _ in range(alone.total_steps):
        take_step(alone, watch)
    assert len(watched.history) == 2
    assert same(state(watched), state(alone))
    settings = [(m.training, getattr(m, "momentum", None)) for m in watched.model.modules()]
    drawn = torch.get_rng_state()
    measure(watched, [])
    final_scores(watched)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert same(state(watched), state(alone))
    assert settings == [(m.training, getattr(m, "momentum", None)) for m in watched.model.modules()]


def test_weights_and_statistics_come_back_after_an_error() -> None:
    training = trained()
    before = state(training)

    def fail() -> None:
        with answering(training):
            assert not same(state(training), before)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert same(state(training), before)
    take_step(training, FiniteWatch(CPU))  # the optimizer is in training mode


def test_scores_do_not_depend_on_the_micro_batch() -> None:
    """As many steps as rounding does not grow in."""
    recipe, found = FREE.updated({"ghost_batch_size": 10, "lr": 0.01}), []
    for size in (10, 30):
        training = trained(convolutional, recipe, size)
        with answering(training):
            found.append(torch.cat([value.flatten().double() for value in training.model.state_dict().values()]))
    assert distance(found[0], found[1]) < 1e-5


def test_nothing_is_dropped_and_no_noise_is_added() -> None:
    noise = Noise(where="activations", std=3.0)
    training = trained(dropping_and_normed, FREE.updated({"noise": noise.model_dump()}))
    with answering(training):
        model, found = training.model, state(training)
        assert isinstance(model, nn.Sequential)
        inputs, _ = training.examples.train.gather(torch.arange(TRAIN))
        expected = model[0].eval()(inputs).mean(0)
        torch.testing.assert_close(found["2.running_mean"], expected, rtol=1e-4, atol=1e-5)


def test_with_frozen_batch_norm_nothing_is_computed_and_the_optimizer_alone_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "estimate_statistics", lambda *_, **__: pytest.fail("nothing to estimate"))

    def frozen() -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 4), _Frozen(4))

    training, twin = trained(frozen), trained(frozen)
    with answering(training):
        with_mode(twin.optimizer, train_mode=False)
        assert torch.equal(weights_of(training), weights_of(twin))
    with_mode(twin.optimizer, train_mode=True)
    assert torch.equal(weights_of(training), weights_of(twin))


@pytest.mark.parametrize("recipe", [Recipe(lr=0.1), Recipe(solver="schedule-free", lr=0.05)])
def test_unless_asked_for_the_running_statistics_are_those_of_training(recipe: Recipe) -> None:
    training = trained(recipe=recipe)
    before = state(training)
    with answering(training):
        assert all(torch.equal(value, before[name]) for name, value in state(training).items() if "running" in name)


@pytest.mark.parametrize("changes", [{}, {"averaging.kind": "tail"}, {"averaging.decay": 0.5}])
def test_any_solver_and_any_average_can_have_statistics_estimated_at_what_they_answer_with(
    changes: dict[str, Any],
) -> None:
    recipe: Recipe = Recipe(lr=0.1, batch_norm_statistics="estimated").updated(changes)
    training = trained(recipe=recipe)
    before = state(training)
    with answering(training):
        model, found = training.model, state(training)
        assert isinstance(model, nn.Sequential)
        inputs, _ = training.examples.train.gather(torch.arange(TRAIN))
        torch.testing.assert_close(found["1.running_mean"], model[0](inputs).mean(0), rtol=1e-4, atol=1e-5)
    assert same(state(training), before)
    assert bool(changes) != torch.equal(found["0.weight"], before["0.weight"])


class _Frozen(nn.BatchNorm1d):
    def train(self, mode: bool = True) -> _Frozen:
        return super().train(False)


def test_frozen_norms_and_those_without_statistics_are_left_alone() -> None:
    kinds = (nn.BatchNorm1d(4, momentum=0.0), nn.BatchNorm1d(4, track_running_stats=False), _Frozen(4))
    model = nn.Sequential(*kinds, nn.BatchNorm1d(4), nn.InstanceNorm1d(4, track_running_stats=True)).train()
    assert moving_norms(model) == [model[3]]


@pytest.mark.parametrize(("count", "unit", "used"), [(5000, 10, 2050), (5000, 3000, 3000), (700, 300, 600)])
@pytest.mark.parametrize("ghost", [False, True])
def test_whole_spans_of_a_bounded_number_of_examples(count: int, unit: int, used: int, ghost: bool) -> None:
    split = TensorSplit(torch.randn(count, 3), torch.zeros(count))
    norm, sizes = GhostBatchNorm1d(3, 10) if ghost else nn.BatchNorm1d(3), []
    norm.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    work = workload()
    estimate_statistics([norm], norm, split, Layout(work, torch.contiguous_format), unit=unit, device=CPU)
    assert sum(sizes) == used
    assert all(size % unit == 0 for size in sizes)
    assert max(sizes) == (max(unit, 250) if ghost else unit)


def test_memory_that_runs_out_halves_the_passes_down_to_a_unit() -> None:
    training = trained(recipe=FREE.updated({"ghost_batch_size": 10}))
    limit, sizes = 1000, []

    def hook(module: nn.Module, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > limit:
            raise torch.OutOfMemoryError
        sizes.append(len(inputs[0]))

    with answering(training):
        whole = state(training)
    training.model.register_forward_pre_hook(hook)
    limit = 40
    with answering(training):
        small = state(training)
    assert max(sizes) <= 40
    for name, value in whole.items():
        torch.testing.assert_close(small[name], value, rtol=1e-5, atol=1e-6)
    before, limit = state(training), 5
    with pytest.raises(InputError, match="Memory ran out on cpu in a pass of 10 examples"), answering(training):
        pass
    assert same(state(training), before)


def test_numbers_that_a_split_draws_are_not_taken_from_training() -> None:
    class Jittered(TensorSplit):
        def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
            inputs, targets = super().gather(indices)
            return inputs + torch.randn_like(inputs), targets

    base = workload().load()
    data = DataSet(Jittered(base.train.inputs, base.train.targets), base.test)
    training = prepared(config(FREE), workload(twice_normed, data=data))
    train(training)
    drawn = torch.get_rng_state()
    with answering(training):
        pass
    assert torch.equal(torch.get_rng_state(), drawn)


def _on_a_rank(rank: int, world: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = convert_group_batch_norm(twice_normed(), group_of()).train()
    data = workload().load()
    layout = Layout(workload(), torch.contiguous_format)
    estimate_statistics(moving_norms(model), model, data.train, layout, unit=30, device=CPU)
    return model.state_dict()


def test_ranks_whose_norms_share_statistics_find_the_same_as_one_process(tmp_path: Path) -> None:
    alone = _on_a_rank(0, 1)
    first, second = run_ranks(_on_a_rank, 2, tmp_path)
    assert same(first, second)
    # Both hold the same examples, so that the variance is less corrected for their number: 59/60 against 29/30.
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=0.03, atol=1e-5)


def perceptron_of_digits() -> nn.Module:
    hidden = [layer for _ in range(2) for layer in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))


@pytest.mark.parametrize("solver", ["schedule-free", "momentum"])
def test_a_full_batch_training_of_few_steps_is_better_for_it(solver: str) -> None:
    """What it is for: in 30 steps running statistics lag far behind, whatever the solver."""
    work = dataclasses.replace(resolve("digits"), name="normed digits", make_model=perceptron_of_digits)
    options = {"base": "sgd"} if solver == "schedule-free" else {"momentum": 0.9}
    recipe, losses = Recipe(solver=solver, lr=2.0 if solver == "schedule-free" else 0.3, solver_options=options), []
    for statistics in ("estimated", "running"):
        asked = recipe.updated({"batch_norm_statistics": statistics})
        record = run(
            config(asked, batch_size=1300, budget="30 steps"), workload=work, execution=Execution(device="cpu")
        )
        assert record.test is not None
        losses.append(record.test.loss)
    assert losses[0] < 0.8 * losses[1]
