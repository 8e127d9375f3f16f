"""One driver owns a ledger: claims that the operating system or the server releases when their holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from batchlimit.errors import InputError


class FileClaim:
    """The exclusive claim on a ledger file, held through a lock on `<name>.lock` beside it.

    The lock belongs to the open file, so a killed driver leaves none behind; the lock file itself stays, because
    removing it would let two drivers lock two files of one name.

    Raises:
        InputError: another driver holds the claim (the message names its process and host), or the folder cannot be
            written to.
    """

    def __init__(self, ledger: Path) -> None:
        path = ledger.with_name(ledger.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(f"Cannot write the ledger '{ledger}': {error.strerror}.") from error
        self._file: IO[str] = os.fdopen(descriptor, "r+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise in_use(str(ledger), holder) from None
        except OSError as error:
            self._file.close()
            raise InputError(f"Cannot lock the ledger '{ledger}': {error.strerror}.") from error
        self._file.truncate(0)
        self._file.write(holder_text() + "\n")
        self._file.flush()

    def release(self) -> None:
        """Give the claim up."""
        self._file.close()


def holder_text() -> str:
    """Return how this process names itself to another driver."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def in_use(ledger: str, holder: str) -> InputError:
    """Return the error for a ledger that another driver owns."""
    return InputError(f"The ledger '{ledger}' is in use by {holder}. Wait for it, stop it, or name another ledger.")
