"""The ledger: the store of records, over an Optuna storage (a SQLite file, or PostgreSQL by URL)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from batchlimit.errors import InputError
from batchlimit.ledger import codec
from batchlimit.records import TrialRecord
from batchlimit.validation import user_path

if TYPE_CHECKING:
    from batchlimit.ledger.store import Store

MEMORY = ":memory:"


class Ledger:
    """All records of one store, read into memory once and kept in step; only one process at a time may add to it.

    A trial is identified by the hash of its configuration. Adding a record of a trial that is already there replaces
    it in memory and is written behind it in the store (a failed trial that was run again, say). Documents are texts by
    kind and name: the question a search asked, the fingerprint of a workload.
    """

    def __init__(
        self,
        location: str,
        store: Store | None,
        records: list[TrialRecord],
        documents: codec.Documents,
        *,
        writable: bool,
    ) -> None:
        self.location = location
        self._store = store
        self._records = {record.hash: record for record in records}
        self._documents = documents
        self._writable = writable

    @classmethod
    def open(cls, location: str | Path, *, create: bool = True) -> Ledger:
        """Open the ledger at `location`: a file path, a PostgreSQL URL, or ':memory:'.

        With `create=True` it is opened for adding: made if missing, and claimed by this process until closed. With
        `create=False` it must exist and is only read, which needs no claim and no permission to write; an exported
        ledger (`.jsonl`, `.jsonl.gz`) can be read so too.

        Raises:
            InputError: it is missing, unreadable, unwritable, no ledger, of a newer version, in use by another
                driver, or needs a driver that is not installed; one line says which.
        """
        name = str(location)
        if name == MEMORY:
            return cls(name, None, [], {}, writable=True)
        if name.startswith("sqlite:///"):
            name = name.removeprefix("sqlite:///")
        if "://" in name:
            from batchlimit.ledger.store import open_url

            store = open_url(name, writing=create)
            return cls._filled(store.where, store, writable=create)
        return cls._open_file(user_path(name).resolve(), writing=create)

    @classmethod
    def _open_file(cls, path: Path, *, writing: bool) -> Ledger:
        from batchlimit.ledger import sqlite
        from batchlimit.ledger.store import open_file

        if codec.is_export(path):
            if writing:
                raise InputError(f"'{path}' is an exported ledger: it can be read or imported, not added to.")
            records, documents = codec.read_jsonl(path)
            return cls(str(path), None, records, documents, writable=False)
        if writing:
            return cls._filled(str(path), open_file(path, writing=True), writable=True)
        sqlite.check_file(path, writing=False)
        if not sqlite.readable_in_place(path):
            with tempfile.TemporaryDirectory() as folder:
                copy = sqlite.copy_into(path, Path(folder))
                return cls._filled(str(path), open_file(copy, writing=False), writable=False)
        return cls._filled(str(path), open_file(path, writing=False), writable=False)

    @classmethod
    def _filled(cls, location: str, store: Store, *, writable: bool) -> Ledger:
        try:
            records, documents = store.load()
        except BaseException:
            store.close()
            raise
        if not writable:
            store.close()
        return cls(location, store if writable else None, records, documents, writable=writable)

    def get(self, hash: str) -> TrialRecord | None:
        """Return the record of the trial with this configuration hash, or None."""
        return self._records.get(hash)

    def add(self, record: TrialRecord) -> None:
        """Add a record; on return it survives a kill. A record that is there already, equal, is not written again.

        Raises:
            InputError: the ledger was opened for reading.
            LedgerError: the database refused it (the disk is full, say).
        """
        self._check_writable()
        if self._records.get(record.hash) == record:
            return
        if self._store is not None:
            self._store.append(record)
        self._records[record.hash] = record

    def records(self) -> list[TrialRecord]:
        """Return one record a trial, in order of (first) arrival."""
        return list(self._records.values())

    def put_document(self, kind: str, name: str, text: str) -> None:
        """Store a text under a kind (no colon in it) and a name, in place of the one that is there.

        Raises:
            InputError: the ledger was opened for reading.
            LedgerError: as `add`.
        """
        assert ":" not in kind, "a colon separates kind and name in the store"
        self._check_writable()
        if self._documents.get((kind, name)) == text:
            return
        if self._store is not None:
            self._store.put_document(kind, name, text)
        self._documents[kind, name] = text

    def document(self, kind: str, name: str) -> str | None:
        """Return the text stored under a kind and a name, or None."""
        return self._documents.get((kind, name))

    def documents(self, kind: str) -> dict[str, str]:
        """Return all texts of one kind by name."""
        return {name: text for (found, name), text in self._documents.items() if found == kind}

    def export_jsonl(self, path: str | Path) -> None:
        """Write all records and documents to a text file, one record a line; gzip if the name ends in .gz.

        Raises:
            InputError: the file cannot be written.
        """
        codec.write_jsonl(Path(path), self.records(), self._documents)

    def import_jsonl(self, path: str | Path) -> int:
        """Add the records and documents of an exported ledger that are missing here; return how many records were.

        A trial that failed here counts as missing.

        Raises:
            InputError: the file is no exported ledger, or of another workload of the same name, or this one was opened
                for reading.
        """
        self._check_writable()
        records, documents = codec.read_jsonl(Path(path))
        for (kind, name), text in documents.items():
            if kind == "workload" and self.document(kind, name) not in (None, text):
                raise InputError(
                    f"'{path}' was made with another '{name}' ({text}; here {self.document(kind, name)}). "
                    "Valid: exports of trials of the same workload."
                )
        missing = [r for r in records if (known := self.get(r.hash)) is None or known.status == "failed" != r.status]
        for record in missing:
            self.add(record)
        for (kind, name), text in documents.items():
            if (kind, name) not in self._documents:
                self.put_document(kind, name, text)
        return len(missing)

    def close(self) -> None:
        """Close the store and give the claim up; what was read stays readable."""
        store, self._store = self._store, None
        self._writable = self._writable and self.location == MEMORY
        if store is not None:
            store.close()

    def _check_writable(self) -> None:
        if not self._writable:
            raise InputError(f"The ledger '{self.location}' is not open for adding.")

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, hash: object) -> bool:
        return hash in self._records

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
