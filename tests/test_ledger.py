"""The ledger: what goes in comes out, after closing, through an export, and whatever file it is pointed at."""

from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchlimit.config import Recipe, TrialConfig
from batchlimit.errors import InputError
from batchlimit.ledger import Ledger, codec
from batchlimit.records import HistoryPoint, Scores, TrialRecord

NOBODY = 65534


def make(seed: int = 0, *, epochs: int = 2, status: str = "complete", metric: float | None = 0.9) -> TrialRecord:
    config = TrialConfig(workload="digits", batch_size=64, budget="2.5 epochs", seed=seed, recipe=Recipe(lr=0.0123))
    history = tuple(
        HistoryPoint(step=n, epoch=n, lr=0.1 / (n + 1), train_loss=1 / (n + 3), selection=Scores(loss=1 / (n + 7)))
        for n in range(epochs)
    )
    scores = Scores(loss=0.3, metric=metric)
    return TrialRecord.model_validate(
        {
            "config": config,
            "status": status,
            "history": history,
            "selection": scores,
            "environment": {"cpu": "ünï"},
            "measurements": {"distance": [1.5, 2.0]},
        }
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "with space, {brace} and %41" / "ledger.db"


def test_records_and_documents_survive_closing_in_order(path: Path) -> None:
    records = [make(seed, epochs=epochs) for seed, epochs in [(3, 0), (1, 400), (2, 5)]]
    with Ledger.open(path) as ledger:
        for record in records:
            ledger.add(record)
        ledger.put_document("question", "digits: all", "old")
        ledger.put_document("question", "digits: all", "what?\n" * 3000)
        ledger.put_document("workload", "digits", "f00d")
    with Ledger.open(path) as ledger:
        assert ledger.records() == records
        assert len(ledger) == 3
        assert ledger.get(records[1].hash) == records[1]
        assert records[2].hash in ledger
        assert ledger.get("0" * 16) is None
        assert ledger.document("question", "digits: all") == "what?\n" * 3000
        assert ledger.documents("workload") == {"digits": "f00d"}
        assert ledger.document("workload", "other") is None


@pytest.mark.parametrize("status", ["complete", "diverged", "pruned", "failed"])
@pytest.mark.parametrize("metric", [0.5, None])
def test_every_status_is_kept(path: Path, status: str, metric: float | None) -> None:
    record = make(status=status, metric=metric)
    with Ledger.open(path) as ledger:
        ledger.add(record)
    with Ledger.open(path, create=False) as ledger:
        assert ledger.records() == [record]


def test_a_later_record_of_the_same_trial_replaces_the_first(path: Path) -> None:
    failed, complete = make(status="failed"), make()
    with Ledger.open(path) as ledger:
        for record in (failed, make(1), complete):
            ledger.add(record)
    with Ledger.open(path) as ledger:
        assert ledger.records() == [complete, make(1)]


def test_an_equal_record_is_not_written_again(path: Path) -> None:
    with Ledger.open(path) as ledger:
        for _ in range(3):
            ledger.add(make())
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM trials").fetchone() == (1,)


def test_optuna_sees_metric_and_state(path: Path) -> None:
    import optuna

    with Ledger.open(path) as ledger:
        for record in (make(0, metric=0.75), make(1, status="diverged", metric=None), make(2, status="pruned")):
            ledger.add(record)
    with sqlite3.connect(path) as database:  # the path itself would be no valid URL
        copy = path.parent.parent / "plain.db"
        with sqlite3.connect(copy) as target:
            database.backup(target)
    trials = optuna.load_study(study_name="batchlimit", storage=f"sqlite:///{copy}").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "PRUNED"]
    assert trials[0].value == 0.75


def test_memory_ledger_keeps_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Ledger.open(":memory:") as ledger:
        ledger.add(make())
        ledger.put_document("question", "digits", "?")
        assert len(ledger) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_url_of_a_file_is_the_file(path: Path) -> None:
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.add(make())
        assert ledger.location == str(path)
    assert len(Ledger.open(path, create=False)) == 1


# -- one driver ---------------------------------------------------------------------------------------------------


