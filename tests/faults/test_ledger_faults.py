"""A ledger whose driver is killed, again and again, at any moment: what was told is there, whole, and nothing else."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import fake_engine
import pytest

from batchlimit.cli import main
from batchlimit.errors import InputError, LedgerError
from batchlimit.ledger import Ledger
from batchlimit.tuning.driver import drive
from batchlimit.tuning.runners.inline import InlineRunner

FOLDER = str(Path(fake_engine.__file__).parent)

WRITER = """
import sys
sys.path.insert(0, {folder!r})
import fake_engine
from batchlimit.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
seed = len(ledger)
while True:
    long = fake_engine.record(fake_engine.config(seed=seed))
    ledger.add(long.model_copy(update={{"history": long.history * 50}}))
    print(seed, flush=True)  # told
    seed += 1
"""


def test_killed_while_writing_every_told_record_is_intact(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    moments = random.Random(0)
    told = 0
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER.format(folder=FOLDER), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        first = int(writer.stdout.readline())
        time.sleep(moments.uniform(0, 0.1))
        writer.kill()
        told = max([first, *map(int, writer.stdout.read().split())]) + 1
        writer.wait()
        with Ledger.open(path) as ledger:  # no claim is left behind either
            records = ledger.records()
            assert len(ledger) in (told, told + 1)  # the last one may be there before it was said
            assert [record.config.seed for record in records] == list(range(len(records)))
            assert all(len(record.history) == 150 for record in records)
    assert told > 4


def test_killed_while_the_ledger_is_made(tmp_path: Path) -> None:
    """The delays cover starting, making the tables, making the study and the first record."""
    opener = "import sys, batchlimit.ledger as l\nprint(1, flush=True)\nl.Ledger.open(sys.argv[1]).close()"
    for attempt in range(4):
        path = tmp_path / f"ledger-{attempt}.db"
        maker = subprocess.Popen([sys.executable, "-c", opener, str(path)], stdout=subprocess.PIPE, text=True)
        assert maker.stdout is not None
        maker.stdout.readline()
        time.sleep(0.12 * attempt)
        maker.kill()
        maker.communicate()
        with Ledger.open(path) as ledger:
            ledger.add(fake_engine.record(fake_engine.config()))
        assert len(Ledger.open(path, create=False)) == 1


def test_a_search_killed_again_and_again_runs_nothing_twice_and_answers_alike(tmp_path: Path) -> None:
    with Ledger.open(":memory:") as ledger:
        uninterrupted = drive(fake_engine.search(), ledger, InlineRunner(fake_engine.record))
        expected = ledger.records()
    path = tmp_path / "ledger.db"
    started = [search_until(path, kill_after) for kill_after in (6, 7, None)]
    assert started[2][1] == f"answer {uninterrupted}\n"
    assert [answer for _, answer in started[:2]] == [None, None]
    assert 20 <= sum(count for count, _ in started) <= 22  # one trial in flight is lost at each kill
    assert Ledger.open(path, create=False).records() == expected


def search_until(ledger: Path, kill_after: int | None) -> tuple[int, str | None]:
    """Run the search in a process until it has started so many trials; return how many, and its answer if any."""
    command = [sys.executable, fake_engine.__file__, str(ledger), "0.02"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    started = 0
    answer = None
    for line in process.stdout:
        if line.startswith("answer"):
            answer = line
            continue
        started += 1
        if started == kill_after:
            process.kill()
            break
    process.communicate()
    return started, answer


def test_a_full_disk_is_one_clear_error_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between Optuna's five attempts
    path = tmp_path / "ledger.db"
    with Ledger.open(path) as ledger:
        ledger.add(fake_engine.record(fake_engine.config(seed=0)))
    ledger = Ledger.open(path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limit[1]))
    try:
        with pytest.raises(LedgerError, match=r"could not take a record: (database|disk)") as error:
            ledger.add(fake_engine.record(fake_engine.config(seed=1)))
        with pytest.raises(LedgerError, match="could not take a document"):
            ledger.put_document("question", "digits", "?")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "\n" not in str(error.value)
    assert len(ledger) == 1
    ledger.add(fake_engine.record(fake_engine.config(seed=2)))
    ledger.close()
    assert [record.config.seed for record in Ledger.open(path, create=False).records()] == [0, 2]


def test_a_command_whose_ledger_is_full_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: object, **options: object) -> None:
        raise LedgerError("The ledger 'l.db' could not take a record: database or disk is full. The rest is kept.")

    monkeypatch.setattr("batchlimit.cli.list.described", full)
    monkeypatch.setattr(sys, "argv", ["batchlimit", "list", "tuners"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err.strip() == (
        "batchlimit: The ledger 'l.db' could not take a record: database or disk is full. The rest is kept."
    )


def test_an_export_killed_while_written_leaves_the_old_one(tmp_path: Path) -> None:
    exported = tmp_path / "x.jsonl"
    code = f"""
import sys
sys.path.insert(0, {FOLDER!r})
import fake_engine
from batchlimit.ledger import Ledger
ledger = Ledger.open(":memory:")
for seed in range(50):
    ledger.add(fake_engine.record(fake_engine.config(seed=seed)))
while True:
    ledger.export_jsonl(sys.argv[1])
    print(1, flush=True)
"""
    for attempt in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code, str(exported)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.01 * attempt)
        writer.kill()
        writer.communicate()
        assert len(Ledger.open(exported, create=False)) == 50
        assert all(json.loads(line) for line in exported.read_text().splitlines())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which files are open")
def test_a_ledger_that_is_only_just_being_made_is_not_kept_open(tmp_path: Path) -> None:
    # What a reader meets in the first moment of a search: a table of Optuna's, and not yet the others.
    path = tmp_path / "ledger.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY)")
        connection.commit()
    gc.disable()
    try:
        with pytest.raises(InputError):
            Ledger.open(path, create=False)
        opened = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        assert not [fd for fd in opened if fd.exists() and fd.readlink().parent == tmp_path]
    finally:
        gc.enable()
