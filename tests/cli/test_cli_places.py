"""Names of folders, and where a ledger is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchlimit.cli.places import existing_ledger, folder_of, places, safe_name
from batchlimit.errors import InputError


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("digits", "digits"),
        ("my_module:my_workload", "my_module-my_workload"),
        ("deep/folder/file.py:net", "file-net"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "workload"),
        ("<script>alert(1)</script>", "script-alert-1-script"),
        ("a b\nc\x00d", "a-b-c-d"),
        ("größe", "gr-e"),
    ],
)
def test_names_become_one_safe_component(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_long_names_stay_apart() -> None:
    first, second = safe_name("a" * 300 + "1"), safe_name("a" * 300 + "2")
    assert first != second
    assert len(first) <= 60


def test_the_ledger_lies_in_the_output_folder_unless_given() -> None:
    assert places("digits", None, None).ledger == str(Path("batchlimit-digits") / "ledger.db")
    assert places("digits", "runs", None).ledger == str(Path("runs") / "ledger.db")
    given = places("digits", "runs", "postgresql://me:secret@host/db")
    assert (given.out, given.ledger) == (Path("runs"), "postgresql://me:secret@host/db")
    assert given.shown == "postgresql://me:***@host/db"


def test_the_only_earlier_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="There is no batchlimit-"):
        existing_ledger(None, None, None)
    for name in ("batchlimit-a", "batchlimit-b"):
        (tmp_path / name).mkdir()
    (tmp_path / "batchlimit-a" / "ledger.db").touch()
    assert existing_ledger(None, None, None).out == Path("batchlimit-a")
    (tmp_path / "batchlimit-b" / "ledger.db").touch()
    with pytest.raises(InputError, match="batchlimit-a, batchlimit-b"):
        existing_ledger(None, None, None)
    assert existing_ledger("b", None, None).ledger == str(Path("batchlimit-b") / "ledger.db")


def test_a_ledger_given_alone_decides_the_folder(tmp_path: Path) -> None:
    ledger = tmp_path / "x.db"
    with pytest.raises(InputError, match="There is no ledger at"):
        existing_ledger(None, None, str(ledger))
    ledger.touch()
    assert existing_ledger(None, None, str(ledger)).out == tmp_path
    assert existing_ledger(None, str(tmp_path / "out"), str(ledger)).out == tmp_path / "out"


def test_a_runs_folder_may_stand_for_its_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    assert folder_of("runs/digits", None, None) == ("runs/digits", None)
    (tmp_path / "runs" / "digits" / "ledger.db").touch()
    assert folder_of("runs/digits", None, None) == (None, "runs/digits")
    assert folder_of("batchlimit-digits", None, None) == (None, "batchlimit-digits")
    assert folder_of("digits", None, None) == ("digits", None)
    assert folder_of("digits", "out", None) == ("digits", "out")
    # A workload of this name wins over a folder of this name.
    (tmp_path / "batchlimit-runs-digits").mkdir()
    (tmp_path / "batchlimit-runs-digits" / "ledger.db").touch()
    assert folder_of("runs/digits", None, None) == ("runs/digits", None)
