"""Where users already have MNIST-like data sets: our folder and cache, torchvision, Keras, Hugging Face, Debian."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batchlimit.data import idx
from batchlimit.data.image_arrays import PARTS, ImageArrays
from batchlimit.errors import InputError
from batchlimit.validation import user_path


class MissingPartsError(InputError):
    """A folder holds some of the parts only, as after an interrupted fetch; `present` has those that could be read."""

    def __init__(self, message: str, present: Mapping[str, idx.Bytes]) -> None:
        super().__init__(message)
        self.present = dict(present)


@dataclass(frozen=True)
class Layout:
    """What others call a data set: torchvision's folder, Keras's entry, Hugging Face's repositories, Debian's path."""

    torchvision: str
    keras: str
    hugging_face: tuple[str, ...]
    debian: str | None = None


@dataclass(frozen=True)
class Place:
    """A folder or file that may hold a data set; `explicit` if the user named it, so that a fault in it is an error.

    `slow` says that reading it takes seconds, so that a copy in our cache is worth its space.
    """

    path: Path
    read: Callable[[Path], ImageArrays]
    explicit: bool = False

    @property
    def slow(self) -> bool:
        return self.read is read_parquet_folder


def data_folder() -> Path | None:
    """Return the folder that BATCHLIMIT_DATA names, None where it is not set."""
    named = os.environ.get("BATCHLIMIT_DATA")
    return user_path(named) if named else None


def cache_folder() -> Path:
    """Return our own cache: $XDG_CACHE_HOME/batchlimit, by default ~/.cache/batchlimit."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "batchlimit"


def places(name: str, layout: Layout) -> Iterator[Place]:
    """Yield the places on this machine that hold something by the name of this data set, the user's own first."""
    named = data_folder()
    if named is not None:
        yield from _in_folder(named, name, layout, explicit=True)
    home = Path.home()
    roots = (cache_folder(), Path("data"), home / "data", home / ".torch" / "datasets", home / "datasets")
    for root in roots:
        for folder in (root / name, root / layout.torchvision / "raw"):
            if _has_idx(folder):
                yield Place(folder, read_idx_folder)
    yield from _keras(layout)
    yield from _hugging_face(layout)
    if layout.debian and _has_idx(Path(layout.debian)):
        yield Place(Path(layout.debian), read_idx_folder)


def idx_file(folder: Path, part: str) -> Path | None:
    """Return the IDX file of `part` in `folder` under any of its usual names, None where there is none."""
    for joint in ("-", "."):
        for ending in ("", ".gz"):
            path = folder / f"{part}{joint}idx{_dimensions(part)}-ubyte{ending}"
            if path.is_file():
                return path
    return None


def archive_name(part: str) -> str:
    """Return the name under which mirrors serve the IDX file of `part`."""
    return f"{part}-idx{_dimensions(part)}-ubyte.gz"


def read_idx_folder(folder: Path) -> ImageArrays:
    """Return the arrays of the four IDX files in `folder`.

    Raises:
        MissingPartsError: files are missing, and those that are there are well-formed.
        InputError: a file is unreadable or not what its name says.
    """
    paths = {part: idx_file(folder, part) for part in PARTS}
    present = {part: _read_part(path, part) for part, path in paths.items() if path is not None}
    missing = [archive_name(part).removesuffix(".gz") for part in PARTS if part not in present]
    if missing:
        raise MissingPartsError(f"{folder} lacks {', '.join(missing)} (or the same with .gz).", present)
    return ImageArrays(str(folder), *present.values())


def read_archives(folder: Path) -> ImageArrays:
    """Return the arrays of the four files in `folder` that mirrors serve, whatever lies beside them.

    Raises:
        InputError: a file is missing, unreadable or not what its name says.
    """
    return ImageArrays(str(folder), *(_read_part(folder / archive_name(part), part) for part in PARTS))


