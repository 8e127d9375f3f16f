"""The IDX format: what is read, and what is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from batchlimit.data import idx
from batchlimit.errors import InputError


def as_idx(array: np.ndarray) -> bytes:
    return idx.header(array) + array.tobytes()


@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (2, 28, 28)])
def test_what_is_written_is_read(shape: tuple[int, ...]) -> None:
    array = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    assert np.array_equal(idx.parse(as_idx(array), "here"), array)


def test_header_is_that_of_the_published_files() -> None:
    assert idx.header(np.zeros((60000, 28, 28), np.uint8)).hex() == "00000803" + "0000ea60" + "0000001c" + "0000001c"
    assert idx.header(np.zeros(10000, np.uint8)).hex() == "00000801" + "00002710"


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    array = np.arange(10, dtype=np.uint8)
    plain, packed = tmp_path / "plain.gz", tmp_path / "packed"
    plain.write_bytes(as_idx(array))
    packed.write_bytes(gzip.compress(as_idx(array)))
    assert np.array_equal(idx.read(plain), array)
    assert np.array_equal(idx.read(packed), array)


def test_arrays_can_be_written_to() -> None:
    read = idx.parse(as_idx(np.arange(4, dtype=np.uint8)), "here")
    read[0] = 9
    assert read[0] == 9


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "nothing"),
        (b"\x00\x00", "not an IDX file"),
        (struct.pack(">BBBBI", 0, 0, 0x0D, 1, 4) + bytes(16), "00000d01"),
        (b"<html>404</html>", "not an IDX file"),
        (struct.pack(">BBBBI", 0, 0, 8, 3, 4), "truncated"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 4) + bytes(3), "truncated"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 4) + bytes(5), "too long"),
    ],
)
def test_wrong_content_is_refused_in_one_line(content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        idx.parse(content, "some/file")
    assert "some/file" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(as_idx(np.arange(200, dtype=np.uint8)))[:-20])
    with pytest.raises(InputError, match=r"truncated or damaged gzip .* Delete it"):
        idx.read(path)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(as_idx(np.random.RandomState(0).randint(0, 256, 5000).astype(np.uint8))))
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "file.gz"
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="gzip"):
        idx.read(path)


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read"):
        idx.read(tmp_path)
