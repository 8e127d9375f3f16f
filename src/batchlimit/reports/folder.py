"""The folder that a report is written to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from batchlimit.errors import InputError


def check_writable(folder: str | Path) -> Path:
    """Make `folder` and prove that a file can be written in it; return it as a path.

    Meant to be called before any training, so that hours of trials never end at a closed door.

    Raises:
        InputError: the folder cannot be made or written to; one line with the reason.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".batchlimit-"):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"Cannot write to the output folder '{path}': {reason}. Valid: a folder that you may write to (--out)."
        ) from None
    return path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of one."""
    data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
