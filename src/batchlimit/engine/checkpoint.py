"""A trial under way is kept in a file, so that one that was killed goes on, bit for bit as if it had not been."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from batchlimit.data.splits import index_device
from batchlimit.engine.checkpoint_file import Digesting, read_state, remove_state, write_state
from batchlimit.engine.environment import describe
from batchlimit.engine.execution import Execution
from batchlimit.records import HistoryPoint

if TYPE_CHECKING:
    from batchlimit.engine.trial import Training

# The folder beside a ledger; one of another name is its user's, and stays.
FOLDER_SUFFIX = ".checkpoints"
# Saving takes at most this share of the time.
_SHARE = 0.01
_SAMPLE = 16


class Unresumable(Exception):
    """What was kept of a trial cannot be put into its training, which is spoiled: it is to be prepared again."""


def checkpoint_of(training: Training, execution: Execution) -> Checkpoint | None:
    """Return where a training at step 0 is to be kept; None without a folder for it, and with probes.

    A probe's measurements are not kept: such a trial begins anew. So does one of which cannot be told whether it is the
    same again (a data set that cannot be read twice, say), with a warning.
    """
    if execution.checkpoints is None or training.probing is not None:
        return None
    try:
        return Checkpoint(training, execution)
    except Exception as error:  # a user's model and data may raise anything, and without a checkpoint they train
        warnings.warn(f"This trial cannot be kept under way: {error}", stacklevel=2)
        return None


class Checkpoint:
    """The file of one training: saved now and then, taken up by the same trial, removed at its end.

    It is saved when `execution.checkpoint_seconds` have passed, and so rarely that this takes at most a hundredth of
    the time. With it are kept the facts that have to hold for a training to go on bit for bit: the trial, a digest of
    the initial weights, of some examples and of the code of a user's own, versions, processor, threads, and the
    micro-batch size that was asked for. A file that is damaged or of other facts is passed over: the trial begins anew.
    Where it cannot be written, a warning says so and the training goes on without.
    """

    def __init__(
        self, training: Training, execution: Execution, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert execution.checkpoints is not None
        self.path = execution.checkpoints / f"{training.config.hash}.pt"
        self._training = training
        self._facts = json.dumps(_facts(training, execution), sort_keys=True).encode()
        self._clock, self._interval = clock, execution.checkpoint_seconds
        self._begun = clock()
        self._due = self._begun + self._interval

    def resume(self) -> list[Tensor]:
        """Put the training where it was saved, if it was; return its losses since the last history point.

        To be called at step 0, with the solver attached and in training mode.

        Raises:
            Unresumable: a state that the training did not take; the file is gone.
        """
        try:
            state = read_state(self.path, self._facts)
            return [] if state is None else self._take_up(state)
        except Exception as error:  # from a user's model or solver, anything
            self.remove()
            warnings.warn(f"A trial under way begins anew: what was kept of it was not taken: {error}", stacklevel=2)
            raise Unresumable from error

    def offer(self, losses: list[Tensor], sound: Callable[[], bool]) -> None:
        """Save the training after a step if it is time to, and all steps so far are `sound`."""
        now = self._clock()
        if now < self._due or not sound():
            return
        try:
            try:
                write_state(self.path, self._state(losses), self._facts)
            except FileNotFoundError:  # another process has just removed the folder with its own last file
                write_state(self.path, self._state(losses), self._facts)
        except Exception as error:  # a full disk, or a state of a user's own that cannot be pickled
            warnings.warn(f"The checkpoint '{self.path}' cannot be written: {error}", stacklevel=2)
            self._due = float("inf")
            return
        after = self._clock()
        self._due = after + max(self._interval, (after - now) / _SHARE)

    def remove(self) -> None:
        """Remove the file, and the folder beside a ledger with the last one."""
        remove_state(self.path)
        if self.path.parent.suffix == FOLDER_SUFFIX:
            with contextlib.suppress(OSError):  # others are there, or there never was one
                self.path.parent.rmdir()

    def _take_up(self, state: dict[str, Any]) -> list[Tensor]:
        training = self._training
        training.model.load_state_dict(state["model"])
        with torch.no_grad():  # those that a model's state leaves out, too
            for buffer, saved in zip(training.model.buffers(), state["buffers"], strict=True):
                buffer.copy_(saved)
        training.optimizer.load_state_dict(state["optimizer"])
        if training.average is not None:
            training.average.load_state_dict(state["average"])
        if training.adascale is not None:
            training.adascale.scaler.load_state_dict(state["adascale"])
        # It was measured, or halved where memory ran out: another one rounds differently.
        training.accumulate.microbatch_size = state["microbatch_size"]
        training.history[:] = map(HistoryPoint.model_validate_json, state["history"])
        training.step = training.resumed_at = state["step"]
        training.started, training.seconds_before = state["started"], state["seconds"]
        torch.set_rng_state(state["random"])
        if training.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_there"], training.device)
        return list(state["losses"].to(training.device).unbind())

    def _state(self, losses: list[Tensor]) -> dict[str, Any]:
        training = self._training
        average, adascale, there = training.average, training.adascale, training.device.type == "cuda"
        return {
            "step": training.step,
            "losses": torch.stack(losses) if losses else torch.empty(0),
            "history": [point.model_dump_json() for point in training.history],
            "model": training.model.state_dict(),
            "buffers": list(training.model.buffers()),
            "optimizer": training.optimizer.state_dict(),
            "average": average.state_dict() if average is not None else None,
            "adascale": adascale.scaler.state_dict() if adascale is not None else None,
            "microbatch_size": training.accumulate.microbatch_size,
            "random": torch.get_rng_state(),
            "random_there": torch.cuda.get_rng_state(training.device) if there else None,
            "started": training.started,
            "seconds": training.seconds_before + self._clock() - self._begun,
        }


def _facts(training: Training, execution: Execution) -> dict[str, Any]:
    """Return what has to be the same for a training to go on bit for bit."""
    examples, model, device = training.examples, training.model, training.device
    count = len(examples.train)
    sample = torch.linspace(0, count - 1, min(_SAMPLE, count)).long().to(index_device(examples.train, device))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # a data set may draw
        read = examples.train.gather(sample)
    # The threads decide how sums are rounded; the cores that they may run on do not.
    environment = {name: value for name, value in describe(device).items() if name != "cores"}
    return {
        "trial": training.config.canonical(),
        "microbatch_size": execution.microbatch_size,
        "model": repr(model),
        "weights": _digest([*model.parameters(), *model.buffers()]),
        "examples": [count, len(examples.selection), len(examples.test), _digest(read)],
        "code": _digest_of_code(training),
        "environment": environment,
    }


def _digest(state: Any) -> str:
    digesting = Digesting()
    digesting.save(state)
    return digesting.sha256.hexdigest()


def _digest_of_code(training: Training) -> str:
    """Return the digest of the files that the workload, the model's layers and the solver are written in.

    Those of torch and batchlimit have a version instead.
    """
    work, model, solver = training.workload, training.model, training.optimizer
    parts = [work.make_model, work.load, work.loss, work.prepare, *map(type, model.modules()), type(solver)]
    sha256 = hashlib.sha256()
    for path in sorted({_file_of(part) for part in parts} - {None}, key=str):
        assert path is not None
        with contextlib.suppress(OSError):  # typed in, not written in a file
            sha256.update(Path(path).read_bytes())
    return sha256.hexdigest()


def _file_of(part: Any) -> str | None:
    part = part.func if isinstance(part, functools.partial) else part
    if str(getattr(part, "__module__", "")).partition(".")[0] in ("torch", "batchlimit"):
        return None
    try:
        return inspect.getsourcefile(part)
    except TypeError:  # an object that is called, or nothing
        return None
