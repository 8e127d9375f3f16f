"""An Optuna storage as a store of texts: one trial a record, study attributes for documents.

A record is written by one `create_new_trial` call, which is one transaction: it is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchlimit.errors import InputError, LedgerError
from batchlimit.ledger import codec, sqlite
from batchlimit.ledger.claim import FileClaim, holder_text, in_use
from batchlimit.records import TrialRecord

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

STUDY = "batchlimit"
_RECORD = "record"
_SCHEMA = "batchlimit_schema"
_DOCUMENT = "document"
_ADVISORY_LOCK = 0x6261746368  # "batch": one ledger a database


class Store:
    """An open Optuna storage with batchlimit's study in it, and the claim on it when opened for writing."""

    def __init__(self, storage: RDBStorage, where: str, claim: Any, *, writing: bool) -> None:
        self._storage = storage
        self.where = where
        self._claim = claim
        self._study = _study_id(storage, where, writing=writing)

    def load(self) -> tuple[list[TrialRecord], codec.Documents]:
        """Return all records in order of arrival, and all documents."""
        documents: codec.Documents = {}
        for key, value in self._storage.get_study_user_attrs(self._study).items():
            kind, _, rest = key.partition(":")
            if kind == _DOCUMENT:
                kind, _, name = rest.partition(":")
                documents[kind, name] = value
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        texts = [t.user_attrs[_RECORD] for t in sorted(trials, key=lambda t: t.number) if _RECORD in t.user_attrs]
        records = [codec.decode(text, f"Record {n} of the ledger '{self.where}'") for n, text in enumerate(texts, 1)]
        return records, documents

    def append(self, record: TrialRecord) -> None:
        """Write one record; on return it is on disk.

        Raises:
            LedgerError: the database refused it (the disk is full, say).
        """
        with self._refusing("a record"):
            self._storage.create_new_trial(self._study, template_trial=_as_optuna_trial(record))

    def put_document(self, kind: str, name: str, text: str) -> None:
        """Write one document, in place of the one of the same kind and name.

        Raises:
            LedgerError: as `append`.
        """
        with self._refusing("a document"):
            self._storage.set_study_user_attr(self._study, f"{_DOCUMENT}:{kind}:{name}", text)

    @contextlib.contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        """Turn what the database says against a write into one line."""
        try:
            yield
        except Exception as error:
            raise LedgerError(
                f"The ledger '{self.where}' could not take {what}: {_first_line(error)}. What it holds is kept. Once "
                "it can be written, the same command goes on."
            ) from error

    def close(self) -> None:
        """Close the database and give the claim up."""
        self._storage.remove_session()
        self._storage.engine.dispose()
        if self._claim is not None:
            self._claim.release()


def open_file(path: Path, *, writing: bool) -> Store:
    """Open a SQLite file.

    Raises:
        InputError: see `ledger.Ledger.open`.
    """
    sqlite.check_file(path, writing=writing)
    claim = FileClaim(path) if writing else None
    made: list[sqlite3.Connection] = []

    def connect() -> sqlite3.Connection:
        made.append(sqlite.connect(path, writing=writing))
        return made[-1]

    try:
        with _as_input_error(str(path)):
            if path.exists() and path.stat().st_size > 0:
                with contextlib.closing(sqlite.connect(path, writing=False)) as connection:
                    sqlite.check_tables(connection, path)  # before anything is changed in a file of someone else

            from sqlalchemy.pool import QueuePool

            options = {"creator": connect, "poolclass": QueuePool}
            return Store(_storage("sqlite://", options, writing=writing), str(path), claim, writing=writing)
    except BaseException:
        # One left open by a half-made storage would keep its view of the write-ahead log for this whole process. When
        # another process takes that log away at its end, whoever opens the file here next finds it malformed.
        for connection in made:
            connection.close()
        if claim is not None:
            claim.release()
        raise


