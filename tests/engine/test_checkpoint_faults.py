"""Whatever goes wrong with a checkpoint, the training goes on or begins anew, and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import small_training
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killed_trainings import KILLED_AT, killed, results, run_here
from small_training import config, workload
from torch import Tensor, nn

from batchlimit.engine import Execution, checkpoint, checkpoint_file, trial
from batchlimit.engine.checkpoint import Checkpoint
from batchlimit.records import TrialRecord
from batchlimit.workloads.workload import Workload


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_flipped_bit_is_passed_over(whole_file: tuple[Path, bytes, Workload], place: float, bit: int) -> None:
    path, content, work = whole_file
    at = int(place * len(content))
    path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
    training = small_training.prepared(config(), work, 15)
    assert Checkpoint(training, Execution(microbatch_size=15, checkpoints=path.parent)).resume() == []
    assert training.step == 0


def test_a_file_that_ends_early_is_passed_over(whole_file: tuple[Path, bytes, Workload]) -> None:
    path, content, work = whole_file
    for size in (0, 1, 31, 32, 33, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        training = small_training.prepared(config(), work, 15)
        assert Checkpoint(training, Execution(microbatch_size=15, checkpoints=path.parent)).resume() == []


@pytest.fixture
def whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, bytes, Workload]:
    """The checkpoint of a killed trial, and what is in it."""
    work = workload()
    killed(monkeypatch, config(), work, tmp_path)
    path = tmp_path / f"{config().hash}.pt"
    content = path.read_bytes()
    training = small_training.prepared(config(), work, 15)
    Checkpoint(training, Execution(microbatch_size=15, checkpoints=tmp_path)).resume()
    assert training.step == KILLED_AT
    return path, content, work


class Caching(nn.Module):
    """Makes a buffer when it is first called, as many a position encoding does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_training.perceptron()

    def forward(self, inputs: Tensor) -> Tensor:
        if not hasattr(self, "cached"):
            self.register_buffer("cached", torch.ones(4))
        result: Tensor = self.inner(inputs) * self.cached
        return result


def test_a_state_that_is_not_taken_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.microbatch, "choose", lambda *_, **__: 15)
    work, asked = workload(Caching), config()
    whole = run_here(asked, work, None)
    killed(monkeypatch, asked, work, tmp_path)
    with pytest.warns(UserWarning, match="begins anew: what was kept of it was not taken: "):
        anew = run_here(asked, work, tmp_path)
    assert "resumed_at" not in anew.environment
    assert results(anew) == results(whole)
    assert list(tmp_path.iterdir()) == []


class Unkept(torch.optim.SGD):
    """A solver with what cannot be pickled among its settings."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.param_groups[0]["rule"] = lambda lr: lr


def test_a_state_that_cannot_be_saved_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "build_optimizer", lambda recipe, named: Unkept([p for _, p in named], lr=recipe.lr))
    with pytest.warns(UserWarning, match="cannot be written: .*pickle") as told:
        record = run_here(config(), workload(), tmp_path)
    assert (record.status, len(told)) == ("complete", 1)
    assert list(tmp_path.iterdir()) == []


class Sparse(nn.Module):
    """Has a buffer that is not strided."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_training.perceptron()
        self.register_buffer("fixed", torch.eye(4).to_sparse())

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.inner(inputs)
        return result


def test_a_sparse_buffer_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, asked = workload(Sparse), config()
    record = run_here(asked, work, tmp_path)
    assert record.status == "complete"
    assert results(record) == results(run_here(asked, work, None))


def test_what_cannot_be_told_again_trains_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise ValueError("read once only")

    monkeypatch.setattr(checkpoint, "_digest", fail)
    with pytest.warns(UserWarning, match="This trial cannot be kept under way: read once only"):
        assert run_here(config(), workload(), tmp_path).status == "complete"


def test_a_folder_of_the_user_s_own_stays_and_the_one_beside_a_ledger_goes(tmp_path: Path) -> None:
    for name, stays in (("mine", True), ("ledger.db.checkpoints", False)):
        folder = tmp_path / name
        folder.mkdir()
        run_here(config(), workload(), folder)
        assert folder.exists() == stays


def test_what_a_killed_write_left_goes_with_its_trial(tmp_path: Path) -> None:
    left = tmp_path / f"{config().hash}.abc.tmp"
    other = tmp_path / "0123456789abcdef.abc.tmp"
    for path in (left, other):
        path.write_bytes(b"half")
    run_here(config(), workload(), tmp_path)
    assert list(tmp_path.iterdir()) == [other]


def test_a_folder_that_another_process_removes_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = small_training.prepared(config(), workload(), 15)
    kept = Checkpoint(training, Execution(checkpoints=tmp_path / "a.checkpoints", checkpoint_seconds=0))
    making, removed = checkpoint_file.tempfile.mkstemp, []

    def make(*arguments: Any, **options: Any) -> Any:
        if not removed:
            removed.append(True)
            (tmp_path / "a.checkpoints").rmdir()
        return making(*arguments, **options)

    monkeypatch.setattr(checkpoint_file.tempfile, "mkstemp", make)
    kept.offer([], sound=lambda: True)
    assert kept.path.is_file()


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file.os, "fsync", full)
    with pytest.warns(UserWarning, match=r"checkpoint '.*' cannot be written: .*No space left") as told:
        record = run_here(config(), workload(), tmp_path / "full")
    assert (record.status, len(told)) == ("complete", 1)
    assert list((tmp_path / "full").iterdir()) == []


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from batchlimit.engine import Execution, run
from small_training import config, dropping, workload
execution = Execution(device="cpu", microbatch_size=15, checkpoints=Path(sys.argv[2]), checkpoint_seconds=0)
record = run(config(budget="200 epochs"), workload=workload(dropping), execution=execution)
Path(sys.argv[3]).write_text(record.model_dump_json())
"""


def test_sigkill_at_any_time_leaves_a_file_to_go_on_from(tmp_path: Path) -> None:
    kept, end = tmp_path / "kept", tmp_path / "record.json"
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(Path(__file__).parent), str(kept), str(end)]
    path = kept / f"{config(budget='200 epochs').hash}.pt"
    sizes = []
    for wait in (0.05, 0.13):
        process = subprocess.Popen(command)
        before = path.stat().st_mtime_ns if path.exists() else 0
        while process.poll() is None and not (path.exists() and path.stat().st_mtime_ns > before):
            time.sleep(0.01)
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        sizes.append(path.stat().st_size)
    assert not end.exists()
    assert all(sizes)
    subprocess.run(command, check=True)
    record = TrialRecord.model_validate_json(end.read_text())
    assert int(record.environment["resumed_at"] or 0) > 1
    whole = run_here(config(budget="200 epochs"), workload(small_training.dropping), None)
    assert results(record) == results(whole)
