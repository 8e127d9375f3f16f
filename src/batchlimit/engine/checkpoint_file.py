"""A state in a file that is whole or not there: written beside and moved into its place, with its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import torch

_DIGEST, _LENGTH, _CHUNK = hashlib.sha256().digest_size, 8, 1 << 20


class Digesting:
    """Takes what is written to it into a SHA-256, and passes it on to a file if there is one."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> int:
        """Take bytes in and return how many."""
        self.sha256.update(data)
        return self._file.write(data) if self._file is not None else len(data)

    def flush(self) -> None:
        """Pass it on to the file."""
        if self._file is not None:
            self._file.flush()

    def save(self, state: Any) -> None:
        """Write `state` as `torch.save` does."""
        torch.save(state, cast(IO[bytes], self))  # it asks for no more of a file


def write_state(path: Path, state: Any, facts: bytes) -> None:
    """Write `state` and the `facts` that are to hold where it is read; killed at any time, a whole file is there.

    The file is what `torch.save` writes, the facts, their length in 8 bytes, and the SHA-256 of all these.

    Raises:
        OSError: it cannot be written. What else `torch.save` makes of a state is raised as it is.
    """
    with _beside(path) as file:
        digesting = Digesting(file)
        digesting.save(state)
        digesting.write(facts + len(facts).to_bytes(_LENGTH))
        file.write(digesting.sha256.digest())


def read_state(path: Path, facts: bytes) -> Any:
    """Return the state in a file, on the CPU; None if there is no file, not a whole one, or one of other facts.

    Reading takes the memory of the state, once.
    """
    try:
        file = path.open("rb")
    except OSError:
        return None
    with file:
        end = os.fstat(file.fileno()).st_size - _DIGEST
        if end < _LENGTH or _digest(file, end) != file.read(_DIGEST):
            return None
        file.seek(end - _LENGTH)
        state_end = end - _LENGTH - int.from_bytes(file.read(_LENGTH))
        file.seek(max(0, state_end))
        if file.read(len(facts)) != facts or file.tell() != end - _LENGTH:
            return None
        return torch.load(cast(IO[bytes], _Beginning(file, state_end)), map_location="cpu", weights_only=True)


def remove_state(path: Path) -> None:
    """Remove the file, and what a process that was killed while it wrote has left beside it."""
    with contextlib.suppress(OSError):
        for left in [path, *path.parent.glob(f"{path.stem}.*.tmp")]:
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `path` that takes its place once it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _digest(file: IO[bytes], end: int) -> bytes:
    """Return the SHA-256 of a file's first `end` bytes, leaving it there."""
    sha256 = hashlib.sha256()
    while end > 0 and (chunk := file.read(min(end, _CHUNK))):
        sha256.update(chunk)
        end -= len(chunk)
    return sha256.digest()


class _Beginning(io.RawIOBase):
    """The first `size` bytes of a file, as a file: a zip archive is read from its end."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file, self._size = file, size
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size}[whence]
        return self._file.seek(start + offset)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._file.read(min(len(view), max(0, self._size - self._file.tell())))
        view[: len(data)] = data
        return len(data)
