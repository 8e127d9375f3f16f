"""A made-up training, cheap and deterministic, to test what runs trials without an engine; also run as a process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from batchlimit.config import Recipe, TrialConfig
from batchlimit.errors import InputError
from batchlimit.ledger import Ledger
from batchlimit.records import HistoryPoint, Scores, TrialRecord
from batchlimit.tuning.batch import Batch
from batchlimit.tuning.driver import drive
from batchlimit.tuning.runners.inline import InlineRunner


def config(batch_size: int = 32, seed: int = 0, workload: str = "fake", lr: float = 0.1) -> TrialConfig:
    return TrialConfig(workload=workload, batch_size=batch_size, budget="3 epochs", seed=seed, recipe=Recipe(lr=lr))


def record(asked: TrialConfig) -> TrialRecord:
    """Return what a training of `asked` leaves: a metric that depends on all of its configuration."""
    metric = int(asked.hash[:6], 16) / 16**6
    points = tuple(
        HistoryPoint(step=step, epoch=step / 2, train_loss=metric / step, selection=Scores(loss=metric, metric=metric))
        for step in range(1, 4)
    )
    scores = Scores(loss=1 - metric, metric=metric)
    return TrialRecord(
        config=asked, status="complete", steps=3, samples=99, seconds=2.0, history=points, selection=scores, test=scores
    )


def work(asked: TrialConfig, execution: dict[str, Any], on_point: Any) -> TrialRecord:
    """Do as the workload's name says; '@' separates the deed from a path it needs."""
    deed, _, path = asked.workload.partition("@")
    if deed == "where":
        where = {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"], "cores": len(os.sched_getaffinity(0))}
        return record(asked).model_copy(update={"environment": where | execution})
    if deed == "die":
        print("about to go", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "die-once" and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    if deed == "sleep":
        Path(path, f"{asked.seed}-{os.getpid()}").touch()
        time.sleep(60)
    if deed == "slow-first":
        time.sleep(0.3 if asked.seed == 0 else 0)
    if deed == "bad-input":
        raise InputError("there is no such thing")
    if deed == "fault":
        raise ZeroDivisionError("in the user's own model")
    if deed == "no-memory":
        raise MemoryError
    done = record(asked)
    for point in done.history:
        on_point(point, 3)
    return done


def search(rounds: int = 4, width: int = 5) -> Generator[Batch, list[TrialRecord], list[float]]:
    """A search whose next trials depend on the records so far, as a real one's do."""
    lr, bests = 0.1, []
    for number in range(rounds):
        asked = tuple(config(seed=seed, lr=lr) for seed in range(width))
        left = width * (rounds - number - 1)
        records = yield Batch(asked, purpose=f"round {number}", expected_left=left)
        metrics = [r.selection.metric for r in records if r.selection is not None and r.selection.metric is not None]
        bests.append(max(metrics))
        lr = round(0.01 + metrics[0] + metrics[-1] / 3, 4)
    return bests


def main(ledger: str, pause: str) -> None:
    """Run the search into a ledger, saying each trial as it starts and, at the end, the answer."""

    def slowly(asked: TrialConfig) -> TrialRecord:
        print("trial", flush=True)
        time.sleep(float(pause))
        return record(asked)

    with Ledger.open(ledger) as opened:
        print("answer", drive(search(), opened, InlineRunner(slowly)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
