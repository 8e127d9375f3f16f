"""A trial that was killed goes on as if it had not been, or begins anew; never anything between."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import accelerator_trainings
import pytest
import small_training
import torch
from killed_trainings import KILLED_AT, killed, results, run_here
from small_training import CPU, config, workload
from torch import Tensor, nn

from batchlimit.config import Recipe, StopRule
from batchlimit.engine import Execution, checkpoint, trial
from batchlimit.engine.checkpoint import Checkpoint
from batchlimit.workloads.workload import Workload

RECIPES = {
    **accelerator_trainings.RECIPES,
    "its own batch norm statistics": ("normed", {"lr": 0.1}),
    "torch's own dropout": ("torchs_dropout", {"lr": 0.1}),
    "a state of its own": ("counting", {"lr": 0.1}),
}


class Counting(nn.Module):
    """Scales its outputs by a buffer that no state dictionary has, and by a number that only `get_extra_state` has."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_training.perceptron()
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.scale = 1.0

    def get_extra_state(self) -> dict[str, float]:
        return {"scale": self.scale}

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.scale = state["scale"]

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.scale *= 1.01
        result: Tensor = self.inner(inputs) * self.scale / (1 + 0.01 * self.calls)
        return result


def torchs_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.3), nn.ReLU(), nn.Linear(32, 4))


def workload_of(name: str) -> Workload:
    own = {"counting": Counting, "torchs_dropout": torchs_dropout}
    return workload(own[name] if name in own else getattr(small_training, name))


@pytest.mark.parametrize("name", RECIPES)
def test_interrupted_and_resumed_is_uninterrupted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, recipe = RECIPES[name]
    work, asked = workload_of(model), config(Recipe.model_validate(recipe))
    size = 30 if model in ("convolutional", "normed") and "ghost_batch_size" not in recipe else 15
    ends: list[list[Tensor]] = []
    finishing = trial.final_scores

    def keep(training: trial.Training) -> Any:
        ends.append([tensor.detach().clone() for tensor in [*training.model.parameters(), *training.model.buffers()]])
        return finishing(training)

    monkeypatch.setattr(trial, "final_scores", keep)
    whole = run_here(asked, work, None, microbatch_size=size)
    killed(monkeypatch, asked, work, tmp_path / "kept", microbatch_size=size)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [f"{asked.hash}.pt"]
    resumed = run_here(asked, work, tmp_path / "kept", microbatch_size=size)
    assert resumed.environment["resumed_at"] == KILLED_AT
    assert results(resumed) == results(whole)
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
    assert list((tmp_path / "kept").iterdir()) == []


class Langevin(torch.optim.SGD):
    """A solver that draws: plain SGD with noise from torch's own generator."""

    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            for parameter in (p for group in self.param_groups for p in group["params"]):
                parameter.grad += 0.1 * torch.randn_like(parameter)
        return super().step(closure)


def test_a_solver_that_draws_goes_on_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "build_optimizer", lambda recipe, named: Langevin([p for _, p in named], lr=recipe.lr))
    asked, work = config(), workload()
    whole = run_here(asked, work, None)
    killed(monkeypatch, asked, work, tmp_path)
    assert results(run_here(asked, work, tmp_path)) == results(whole)


@pytest.mark.parametrize("at", [1, 3, 4, 7])
def test_it_goes_on_from_any_step_killed_as_often_as_it_likes(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, asked = workload(small_training.dropping), config(budget="4 epochs")
    killed(monkeypatch, asked, work, tmp_path, at=at)
    killed(monkeypatch, asked, work, tmp_path, at=2)
    resumed = run_here(asked, work, tmp_path)
    assert resumed.environment["resumed_at"] == at + 2
    assert results(resumed) == results(run_here(asked, work, None))


def test_time_and_day_are_those_of_the_whole_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, asked = workload(), config()
    hours = itertools.count()
    for hour in (1, 2):
        training = small_training.prepared(asked, work, 15)
        training.started = f"day {hour}"
        kept = Checkpoint(
            training, Execution(microbatch_size=15, checkpoints=tmp_path), clock=lambda: 3600.0 * next(hours)
        )
        kept.resume()
        kept.offer([], sound=lambda: True)
    assert training.started == "day 1"
    record = run_here(asked, work, tmp_path)
    assert record.started == "day 1"
    assert record.seconds > 4 * 3600.0  # of each two: from its beginning to its being saved


def test_the_measured_size_of_micro_batches_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, asked = workload(), config()
    with monkeypatch.context() as patch:
        patch.setattr(trial.microbatch, "choose", lambda *_, **__: 10)
        killed(monkeypatch, asked, work, tmp_path, microbatch_size=None)
    resumed = run_here(asked, work, tmp_path, microbatch_size=None)
    assert (resumed.environment["resumed_at"], resumed.environment["microbatch_size"]) == (KILLED_AT, 10)


def tanhs() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))


