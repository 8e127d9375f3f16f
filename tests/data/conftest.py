"""A machine without any data: no home, no cache, no mirror; and a small well-formed image set to put on it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batchlimit.data import fetching, idx
from batchlimit.data.image_arrays import PARTS, ImageArrays, content_hash
from batchlimit.data.image_set import ImageSet
from batchlimit.data.mnist import MNIST


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("BATCHLIMIT_DATA", "BATCHLIMIT_DATA_UNVERIFIED", "KERAS_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 2.0)
    return home


@pytest.fixture
def arrays() -> ImageArrays:
    """Return 30 + 20 images in ten classes."""
    random = np.random.RandomState(3)
    return ImageArrays(
        "made",
        random.randint(0, 256, (30, 28, 28)).astype(np.uint8),
        np.tile(np.arange(10, dtype=np.uint8), 3),
        random.randint(0, 256, (20, 28, 28)).astype(np.uint8),
        np.tile(np.arange(10, dtype=np.uint8), 2),
    )


@pytest.fixture
def small_set(arrays: ImageArrays) -> ImageSet:
    """Return MNIST's entry with the small arrays as its known contents and mirrors that refuse at once."""
    return replace(
        MNIST,
        content={part: content_hash(array) for part, array in arrays.by_part().items()},
        mirrors=("http://127.0.0.1:9/first", "http://127.0.0.1:9/second"),
        validation_size=5,
    )


Write = Callable[..., Path]


@pytest.fixture
def write_idx() -> Write:
    """Return a function that writes the four IDX files of arrays into a folder."""

    def write(folder: Path, arrays: ImageArrays, *, packed: bool = True, joint: str = "-") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for part, array in zip(PARTS, arrays.by_part().values(), strict=True):
            content = idx.header(array) + array.tobytes()
            name = f"{part}{joint}idx{array.ndim}-ubyte"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (folder / name).write_bytes(content)
        return folder

    return write
