"""Runs what a search asks for: reuses the ledger's records, has the rest computed, stores each as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal, TypeVar

from batchlimit.config import TrialConfig
from batchlimit.errors import InputError, LedgerError, TrialError
from batchlimit.ledger import Ledger
from batchlimit.records import TrialRecord
from batchlimit.tuning.batch import Batch
from batchlimit.tuning.runners import Runner
from batchlimit.words import counted

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Event:
    """One step of a search: a trial 'planned' (about to be computed), 'finished', or 'reused' from the ledger.

    `done` counts trials finished and reused; `expected` is how many there will have been at the end, and `seconds_left`
    the time until then: None where it cannot be told yet.
    """

    kind: Literal["planned", "finished", "reused"]
    config: TrialConfig
    record: TrialRecord | None
    purpose: str
    done: int
    expected: int | None
    seconds_left: float | None


OnEvent = Callable[[Event], None]


def drive(
    trials: Generator[Batch, list[TrialRecord], Answer],
    ledger: Ledger,
    runner: Runner | None,
    on_event: OnEvent | None = None,
) -> Answer:
    """Return the answer of a search, feeding it the records it asks for, in the order it asks for them.

    A trial in the ledger is not run again, unless it failed (its worker died): that says nothing of the trial. The
    answer depends on records alone, not on how many jobs there are or when they finish. With `runner=None` nothing is
    run: the ledger must hold everything, failed trials included. Whatever is raised inside (a signal's
    KeyboardInterrupt, say) passes through; every record that arrived is in the ledger by then. An error of a trial's
    code has the batch's advice: a `TrialError` in its message, another one as a note.

    Raises:
        InputError: `runner` is None and a record is missing.
    """
    progress = _Progress(runner.jobs if runner is not None else 1, on_event)
    try:
        batch = next(trials)
        while True:
            batch = trials.send(_records(batch, ledger, runner, progress))
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer
    finally:
        trials.close()


def _records(batch: Batch, ledger: Ledger, runner: Runner | None, progress: _Progress) -> list[TrialRecord]:
    asked = {config.hash: config for config in batch.trials}
    found = {hash: record for hash in asked if (record := ledger.get(hash)) is not None}
    if runner is not None:
        found = {hash: record for hash, record in found.items() if record.status != "failed"}
    missing = [config for hash, config in asked.items() if hash not in found]
    progress.begin(batch, len(asked))
    for hash, record in found.items():
        progress.reused(asked[hash], record)
    if missing:
        try:
            found |= _computed(missing, ledger, runner, progress)
        except TrialError as error:
            error.args = (f"{error} {batch.advice}".rstrip(),)
            raise
        except (InputError, LedgerError):
            raise
        except Exception as error:
            if batch.advice:
                error.add_note(batch.advice)
            raise
    return [found[config.hash] for config in batch.trials]


def _computed(
    missing: list[TrialConfig], ledger: Ledger, runner: Runner | None, progress: _Progress
) -> dict[str, TrialRecord]:
    if runner is None:
        raise InputError(
            f"The ledger '{ledger.location}' lacks {counted(len(missing), 'trial')} of this search "
            f"(batch size {missing[0].batch_size}, seed {missing[0].seed}, ...). "
            "Run the search again to finish it."
        )
    for config in missing:
        progress.planned(config)
    computed: dict[str, TrialRecord] = {}
    running = runner.run(missing)
    try:
        for record in running:
            ledger.add(record)
            computed[record.hash] = record
            progress.finished(record)
    finally:
        if isinstance(running, Generator):
            running.close()
    assert computed.keys() == {config.hash for config in missing}, "a runner returns a record for each trial"
    return computed


class _Progress:
    """Counts trials, estimates the time left, and tells the listener."""

    def __init__(self, jobs: int, on_event: OnEvent | None) -> None:
        self._jobs = jobs
        self._on_event = on_event
        self._purpose = ""
        self._done = 0
        self._pending = 0
        self._later: int | None = None
        self._timed: list[TrialRecord] = []
        self._timed_before: list[TrialRecord] = []

    def begin(self, batch: Batch, count: int) -> None:
        self._purpose = batch.purpose
        self._pending = count
        self._later = batch.expected_left

    def planned(self, config: TrialConfig) -> None:
        self._tell("planned", config, None)

    def reused(self, config: TrialConfig, record: TrialRecord) -> None:
        self._count(record, self._timed_before)
        self._tell("reused", config, record)

    def finished(self, record: TrialRecord) -> None:
        self._count(record, self._timed)
        self._tell("finished", record.config, record)

    def _count(self, record: TrialRecord, timed: list[TrialRecord]) -> None:
        self._done += 1
        self._pending -= 1
        if record.status != "failed":
            timed.append(record)

    def _seconds_left(self) -> float | None:
        """Return the mean cost of a trial (of those run now; before the first, of those reused) times those left."""
        timed = self._timed or self._timed_before
        if self._later is None or not timed:
            return None
        mean = sum(record.seconds for record in timed) / len(timed)
        return mean * (self._pending + self._later) / self._jobs

    def _tell(
        self, kind: Literal["planned", "finished", "reused"], config: TrialConfig, record: TrialRecord | None
    ) -> None:
        if self._on_event is None:
            return
        expected = None if self._later is None else self._done + self._pending + self._later
        self._on_event(Event(kind, config, record, self._purpose, self._done, expected, self._seconds_left()))