def sigmoids() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.Sigmoid(), nn.Linear(16, 4))


def own_loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="sum", label_smoothing=label_smoothing)


@pytest.mark.parametrize("what", ["torch", "threads", "weights", "layers", "number", "data", "code", "micro-batches"])
def test_one_of_another_machine_or_model_is_passed_over(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, work, size = config(), workload(tanhs if what == "layers" else small_training.perceptron), 15
    killed(monkeypatch, asked, work, tmp_path)
    assert (tmp_path / f"{asked.hash}.pt").is_file()
    blobs = small_training.blobs
    if what == "weights":
        work = workload(small_training.dropping)
    elif what == "layers":  # with the weights of the other, and written in the same file
        work = workload(sigmoids)
    elif what == "number":
        work = workload(data=accelerator_trainings.DataSet(blobs(121, 1), blobs(40, 2), validation_size=20))
    elif what == "data":
        work = workload(data=accelerator_trainings.DataSet(blobs(120, 3), blobs(40, 2), validation_size=20))
    elif what == "code":
        work = workload(loss=own_loss)
    elif what == "micro-batches":
        size = 10
    else:
        there = {**checkpoint.describe(CPU), what: 77}
        monkeypatch.setattr(checkpoint, "describe", lambda device: there)
    anew = run_here(asked, work, tmp_path, microbatch_size=size)
    assert "resumed_at" not in anew.environment
    assert anew.status == "complete"


def test_the_cores_there_are_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(monkeypatch, config(), workload(), tmp_path)
    there = {**checkpoint.describe(CPU), "cores": 77}
    monkeypatch.setattr(checkpoint, "describe", lambda device: there)
    assert run_here(config(), workload(), tmp_path).environment["resumed_at"] == KILLED_AT


def test_a_trial_that_ends_early_leaves_no_file(tmp_path: Path) -> None:
    hopeless = config(stop=StopRule(fraction=0.1, metric=2.0), budget="4 epochs")
    assert run_here(hopeless, workload(), tmp_path / "a").status == "pruned"
    diverging = config(Recipe(lr=1e30), budget="4 epochs")
    assert run_here(diverging, workload(small_training.dropping), tmp_path / "b").status == "diverged"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    training = small_training.prepared(config(), workload(), 15)
    kept = Checkpoint(training, Execution(checkpoints=tmp_path, checkpoint_seconds=0))
    kept.offer([], sound=lambda: False)
    assert list(tmp_path.iterdir()) == []
    kept.offer([], sound=lambda: True)
    assert len(list(tmp_path.iterdir())) == 1


def test_with_probes_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(monkeypatch, config(probes=("weight-distance",)), workload(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_saving_takes_at_most_a_hundredth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = 0.0, []
    training = small_training.prepared(config(), workload(), 15)
    kept = Checkpoint(training, Execution(checkpoints=tmp_path, checkpoint_seconds=60), clock=lambda: now)

    def write(*_: object) -> None:
        nonlocal now
        saved.append(now)
        now += 2.0

    monkeypatch.setattr(checkpoint, "write_state", write)
    while now < 1000.0:
        now += 1.0
        kept.offer([], sound=lambda: True)
    assert saved[:3] == [60.0, 262.0, 464.0]