def open_url(url: str, *, writing: bool) -> Store:
    """Open a PostgreSQL database by URL.

    Raises:
        InputError: see `ledger.Ledger.open`.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(f"Cannot read the ledger's URL: {_first_line(error)}") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise InputError(
            f"Unknown ledger URL scheme '{parsed.drivername}'. Valid: a file path, sqlite:///path, postgresql://."
        )
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    where = parsed.render_as_string(hide_password=True)
    try:
        with _as_input_error(where):
            options = {"connect_args": {"application_name": holder_text()}, "pool_pre_ping": True}
            storage = _storage(parsed.render_as_string(hide_password=False), options, writing=writing)
            claim = ServerClaim(storage, where) if writing else None
            try:
                return Store(storage, where, claim, writing=writing)
            except BaseException:
                if claim is not None:
                    claim.release()
                raise
    except ImportError as error:
        raise InputError(
            f"The ledger '{where}' needs the PostgreSQL driver. Install it: pip install 'batchlimit[postgres]'."
        ) from error


class ServerClaim:
    """The exclusive claim on a PostgreSQL ledger: a session-level advisory lock, released when its connection ends.

    Raises:
        InputError: another driver holds the claim; the message names its process and host.
    """

    def __init__(self, storage: RDBStorage, where: str) -> None:
        from sqlalchemy import text

        self._connection = storage.engine.connect()
        taken = self._connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_LOCK}).scalar()
        if not taken:
            holder = self._connection.execute(
                text(
                    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = "
                    "'advisory' AND l.granted AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
                ),
                {"key": _ADVISORY_LOCK},
            ).scalar()
            self._connection.close()
            raise in_use(where, str(holder or "another process"))
        self._connection.commit()  # the lock is the session's, not the transaction's

    def release(self) -> None:
        """Give the claim up."""
        self._connection.invalidate()
        self._connection.close()


def _storage(url: str, engine_kwargs: dict[str, Any], *, writing: bool) -> RDBStorage:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(url, engine_kwargs=engine_kwargs, skip_table_creation=not writing)


def _study_id(storage: RDBStorage, where: str, *, writing: bool) -> int:
    from optuna.exceptions import DuplicatedStudyError
    from optuna.study import StudyDirection

    try:
        study = storage.get_study_id_from_name(STUDY)
    except KeyError:
        if not writing:
            raise InputError(f"'{where}' holds no batchlimit ledger.") from None
        with contextlib.suppress(DuplicatedStudyError):
            storage.create_new_study([StudyDirection.MAXIMIZE], STUDY)
        study = storage.get_study_id_from_name(STUDY)
    attributes = storage.get_study_user_attrs(study)
    if _SCHEMA in attributes:
        codec.check_schema(attributes[_SCHEMA], f"The ledger '{where}'")
    elif writing:  # new, or its maker was killed between the two steps
        storage.set_study_user_attr(study, _SCHEMA, codec.SCHEMA)
    return study


def _as_optuna_trial(record: TrialRecord) -> Any:
    from optuna.trial import FrozenTrial, TrialState

    metric = record.selection.metric if record.selection is not None else None
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    state = states.get(record.status, TrialState.FAIL)
    if state == TrialState.COMPLETE and metric is None:
        state = TrialState.FAIL
    now = datetime.now()
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=metric if state == TrialState.COMPLETE else None,
        datetime_start=now,
        datetime_complete=now,
        params={},
        distributions={},
        user_attrs={"hash": record.hash, _RECORD: codec.encode(record)},
        system_attrs={},
        intermediate_values={},
    )


@contextlib.contextmanager
def _as_input_error(where: str) -> Iterator[None]:
    """Turn what the database says while it is opened into one line; an ImportError passes."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error, OSError, RuntimeError) as error:
        if isinstance(error.__cause__, ProgrammingError):  # no tables: nothing of ours was ever there
            raise InputError(f"'{where}' holds no batchlimit ledger.") from error
        raise InputError(f"Cannot open the ledger '{where}': {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if error.__cause__ is not None else error
    cause = getattr(cause, "orig", None) or cause  # the database's own words, without SQLAlchemy's about them
    return (str(cause).splitlines() or [type(cause).__name__])[0]