def test_a_second_driver_is_refused_and_told_who_holds_it(path: Path) -> None:
    with Ledger.open(path), pytest.raises(InputError, match=rf"in use by process {os.getpid()} on \S+") as refused:
        Ledger.open(path)
    assert "\n" not in str(refused.value)
    with Ledger.open(path):
        pass  # closing released it


def test_a_claim_through_another_name_of_the_file_is_seen(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    with Ledger.open(path), pytest.raises(InputError, match="in use"):
        Ledger.open(tmp_path / "link.db")


def test_a_killed_driver_leaves_no_claim(path: Path) -> None:
    code = (
        "import sys, time, batchlimit.ledger as l\nx = l.Ledger.open(sys.argv[1]); print(1, flush=True); time.sleep(9)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        with pytest.raises(InputError, match=f"process {holder.pid} "):
            Ledger.open(path)
        holder.kill()
    with Ledger.open(path) as ledger:
        ledger.add(make())


def test_readers_read_while_a_driver_writes(path: Path) -> None:
    with Ledger.open(path) as driver:
        driver.add(make(0))
        reader = Ledger.open(path, create=False)
        driver.add(make(1))
        assert len(reader) == 1
        assert len(Ledger.open(path, create=False)) == 2


def test_a_ledger_takes_records_from_any_thread(path: Path) -> None:
    with Ledger.open(path) as ledger:
        threads = [threading.Thread(target=ledger.add, args=(make(seed),)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {record.config.seed for record in Ledger.open(path, create=False).records()} == {0, 1, 2, 3}


# -- reading only -------------------------------------------------------------------------------------------------


def test_a_reader_cannot_add(path: Path) -> None:
    Ledger.open(path).close()
    ledger = Ledger.open(path, create=False)
    with pytest.raises(InputError, match="not open for adding"):
        ledger.add(make())
    with pytest.raises(InputError, match="not open for adding"):
        ledger.put_document("question", "digits", "?")
    with pytest.raises(InputError, match="not open for adding"):
        ledger.import_jsonl("any.jsonl")


def test_a_closed_ledger_still_tells_but_takes_nothing(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.add(make())
    ledger.close()
    assert ledger.records() == [make()]
    with pytest.raises(InputError, match="not open for adding"):
        ledger.add(make(1))


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that others can enter, and a user that permissions bind (the superuser is bound by none)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        superuser = os.geteuid() == 0
        yield folder
        if superuser:
            os.seteuid(0)
        folder.chmod(0o755)


def lower_privileges(folder: Path) -> None:
    if os.geteuid() == 0:
        for place in (folder, *folder.iterdir()):
            os.chown(place, NOBODY, NOBODY)
        os.seteuid(NOBODY)


def test_a_read_only_file_in_a_read_only_folder_is_read(unprivileged: Path) -> None:
    path = unprivileged / "ledger.db"
    with Ledger.open(path) as ledger:
        ledger.add(make())
    (unprivileged / "ledger.db.lock").unlink()
    path.chmod(stat.S_IRUSR)
    unprivileged.chmod(stat.S_IRUSR | stat.S_IXUSR)
    lower_privileges(unprivileged)
    assert Ledger.open(path, create=False).records() == [make()]
    with pytest.raises(InputError, match="cannot be written"):
        Ledger.open(path)
    assert sorted(os.listdir(unprivileged)) == ["ledger.db"]


def test_an_unwritable_folder_is_refused(unprivileged: Path) -> None:
    unprivileged.chmod(stat.S_IRUSR | stat.S_IXUSR)
    lower_privileges(unprivileged)
    with pytest.raises(InputError, match=r"Cannot write the ledger .*Permission denied"):
        Ledger.open(unprivileged / "ledger.db")


def test_an_unreadable_file_is_refused(unprivileged: Path) -> None:
    path = unprivileged / "ledger.db"
    Ledger.open(path).close()
    path.chmod(0)
    lower_privileges(unprivileged)
    with pytest.raises(InputError, match="cannot be read: permission denied"):
        Ledger.open(path, create=False)


# -- bad input ----------------------------------------------------------------------------------------------------


def refused(location: str | Path, *, create: bool = True) -> str:
    with pytest.raises(InputError) as error:
        Ledger.open(location, create=create)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("content", [b"hello, world, this is a text", b"\0" * 200, b"SQLite"])
def test_not_a_sqlite_file(tmp_path: Path, content: bytes, create: bool) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    assert "is no SQLite file" in refused(path, create=create)
    assert path.read_bytes() == content


@pytest.mark.parametrize("create", [True, False])
def test_a_sqlite_file_of_something_else_is_left_alone(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "photos.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE photos (name TEXT)")
    database.close()
    before = path.read_bytes()
    assert "SQLite file of something else" in refused(path, create=create)
    assert path.read_bytes() == before


@pytest.mark.parametrize("create", [True, False])
def test_a_truncated_file(path: Path, create: bool) -> None:
    with Ledger.open(path) as ledger:
        for seed in range(20):
            ledger.add(make(seed))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    assert re.search(r"Cannot open the ledger|cannot be read", refused(path, create=create))


def test_an_empty_file_is_a_new_ledger_but_not_a_ledger_to_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()
    assert "no SQLite file" in refused(path, create=False)
    with Ledger.open(path) as ledger:
        ledger.add(make())


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_schema(path: Path, create: bool) -> None:
    Ledger.open(path).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE study_user_attributes SET value_json = '7' WHERE key = 'batchlimit_schema'")
    database.close()
    assert "newer batchlimit (schema 7; this one reads 1)" in refused(path, create=create)


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_optuna(path: Path, create: bool) -> None:
    Ledger.open(path).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    database.close()
    assert "updating optuna" in refused(path, create=create)


def test_a_record_of_another_version(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add(make(epochs=0))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE trial_user_attributes SET value_json = replace(value_json, 'selection', 'choice')")
    database.close()
    assert "Record 1 of the ledger" in refused(path)
    assert "no trial record of this version" in refused(path)  # and the claim was given up


def test_a_storage_without_a_ledger_in_it(tmp_path: Path) -> None:
    import optuna

    path = tmp_path / "mine.db"
    optuna.create_study(study_name="mine", storage=f"sqlite:///{path}")
    assert "holds no batchlimit ledger" in refused(path, create=False)


def test_a_missing_file_cannot_be_read(tmp_path: Path) -> None:
    assert "There is no ledger" in refused(tmp_path / "none.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder. Name a file in it" in refused(tmp_path)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Cannot write the ledger" in refused(tmp_path / "file" / "ledger.db")


@pytest.mark.parametrize("url", ["mysql://host/db", "http://host/x", "redis://host"])
def test_an_unknown_scheme(url: str) -> None:
    message = refused(url)
    assert f"'{url.split(':')[0]}'" in message
    assert "Valid: a file path, sqlite:///path, postgresql://" in message


def test_a_url_that_is_none() -> None:
    assert "Cannot read the ledger's URL" in refused("://nothing")


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    message = refused("postgresql://me:secret@localhost/db")
    assert "pip install 'batchlimit[postgres]'" in message
    assert "secret" not in message


# -- export and import --------------------------------------------------------------------------------------------


def test_trials_of_another_workload_of_the_same_name_are_not_imported(path: Path, tmp_path: Path) -> None:
    exported = tmp_path / "ledger.jsonl"
    with Ledger.open(path) as ledger:
        ledger.add(make(1))
        ledger.put_document("workload", "digits", '{"parameters": 1}')
        ledger.export_jsonl(exported)
    with Ledger.open(tmp_path / "other.db") as other:
        other.put_document("workload", "digits", '{"parameters": 2}')
        with pytest.raises(InputError, match="another 'digits'"):
            other.import_jsonl(exported)
        assert not other.records()


def test_a_trial_that_failed_here_is_imported(path: Path, tmp_path: Path) -> None:
    exported = tmp_path / "ledger.jsonl"
    with Ledger.open(path) as ledger:
        ledger.add(make(1).model_copy(update={"reason": "a line\u2028and\u0085another"}))
        ledger.export_jsonl(exported)
        records = ledger.records()
    with Ledger.open(tmp_path / "other.db") as other:
        other.add(make(1).model_copy(update={"status": "failed"}))
        assert other.import_jsonl(exported) == 1
        assert other.records() == records


@pytest.mark.parametrize("name", ["ledger.jsonl", "sub/ledger.jsonl.gz"])
def test_an_export_can_be_read_and_imported(path: Path, tmp_path: Path, name: str) -> None:
    exported = tmp_path / name
    with Ledger.open(path) as ledger:
        for seed in range(3):
            ledger.add(make(seed))
        ledger.put_document("question", "digits", "what?")
        ledger.export_jsonl(exported)
        again = tmp_path / f"again-{exported.name}"
        ledger.export_jsonl(again)
        assert again.read_bytes() == exported.read_bytes()
        records = ledger.records()
    read = Ledger.open(exported, create=False)
    assert read.records() == records
    assert read.document("question", "digits") == "what?"
    with Ledger.open(tmp_path / "other.db") as other:
        other.add(make(1))
        assert other.import_jsonl(exported) == 2
        assert other.import_jsonl(exported) == 0
    reopened = Ledger.open(tmp_path / "other.db", create=False)
    assert {record.hash: record for record in reopened.records()} == {record.hash: record for record in records}
    assert reopened.document("question", "digits") == "what?"
    raw = exported.read_bytes()
    text = (gzip.decompress(raw) if name.endswith("gz") else raw).decode()
    assert len(text.splitlines()) == 4
    assert all(json.loads(line) for line in text.splitlines())


def test_an_export_cannot_be_added_to(tmp_path: Path) -> None:
    with Ledger.open(":memory:") as ledger:
        ledger.export_jsonl(tmp_path / "x.jsonl")
    assert "not added to" in refused(tmp_path / "x.jsonl")


def test_an_export_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Ledger.open(":memory:") as ledger, pytest.raises(InputError, match="Cannot write the exported ledger"):
        ledger.export_jsonl(tmp_path / "file" / "x.jsonl")


# Without a time in it: a test's name must be the same in every worker that collects it.
CUT_SHORT = gzip.compress(b'{"batchlimit_ledger": 1}\n' * 50, mtime=0)[:-12]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "is no exported ledger"),
        ("x.jsonl", b'{"a": 1}\n', "is no exported ledger"),
        ("x.jsonl", b"\xff\xfe", "Cannot read the exported ledger"),
        ("x.jsonl", b"not json\n", "Cannot read the exported ledger"),
        ("x.jsonl", b'{"batchlimit_ledger": 2}\n', "newer batchlimit"),
        ("x.jsonl", b'{"batchlimit_ledger": "one"}\n', "unreadable schema version"),
        ("x.jsonl", b'{"batchlimit_ledger": 1}\n{"config": {}}\n', "Line 2 of "),
        ("x.jsonl.gz", b"plain", "Cannot read the exported ledger"),
        ("x.jsonl.gz", CUT_SHORT, "Cannot read the exported ledger"),
    ],
)
def test_bad_exports(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in refused(tmp_path / name, create=False)


def test_a_missing_export(tmp_path: Path) -> None:
    assert "Cannot read the exported ledger" in refused(tmp_path / "none.jsonl", create=False)


@pytest.mark.parametrize("text", ["zlib:!!", "zlib:AAAA", "{", '{"status": "complete"}'])
def test_garbage_is_no_record(text: str) -> None:
    with pytest.raises(InputError, match="Here is no trial record"):
        codec.decode(text, "Here")


def test_long_records_are_packed_and_short_ones_readable() -> None:
    assert json.loads(codec.encode(make(epochs=1)))["status"] == "complete"
    packed = codec.encode(make(epochs=300))
    assert len(packed) < len(make(epochs=300).model_dump_json()) / 3
    assert codec.decode(packed, "here") == make(epochs=300)


def test_the_ledger_imports_no_torch() -> None:
    code = "import sys, batchlimit.ledger as l; l.Ledger.open(sys.argv[1]).close(); assert 'torch' not in sys.modules"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code, f"{folder}/x.db"], check=True)
