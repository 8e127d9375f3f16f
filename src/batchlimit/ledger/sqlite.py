"""A SQLite file as an Optuna storage: checked before it is opened, and opened so that a kill loses nothing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from batchlimit.errors import InputError

_MAGIC = b"SQLite format 3\0"
_OPTUNA_TABLES = {"studies", "study_user_attributes", "trials", "trial_user_attributes", "version_info"}
_WAIT_S = 30.0


def check_file(path: Path, *, writing: bool) -> None:
    """Check that `path` is, or can become, a SQLite file with an Optuna storage in it.

    Raises:
        InputError: it is a folder, no SQLite file, a SQLite file of something else, missing or not writable.
    """
    if path.is_dir():
        raise InputError(f"The ledger '{path}' is a folder. Name a file in it, as '{path / 'ledger.db'}'.")
    if not path.exists():
        if writing:
            return
        raise InputError(f"There is no ledger '{path}'.")
    if not os.access(path, os.W_OK if writing else os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError(f"The ledger '{path}' cannot be {'written' if writing else 'read'}: permission denied.")
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start == b"" and writing:
        return
    if start != _MAGIC:
        raise InputError(f"'{path}' is not a ledger: it is no SQLite file.")


def check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file's tables, if it has any, are those of an Optuna storage.

    Raises:
        InputError: it is damaged, or a database of something else.
    """
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise InputError(f"The ledger '{path}' cannot be read: {error}.") from error
    if tables and not tables & _OPTUNA_TABLES:
        raise InputError(f"'{path}' is not a ledger: it is a SQLite file of something else.")


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """Return a connection; for writing in WAL mode, each commit on disk before it returns.

    WAL lets `report` read while a driver writes, and a process killed at any moment leaves whole transactions only.
    """
    if not writing:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S, check_same_thread=False
        )
    connection = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def readable_in_place(path: Path) -> bool:
    """Return whether SQLite can open the file where it is: a WAL database needs a folder that can be written to."""
    try:
        with contextlib.closing(connect(path, writing=False)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:  # damaged, which no copy mends
        return True
    return True


def copy_into(path: Path, folder: Path) -> Path:
    """Copy a database and its write-ahead log into `folder`; return the copy."""
    copy = folder / "ledger.db"
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
    return copy
