"""A trial under way is kept in a file, so that one that was killed goes on, bit for bit as if it had not been."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import warnings
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from batchlimit.engine.environment import describe
from batchlimit.engine.execution import Execution
from batchlimit.records import HistoryPoint

if TYPE_CHECKING:
    from batchlimit.engine.trial import Training

# Saving takes at most this share of the time.
_SHARE = 0.01
_DIGEST = hashlib.sha256().digest_size


def checkpoint_of(training: Training, execution: Execution) -> Checkpoint | None:
    """Return where a training at step 0 is to be kept; None without a folder for it, and with probes.

    A probe's measurements are not kept: such a trial begins anew.
    """
    if execution.checkpoints is None or training.probing is not None:
        return None
    return Checkpoint(training, execution)


class Checkpoint:
    """The file of one training: saved now and then, taken up by the same trial, removed at its end.

    It is saved when `execution.checkpoint_seconds` have passed, and so rarely that this takes at most a hundredth of
    the time. The file is a line of JSON (what has to be the same for a training to go on bit for bit: the trial, its
    initial weights, versions, processor, threads), then the state as `torch.save` writes it, then the SHA-256 of both.
    One that is damaged, or of other software or hardware, is passed over: the trial begins anew. Where it cannot be
    written, a warning says so and the training goes on without.
    """

    def __init__(
        self, training: Training, execution: Execution, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert execution.checkpoints is not None
        self.path = execution.checkpoints / f"{training.config.hash}.pt"
        self._training, self._asked_size = training, execution.microbatch_size
        self._facts = json.dumps(_facts(training), sort_keys=True).encode() + b"\n"
        self._clock, self._interval = clock, execution.checkpoint_seconds
        self._begun = clock()
        self._due = self._begun + self._interval

    def resume(self) -> list[Tensor]:
        """Put the training where it was saved, if it was; return its losses since the last history point.

        To be called at step 0, with the solver attached and in training mode.
        """
        training, state = self._training, self._read()
        if state is None:
            return []
        training.model.load_state_dict(state["model"])
        with torch.no_grad():  # those that a model's state leaves out, too
            for buffer, saved in zip(training.model.buffers(), state["buffers"], strict=True):
                buffer.copy_(saved)
        training.optimizer.load_state_dict(state["optimizer"])
        if training.average is not None:
            training.average.load_state_dict(state["average"])
        if training.adascale is not None:
            training.adascale.scaler.load_state_dict(state["adascale"])
        if self._asked_size is None:  # it was measured, and another one rounds differently
            training.accumulate.microbatch_size = state["microbatch_size"]
        training.history[:] = map(HistoryPoint.model_validate_json, state["history"])
        training.step, training.lr = state["step"], state["lr"]
        training.started, training.seconds_before = state["started"], state["seconds"]
        training.resumed_at = training.step
        torch.set_rng_state(state["random"])
        if training.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_there"], training.device)
        return list(state["losses"].to(training.device).unbind())

    def offer(self, losses: list[Tensor], sound: Callable[[], bool]) -> None:
        """Save the training after a step if it is time to, and all steps so far are `sound`."""
        now = self._clock()
        if now < self._due or not sound():
            return
        try:
            self._write(self._state(losses))
        except (OSError, RuntimeError) as error:  # the latter is what torch makes of a full disk
            warnings.warn(f"The checkpoint '{self.path}' cannot be written: {error}", stacklevel=2)
            self._due = float("inf")
            return
        after = self._clock()
        self._due = after + max(self._interval, (after - now) / _SHARE)

    def remove(self) -> None:
        """Remove the file, and its folder with the last one."""
        try:
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()
        except OSError:  # others are there, or there never was one
            return

    def _state(self, losses: list[Tensor]) -> dict[str, Any]:
        training = self._training
        average, adascale, there = training.average, training.adascale, training.device.type == "cuda"
        return {
            "step": training.step,
            "lr": training.lr,
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

    def _write(self, state: dict[str, Any]) -> None:
        """Write the file beside the old one and move it into its place: however this ends, one of them is whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with beside.open("wb") as file:
                digesting = _Digesting(file)
                digesting.write(self._facts)
                torch.save(state, cast(IO[bytes], digesting))  # of a file, it uses no more than this
                file.write(digesting.digest.digest())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def _read(self) -> dict[str, Any] | None:
        """Return the state in the file, None if there is none that this training can go on from."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        body, digest = content[:-_DIGEST], content[-_DIGEST:]
        if hashlib.sha256(body).digest() != digest or not body.startswith(self._facts):
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(body[len(self._facts) :]), map_location="cpu", weights_only=True)
        return state


class _Digesting:
    """A file that is written through a digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _facts(training: Training) -> dict[str, Any]:
    """Return what has to be the same for a training to go on bit for bit."""
    weights = hashlib.sha256()
    for tensor in [*training.model.parameters(), *training.model.buffers()]:
        weights.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    examples = training.examples
    return {
        "trial": training.config.canonical(),
        "weights": weights.hexdigest(),
        "examples": [len(examples.train), len(examples.selection), len(examples.test)],
        "environment": describe(training.device),
    }
