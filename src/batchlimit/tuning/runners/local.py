"""A persistent pool of one-thread worker processes: the fastest way to run many small trials.

Two-thread OpenMP wastes much of the second core (`benchmarks/sweep.py` measures how much), and importing torch costs
1.5 s, so workers are reused.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from batchlimit.config import TrialConfig
from batchlimit.errors import InputError, TrialError
from batchlimit.records import HistoryPoint, TrialRecord
from batchlimit.tuning.runners import OnPoint, affinity

if TYPE_CHECKING:
    from batchlimit.engine import Execution

ENGINE = "batchlimit.tuning.runners.worker:run_trial"
_ATTEMPTS = 2
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class LocalPool:
    """Runs trials in `jobs` worker processes of one thread, started when first needed, reused until closed.

    With as many jobs as this process may use cores, each worker is pinned to one; with fewer, other work (a second
    search, say) may be on any core, so the system is left to choose.

    A worker that dies (out of memory, a fault in native code) takes its trial's attempt with it: the trial is tried
    once more, then recorded as 'failed' with the reason, and the pool goes on. Workers end with this process, however
    it ends. `on_point` gets each point of a running trial's history. `function` is the dotted path (`module:name`) of
    what workers call, see `worker.WorkerFunction`; the workload of a trial must be importable there by its name.

    Raises:
        InputError: `jobs` is below 1.
    """

    def __init__(
        self,
        jobs: int,
        execution: Execution | None = None,
        *,
        on_point: OnPoint | None = None,
        function: str = ENGINE,
    ) -> None:
        if jobs < 1:
            raise InputError(f"jobs is {jobs}. Valid: 1 or more.")
        self.jobs = jobs
        self._on_point = on_point
        self._setup = {
            "execution": {} if execution is None else execution.model_dump(mode="json", exclude_defaults=True),
            "function": function,
            "points": on_point is not None,
        }
        cores = affinity()
        self._cores = cores if len(cores) == jobs else None  # with fewer or more, the system balances better
        self._workers: dict[int, _Worker] = {}
        self._closed = False

    def run(self, configs: Sequence[TrialConfig]) -> Iterator[TrialRecord]:
        """Yield the records of the trials as they finish.

        Raises:
            InputError: a trial found bad input.
            TrialError: a trial raised something else; its note is the worker's traceback.
        """
        assert not self._closed, "the pool is closed"
        waiting = deque((config, 1) for config in configs)
        try:
            while waiting or any(worker.busy for worker in self._workers.values()):
                self._hand_out(waiting)
                for worker in self._ready():
                    record = self._answer(worker, waiting)
                    if record is not None:
                        yield record
        finally:  # left early: what still runs is of no use to anyone
            self._end([slot for slot, worker in self._workers.items() if worker.busy])

    def _hand_out(self, waiting: deque[tuple[TrialConfig, int]]) -> None:
        for slot in range(self.jobs):
            worker = self._workers.get(slot)
            if not waiting or (worker is not None and worker.busy):
                continue
            if worker is None:
                core = self._cores[slot] if self._cores is not None else None
                worker = self._workers[slot] = _Worker({**self._setup, "core": core, "path": sys.path})
            worker.start(*waiting.popleft())

    def _ready(self) -> list[_Worker]:
        busy = {worker.connection: worker for worker in self._workers.values() if worker.busy}
        return [busy[connection] for connection in wait(list(busy)) if isinstance(connection, Connection)]

    def _answer(self, worker: _Worker, waiting: deque[tuple[TrialConfig, int]]) -> TrialRecord | None:
        """Take one message of a worker; return the record if that ended its trial."""
        assert worker.config is not None, "only busy workers are listened to"
        config, attempt = worker.config, worker.attempt
        try:
            ((kind, value),) = json.loads(worker.connection.recv_bytes()).items()
        except (EOFError, OSError):
            slot = next(slot for slot, other in self._workers.items() if other is worker)
            reason = worker.epitaph()
            self._end([slot])
            return self._again_or_failed(config, attempt, reason, waiting)
        if kind == "point":
            if self._on_point is not None:
                self._on_point(config, HistoryPoint.model_validate_json(value[0]), value[1])
            return None
        worker.config = None
        if kind == "record":
            return TrialRecord.model_validate_json(value)
        if kind == "input_error":
            raise InputError(value)
        if kind == "no_memory":
            return self._again_or_failed(config, attempt, value, waiting)
        what, trace = value
        trial = f"'{config.workload}' with '{config.recipe.solver}' at batch size {config.batch_size}"
        error = TrialError(f"A trial of {trial} raised {what}.")
        error.add_note(trace)
        raise error

    def _again_or_failed(
        self, config: TrialConfig, attempt: int, reason: str, waiting: deque[tuple[TrialConfig, int]]
    ) -> TrialRecord | None:
        if attempt < _ATTEMPTS:
            waiting.appendleft((config, attempt + 1))
            return None
        return TrialRecord(config=config, status="failed", reason=f"{reason} ({attempt} attempts)")

    def _end(self, slots: list[int]) -> None:
        workers = [self._workers.pop(slot) for slot in slots]
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.reap()

    def close(self) -> None:
        """End all workers at once, whatever they are doing."""
        self._closed = True
        self._end(list(self._workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """One worker process, the pipe to it, what it is doing, and what it printed."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.config: TrialConfig | None = None
        self.attempt = 0
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "batchlimit.tuning.runners.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
            )
        self.connection = Connection(ours.detach())
        self._send({"setup": setup})

    @property
    def busy(self) -> bool:
        return self.config is not None

    def start(self, config: TrialConfig, attempt: int) -> None:
        self.config, self.attempt = config, attempt
        self._send({"trial": config.model_dump_json(exclude_defaults=True)})

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it died: the pool notices at the next read
            self.connection.send_bytes(json.dumps(message).encode())

    def epitaph(self) -> str:
        """Return why the process died, with the last line it printed."""
        code = self._process.wait()
        cause = f"exit status {code}"
        if code < 0:
            cause = f"signal {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                cause += ", most often for lack of memory"
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").strip().splitlines()
        return f"the worker process died: {cause}" + (f"; it last printed: {lines[-1][:200]}" if lines else "")

    def kill(self) -> None:
        self.connection.close()
        self._process.kill()

    def reap(self) -> None:
        self._process.wait()
        self._printed.close()
