"""Records as text: what one row of a ledger, or one line of an exported one, looks like."""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from batchlimit.errors import InputError
from batchlimit.records import TrialRecord

SCHEMA = 1
_PACKED = "zlib:"
_LONG = 4000  # characters; shorter records stay readable in the database
_HEADER = "batchlimit_ledger"
Documents = dict[tuple[str, str], str]


def encode(record: TrialRecord) -> str:
    """Return the record as JSON without defaults, packed (zlib, base64) when long."""
    text = record.model_dump_json(exclude_defaults=True)
    if len(text) <= _LONG:
        return text
    return _PACKED + base64.b64encode(zlib.compress(text.encode())).decode()


def decode(text: str, where: str) -> TrialRecord:
    """Return the record that `encode` wrote.

    Raises:
        InputError: the text is no record of this version; `where` says in the message what was being read.
    """
    try:
        if text.startswith(_PACKED):
            text = zlib.decompress(base64.b64decode(text[len(_PACKED) :], validate=True)).decode()
        return TrialRecord.model_validate_json(text)
    except (ValidationError, zlib.error, binascii.Error, UnicodeDecodeError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{where} is no trial record of this version of batchlimit ({what}).") from error


def check_schema(found: object, where: str) -> None:
    """Check that a ledger's schema version can be read.

    Raises:
        InputError: it is newer than this version of batchlimit, or no version at all.
    """
    if isinstance(found, int) and found > SCHEMA:
        raise InputError(
            f"{where} was written by a newer batchlimit (schema {found}; this one reads {SCHEMA}). Upgrade batchlimit."
        )
    if found != SCHEMA:
        raise InputError(f"{where} has an unreadable schema version ({found!r}); this batchlimit reads {SCHEMA}.")


def is_export(path: Path) -> bool:
    """Return whether the name is that of an exported ledger: it ends in .jsonl or .jsonl.gz."""
    return path.name.endswith((".jsonl", ".jsonl.gz"))


def write_jsonl(path: Path, records: Iterable[TrialRecord], documents: Documents) -> None:
    """Write a header line with the documents, then one record a line; gzip if the name ends in .gz. Atomic.

    Raises:
        InputError: the file cannot be written.
    """
    header = {_HEADER: SCHEMA, "documents": [[*key, text] for key, text in sorted(documents.items())]}
    lines = [json.dumps(header), *(record.model_dump_json(exclude_defaults=True) for record in records)]
    data = ("\n".join(lines) + "\n").encode()
    if path.name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)  # the same ledger gives the same bytes
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise InputError(f"Cannot write the exported ledger '{path}': {error.strerror}.") from error


def read_jsonl(path: Path) -> tuple[list[TrialRecord], Documents]:
    """Return the records and documents that `write_jsonl` wrote.

    Raises:
        InputError: the file is missing, unreadable, truncated, of a newer schema, or no exported ledger.
    """
    try:
        data = path.read_bytes()
        if path.name.endswith(".gz"):
            data = gzip.decompress(data)
        lines = data.decode().split("\n")  # splitlines() would split inside texts, too
        header = json.loads(lines[0]) if lines[0] else None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"Cannot read the exported ledger '{path}': {error}.") from error
    if not isinstance(header, dict) or _HEADER not in header:
        raise InputError(f"'{path}' is no exported ledger: its first line lacks '{_HEADER}'.")
    check_schema(header[_HEADER], f"'{path}'")
    documents = {(kind, name): text for kind, name, text in header.get("documents", [])}
    records = [decode(line, f"Line {number} of '{path}'") for number, line in enumerate(lines[1:], 2) if line]
    return records, documents
