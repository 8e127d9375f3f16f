"""The IDX format of MNIST and its descendants: read, checked, and written back for hashing."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchlimit.errors import InputError

Bytes = NDArray[np.uint8]
_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08


def header(array: Bytes) -> bytes:
    """Return the IDX header of an array of unsigned bytes: magic (0, 0, 8, dimensions) and the sizes, big-endian."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, _UNSIGNED_BYTE, array.ndim, *array.shape)


def read(path: Path) -> Bytes:
    """Return the array of unsigned bytes in an IDX file, compressed with gzip or not (told by content, not by name).

    Raises:
        InputError: the file cannot be read, is truncated, has a wrong magic number or a size that its header denies.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    if content[:2] == _GZIP_MAGIC:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is truncated or damaged gzip ({error}). Delete it and get it again.") from error
    return parse(content, str(path))


def parse(content: bytes, origin: str) -> Bytes:
    """Return the array that IDX `content` holds, as a writable copy; `origin` names it in errors.

    Raises:
        InputError: a magic number that is not IDX of unsigned bytes, or more or fewer bytes than the header says.
    """
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or not 1 <= content[3] <= 4:
        raise InputError(
            f"{origin} is not an IDX file of unsigned bytes: it starts with {content[:4].hex() or 'nothing'}, "
            "not 00000801 or 00000803."
        )
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise InputError(f"{origin} is truncated: {len(content)} bytes are less than its header of {start}.")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        size = " x ".join(map(str, shape))
        raise InputError(f"{origin} is {state}: {len(content)} bytes, where its header ({size}) says {expected}.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