def write_idx_folder(folder: Path, arrays: ImageArrays) -> None:
    """Write the arrays as the four IDX files, uncompressed; each appears under its name only when whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, array in arrays.by_part().items():
        name = archive_name(part).removesuffix(".gz")
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_bytes(idx.header(array) + array.tobytes())
        os.replace(partial, folder / name)


def read_npz(path: Path) -> ImageArrays:
    """Return the arrays of a Keras .npz file: x_train, y_train, x_test, y_test.

    Raises:
        InputError: the file cannot be read, or one of these is missing.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = [content[key].astype(np.uint8) for key in ("x_train", "y_train", "x_test", "y_test")]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not a readable Keras file of x_train, y_train, x_test, y_test ({error})."
        ) from error
    return ImageArrays(str(path), *arrays)


def read_parquet_folder(folder: Path) -> ImageArrays:
    """Return the arrays of a Hugging Face snapshot: train-*.parquet and test-*.parquet with columns image and label.

    Raises:
        InputError: pyarrow is not installed, or the files cannot be read.
    """
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError(f"{folder} is there, but reading Parquet needs pyarrow (pip install pyarrow).") from error
    train_images, train_labels = _parquet_split(parquet, folder, "train")
    test_images, test_labels = _parquet_split(parquet, folder, "test")
    return ImageArrays(str(folder), train_images, train_labels, test_images, test_labels)


def _dimensions(part: str) -> int:
    return 3 if part.endswith("images") else 1


def _read_part(path: Path, part: str) -> idx.Bytes:
    array = idx.read(path)
    if array.ndim != _dimensions(part):
        raise InputError(f"{path} holds {array.ndim} dimensions, which is wrong for {part}.")
    return array


def _parquet_split(parquet: Any, folder: Path, split: str) -> tuple[idx.Bytes, idx.Bytes]:
    from PIL import Image

    images: list[idx.Bytes] = []
    labels: list[int] = []
    try:
        for path in sorted(folder.glob(f"{split}-*.parquet")):
            table = parquet.read_table(path, columns=["image", "label"])
            pictures = (Image.open(io.BytesIO(entry["bytes"])) for entry in table.column("image").to_pylist())
            images.extend(np.asarray(picture.convert("L")) for picture in pictures)
            labels.extend(table.column("label").to_pylist())
    # pyarrow's own errors derive from ValueError, KeyError and OSError; Pillow's from OSError.
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: cannot read the {split} split ({error}).") from error
    if not images:
        raise MissingPartsError(f"{folder} lacks {split}-*.parquet.", {})
    return np.stack(images), np.asarray(labels, dtype=np.uint8)


def _has_idx(folder: Path) -> bool:
    return any(idx_file(folder, part) is not None for part in PARTS)


def _in_folder(root: Path, name: str, layout: Layout, *, explicit: bool) -> Iterator[Place]:
    for folder in (root / name, root / layout.keras, root / layout.torchvision / "raw", root / "raw", root):
        if _has_idx(folder):
            yield Place(folder, read_idx_folder, explicit)
    for file in (root / f"{name}.npz", root / name / f"{name}.npz"):
        if file.is_file():
            yield Place(file, read_npz, explicit)
    if any(root.glob("train-*.parquet")):
        yield Place(root, read_parquet_folder, explicit)


def _keras(layout: Layout) -> Iterator[Place]:
    root = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    if (root / f"{layout.keras}.npz").is_file():
        yield Place(root / f"{layout.keras}.npz", read_npz)
    if _has_idx(root / layout.keras):
        yield Place(root / layout.keras, read_idx_folder)


def _hugging_face(layout: Layout) -> Iterator[Place]:
    home = Path(
        os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    for repository in layout.hugging_face:
        for file in sorted(hub.glob(f"datasets--{repository.replace('/', '--')}/snapshots/*/*/train-*.parquet")):
            yield Place(file.parent, read_parquet_folder)
