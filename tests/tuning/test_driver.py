"""The driver: same answer however the records come, nothing run twice, nothing lost."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import fake_engine
import pytest

from batchlimit.config import TrialConfig
from batchlimit.errors import InputError
from batchlimit.ledger import Ledger
from batchlimit.records import TrialRecord
from batchlimit.tuning.batch import Batch
from batchlimit.tuning.driver import Event, drive
from batchlimit.tuning.runners.inline import InlineRunner
from batchlimit.tuning.runners.local import LocalPool


class Backwards(InlineRunner):
    """Finishes trials in reverse, and counts them."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__(fake_engine.record)
        self.ran: list[TrialConfig] = []
        self.closed_early = 0
        self._stop_after = stop_after

    def run(self, configs: Sequence[TrialConfig]) -> Iterator[TrialRecord]:
        finished = False
        try:
            for config in reversed(configs):
                if self._stop_after is not None and len(self.ran) == self._stop_after:
                    raise KeyboardInterrupt
                self.ran.append(config)
                yield fake_engine.record(config)
            finished = True
        finally:
            self.closed_early += not finished


def asks(*batches: Batch) -> Generator[Batch, list[TrialRecord], list[list[TrialRecord]]]:
    got = []
    for batch in batches:
        records = yield batch
        got.append(records)
    return got


def expected_answer() -> list[float]:
    search = fake_engine.search()
    batch = next(search)
    while True:
        try:
            batch = search.send([fake_engine.record(config) for config in batch.trials])
        except StopIteration as stop:
            answer: list[float] = stop.value
            return answer


def test_records_come_back_in_the_order_asked() -> None:
    configs = tuple(fake_engine.config(seed=seed) for seed in (3, 1, 2))
    with Ledger.open(":memory:") as ledger:
        (records,) = drive(asks(Batch(configs)), ledger, Backwards())
        assert records == [fake_engine.record(config) for config in configs]
        assert [record.config for record in ledger.records()] == list(reversed(configs))  # as they arrived


def test_the_answer_does_not_depend_on_jobs_or_order() -> None:
    for jobs in (1, 3):
        with Ledger.open(":memory:") as ledger, LocalPool(jobs, function="fake_engine:work") as runner:
            assert drive(fake_engine.search(), ledger, runner) == expected_answer()
    with Ledger.open(":memory:") as ledger:
        assert drive(fake_engine.search(), ledger, Backwards()) == expected_answer()


def test_a_trial_asked_for_twice_runs_once() -> None:
    once, other = fake_engine.config(seed=0), fake_engine.config(seed=1)
    runner = Backwards()
    with Ledger.open(":memory:") as ledger:
        first, second = drive(asks(Batch((once, other, once)), Batch((other,))), ledger, runner)
    assert [record.config for record in first] == [once, other, once]
    assert [record.config for record in second] == [other]
    assert sorted(config.seed for config in runner.ran) == [0, 1]


@pytest.mark.parametrize("stop_after", [0, 1, 7, 19])
def test_interrupted_and_resumed_is_as_uninterrupted(tmp_path: Path, stop_after: int) -> None:
    path = tmp_path / "ledger.db"
    interrupted, resumed = Backwards(stop_after), Backwards()
    search = fake_engine.search()
    with Ledger.open(path) as ledger:
        with pytest.raises(KeyboardInterrupt):
            drive(search, ledger, interrupted)
        assert len(ledger) == stop_after
    assert search.gi_frame is None  # closed
    with Ledger.open(path) as ledger:
        assert drive(fake_engine.search(), ledger, resumed) == expected_answer()
        assert len(ledger) == 20
    assert len(resumed.ran) == 20 - stop_after


def test_a_listener_that_raises_loses_nothing_and_ends_the_runner() -> None:
    runner = Backwards()

    def listener(event: Event) -> None:
        if event.kind == "finished":
            raise KeyboardInterrupt

    with Ledger.open(":memory:") as ledger:
        with pytest.raises(KeyboardInterrupt):
            drive(fake_engine.search(), ledger, runner, listener)
        assert len(ledger) == 1
    assert runner.closed_early == 1


def test_a_failed_trial_is_run_again_the_next_time_only() -> None:
    config = fake_engine.config()
    failed = TrialRecord(config=config, status="failed", reason="killed")
    with Ledger.open(":memory:") as ledger:
        for _ in range(2):
            ((record,),) = drive(asks(Batch((config,))), ledger, InlineRunner(lambda _: failed))
            assert record == failed
        runner = Backwards()
        ((record,),) = drive(asks(Batch((config,))), ledger, runner)
        assert record == fake_engine.record(config)
        assert ledger.records() == [record]
        assert len(runner.ran) == 1


def test_without_a_runner_the_ledger_must_hold_everything() -> None:
    with Ledger.open(":memory:") as ledger:
        drive(fake_engine.search(), ledger, Backwards())
        assert drive(fake_engine.search(), ledger, None) == expected_answer()
        with pytest.raises(InputError, match=r"lacks 2 trials of this search \(batch size 32, seed 5"):
            drive(fake_engine.search(width=7), ledger, None)


def test_without_a_runner_failed_trials_stand() -> None:
    config = fake_engine.config()
    failed = TrialRecord(config=config, status="failed", reason="killed")
    with Ledger.open(":memory:") as ledger:
        ledger.add(failed)
        assert drive(asks(Batch((config,))), ledger, None) == [[failed]]


def test_an_empty_batch_and_an_empty_search() -> None:
    with Ledger.open(":memory:") as ledger:
        assert drive(asks(), ledger, Backwards()) == []
        assert drive(asks(Batch(())), ledger, Backwards()) == [[]]


def test_events_count_and_estimate() -> None:
    events: list[Event] = []
    old, new = fake_engine.config(seed=0), fake_engine.config(seed=1)
    last = fake_engine.config(seed=2)
    runner = Backwards()
    runner.jobs = 2
    with Ledger.open(":memory:") as ledger:
        ledger.add(fake_engine.record(old))
        batches = asks(Batch((new, old), "tune", expected_left=3), Batch((last,), "seeds", expected_left=0))
        drive(batches, ledger, runner, events.append)
    assert [(e.kind, e.config.seed, e.purpose, e.done, e.expected) for e in events] == [
        ("reused", 0, "tune", 1, 5),
        ("planned", 1, "tune", 1, 5),
        ("finished", 1, "tune", 2, 5),
        ("planned", 2, "seeds", 2, 3),
        ("finished", 2, "seeds", 3, 3),
    ]
    assert [e.seconds_left for e in events] == [4.0, 4.0, 3.0, 1.0, 0.0]  # two seconds each, two at a time
    assert [e.record is None for e in events] == [False, True, False, True, False]


def test_no_estimate_without_a_plan() -> None:
    events: list[Event] = []
    with Ledger.open(":memory:") as ledger:
        drive(asks(Batch((fake_engine.config(),))), ledger, Backwards(), events.append)
    assert [(e.expected, e.seconds_left) for e in events] == [(None, None), (None, None)]
