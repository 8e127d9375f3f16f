"""How many examples one pass holds: which sizes are possible, which is chosen, and what is remembered of it."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
import torch
from small_training import CPU, TRAIN, config, convolutional, dropping, normed, perceptron, prepared, workload
from torch import Tensor, nn

from batchlimit.config import Recipe
from batchlimit.engine import microbatch
from batchlimit.engine.microbatch import choose, granularity
from batchlimit.engine.trial import Training
from batchlimit.errors import InputError
from batchlimit.models.ghost_batch_norm import GhostBatchNorm1d, convert_ghost_batch_norm
from batchlimit.workloads.workload import Workload


@pytest.fixture(autouse=True)
def few_small_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microbatch, "CPU_CANDIDATES", (8, 16, 32))
    monkeypatch.setattr(microbatch, "_SECONDS_A_ROUND", 0.001)


def pick(work: Workload, recipe: Recipe | None = None, *, batch_size: int = TRAIN, requested: int | None = None) -> int:
    trial = config(recipe, batch_size=batch_size)
    training = prepared(trial, work, batch_size)
    return choose_again(training, requested=requested)


def choose_again(training: Training, requested: int | None = None) -> int:
    return choose(
        training.model,
        training.workload,
        training.config.recipe,
        training.examples.train,
        training.layout,
        batch_size=training.config.batch_size,
        device=CPU,
        requested=requested,
    )


class Counting:
    """Counts the examples it prepares, and runs out of memory above `most` at once."""

    def __init__(self, most: int = 10**9) -> None:
        self.passes, self.largest, self.most = 0, 0, most

    def __call__(self, inputs: Tensor) -> Tensor:
        self.passes += 1
        self.largest = max(self.largest, len(inputs))
        if len(inputs) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return inputs


def test_of_what_a_micro_batch_must_be_a_multiple() -> None:
    assert granularity(dropping(), 50) == 1
    assert granularity(normed(), 50) == 50
    assert granularity(convert_ghost_batch_norm(normed(), 10), 50) == 10
    two = nn.Sequential(GhostBatchNorm1d(4, 4), GhostBatchNorm1d(4, 6))
    assert granularity(two, 24) == 12
    assert granularity(nn.Sequential(GhostBatchNorm1d(4, 4), nn.BatchNorm1d(4)), 24) == 24
    with pytest.raises(InputError, match=r"7 does not divide batch_size 50\. Valid: 1, 2, 5, 10, 25, 50"):
        granularity(convert_ghost_batch_norm(normed(), 7), 50)


def test_a_requested_size_is_taken_if_the_batch_norm_allows() -> None:
    ghost = Recipe(ghost_batch_size=10)
    assert pick(workload(), requested=7) == 7
    assert pick(workload(), batch_size=30, requested=1000) == 30
    assert pick(workload(normed), ghost, requested=20) == 20
    with pytest.raises(InputError, match="microbatch_size 25 is not a multiple of the batch norm's 10 examples"):
        pick(workload(normed), ghost, requested=25)
    with pytest.raises(InputError, match=f"microbatch_size 30 is not a multiple of the batch norm's {TRAIN}"):
        pick(workload(normed), requested=30)


def test_nothing_is_measured_where_there_is_no_choice(own_cache: Path) -> None:
    assert pick(workload(normed)) == TRAIN  # plain batch norm
    assert pick(workload(), batch_size=8) == 8
    assert not own_cache.exists()


def test_the_smallest_size_near_the_fastest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {8: 2.0, 16: 1.015, 32: 1.0}
    monkeypatch.setattr(microbatch, "_seconds_an_example", lambda _, indices: costs[len(indices)])
    assert pick(workload(name="near")) == 16
    costs[16] = 1.03
    assert pick(workload(name="far")) == 32


def test_the_device_has_finished_the_pass_that_does_not_count_before_the_clock_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    def tick() -> float:
        order.append("clock")
        return float(len(order))

    monkeypatch.setattr(microbatch, "_finish", lambda device: order.append("wait"))
    monkeypatch.setattr(microbatch.time, "perf_counter", tick)
    training = prepared(config(), workload(prepare=lambda inputs: order.append("pass") or inputs), 8)
    order.clear()
    microbatch._seconds_an_example(training.accumulate, torch.arange(8))
    assert order == ["pass", "wait", "clock", "pass", "wait", "clock"]


def test_what_disturbs_one_round_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {8: iter((9.0, 1.0, 9.0)), 16: iter((2.0, 9.0, 2.0)), 32: iter((3.0, 3.0, 3.0))}
    monkeypatch.setattr(microbatch, "_seconds_an_example", lambda _, indices: next(costs[len(indices)]))
    assert pick(workload(name="disturbed")) == 8


@pytest.mark.parametrize(("make_model", "ghost"), [(perceptron, None), (normed, 12), (convolutional, 12)])
def test_the_measured_size_fits_and_measuring_changes_nothing(
    make_model: type[nn.Module], ghost: int | None, own_cache: Path
) -> None:
    training = prepared(config(Recipe(ghost_batch_size=ghost), batch_size=TRAIN), workload(make_model), TRAIN)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    state = torch.random.get_rng_state()
    chosen = choose_again(training)
    assert chosen in ((8, 16, 32) if ghost is None else (12, 24, 36))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in training.model.state_dict().items())
    assert all(parameter.grad is None for parameter in training.model.parameters())
    assert list(json.loads(own_cache.read_text()).values()) == [chosen]


def test_the_choice_is_remembered_for_this_model_and_machine_alone(own_cache: Path) -> None:
    counting = Counting()
    work = workload(prepare=counting)
    chosen = pick(work)
    assert counting.passes >= 6  # each candidate once to warm up, once to measure
    measured = counting.passes
    assert pick(work) == chosen
    assert pick(work, batch_size=100) == min(chosen, 100)
    assert counting.passes == measured
    pick(work, Recipe(precision="bf16"))
    assert counting.passes > measured
    assert len(json.loads(own_cache.read_text())) == 2
    assert [path.name for path in own_cache.parent.iterdir()] == [own_cache.name]


def test_a_remembered_size_is_fitted_to_the_batch(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microbatch, "_remembered", lambda key: 32)
    assert pick(workload(), batch_size=20) == 20
    assert pick(workload(normed), Recipe(ghost_batch_size=12)) == 24
    assert pick(workload(normed), Recipe(ghost_batch_size=40)) == 40


@pytest.mark.parametrize(
    "content",
    ["", "not JSON", "[1, 2]", "3", '{"KEY": -4}', '{"KEY": "many"}', '{"KEY": null}', b"\xff\xfe\x00"],
    ids=str,
)
def test_an_unreadable_cache_is_ignored_and_replaced(content: str | bytes, own_cache: Path) -> None:
    work = workload()
    pick(work)
    (key,) = json.loads(own_cache.read_text())
    own_cache.write_bytes(content.replace("KEY", key).encode() if isinstance(content, str) else content)
    chosen = pick(work)
    assert chosen in (8, 16, 32)
    assert json.loads(own_cache.read_text()) == {key: chosen}


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert pick(workload()) in (8, 16, 32)
    assert blocked.read_text() == "not a folder"


def test_the_cache_is_replaced_at_once_or_not_at_all(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pick(workload())
    before = own_cache.read_text()
    steps: list[tuple[bool, str]] = []

    def refuse(source: str, target: Path) -> None:
        steps.append((json.loads(Path(source).read_text()) != {}, Path(target).read_text()))
        raise PermissionError

    monkeypatch.setattr(os, "replace", refuse)
    assert pick(workload(dropping)) in (8, 16, 32)
    assert steps == [(True, before)]  # the new file is whole before the old one goes
    assert own_cache.read_text() == before
    assert [path.name for path in own_cache.parent.iterdir()] == [own_cache.name]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
def test_a_model_that_cannot_be_copied_is_measured_too() -> None:
    """torch's older weight norm leaves a tensor with a graph in the module, which `copy.deepcopy` refuses."""

    def model() -> nn.Module:
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 16)), nn.ReLU(), nn.Linear(16, 4))

    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model())
    training = prepared(config(batch_size=TRAIN), workload(model, name="weight norm"), None)
    assert training.accumulate.microbatch_size in (8, 16, 32)


def test_candidates_that_do_not_fit_in_memory_are_left_out() -> None:
    small = Counting(most=16)
    assert pick_with(small) in (8, 16)
    assert small.largest == 32  # tried once, and nothing larger after it
    assert pick_with(Counting(most=4), name="tiny") == 8  # none fits: the step halves it when it comes to that


def pick_with(prepare: Counting, name: str = "small") -> int:
    training = prepared(config(batch_size=TRAIN), workload(name=name), TRAIN)
    training.layout._prepare = prepare
    return choose_again(training)


def test_other_errors_while_measuring_are_not_hidden() -> None:
    def broken(inputs: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        pick(workload(prepare=broken))
