"""The process at the other end of a pool: reads configurations from a pipe, runs them, writes records back.

Run as `python -m batchlimit.tuning.runners.worker DESCRIPTOR`. It does not import the caller's main module, so a script
that calls batchlimit needs no `if __name__ == "__main__"`. All messages are JSON objects of one key.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any, Protocol

from batchlimit.config import TrialConfig
from batchlimit.errors import InputError, in_one_line
from batchlimit.records import HistoryPoint, TrialRecord


class OnTrialPoint(Protocol):
    """Takes a point of a trial's history and the trial's total steps."""

    def __call__(self, point: HistoryPoint, total_steps: int, /) -> None: ...


class WorkerFunction(Protocol):
    """What a worker calls for each trial; `execution` is the dumped `Execution` of the pool."""

    def __call__(self, config: TrialConfig, execution: dict[str, Any], on_point: OnTrialPoint, /) -> TrialRecord: ...


def run_trial(config: TrialConfig, execution: dict[str, Any], on_point: OnTrialPoint) -> TrialRecord:
    """Run a trial with the engine, on one thread.

    Raises:
        MemoryError: there was too little of it, on the device or here, even for the smallest micro-batch.
    """
    from batchlimit.engine import Execution, run
    from batchlimit.engine.step import out_of_memory

    try:
        return run(config, execution=Execution.model_validate({**execution, "threads": 1}), on_point=on_point)
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError(str(error).splitlines()[0]) from error
        raise


def serve(connection: Connection) -> None:
    """Answer messages until the pipe closes."""
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    setup = inbox.get()["setup"]
    if setup["core"] is not None and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # the core was taken away since; run anywhere
            os.sched_setaffinity(0, {setup["core"]})
    sys.path[:] = setup["path"]

    def send(kind: str, value: Any) -> None:
        connection.send_bytes(json.dumps({kind: value}).encode())

    def on_point(point: HistoryPoint, total_steps: int, /) -> None:
        if setup["points"]:
            send("point", [point.model_dump_json(exclude_defaults=True), total_steps])

    while True:
        message = inbox.get()
        try:
            function = _function(setup["function"])
            record = function(TrialConfig.model_validate_json(message["trial"]), setup["execution"], on_point)
            send("record", record.model_dump_json(exclude_defaults=True))
        except InputError as error:
            send("input_error", str(error))
        except MemoryError as error:
            send("no_memory", f"out of memory: {error}" if str(error) else "out of memory")
        except Exception as error:
            send("error", [in_one_line(error), traceback.format_exc()])


def _receive(connection: Connection, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Read messages; when the pool's end of the pipe closes, however that came about, end the process at once."""
    while True:
        try:
            inbox.put(json.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            os._exit(0)


def _function(path: str) -> WorkerFunction:
    module, _, name = path.partition(":")
    function: WorkerFunction = getattr(importlib.import_module(module), name)
    return function


def main() -> None:
    """Serve on the file descriptor named on the command line; Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)  # a process that a data set starts must not keep the pipe open
    with contextlib.suppress(BrokenPipeError):  # the parent is gone
        serve(Connection(descriptor))


if __name__ == "__main__":
    main()
