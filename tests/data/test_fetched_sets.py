"""After a fetch the verified archives are read; a folder that lacks parts is completed, a damaged one is an error."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from batchlimit.data import datasets, idx, image_set
from batchlimit.data.image_arrays import ImageArrays
from batchlimit.data.image_set import ImageSet
from batchlimit.data.splits import DataSet
from batchlimit.errors import InputError

Write = Callable[..., Path]
LABELS = "train-labels-idx1-ubyte"
NAMES = [
    f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
]


@pytest.fixture
def mirror(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """Return the small set with a mirror: `folder` holds what it serves, `served` the names it was asked for."""
    folder = write_idx(tmp_path / "served", arrays)
    found = SimpleNamespace(folder=folder, served=[])
    hashes = {name.split("-idx")[0]: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES}
    found.set = replace(small_set, archives=hashes)

    def fetch_files(title: str, files: dict[str, str], mirrors: object, into: Path, *, advice: str) -> Path:
        into.mkdir(parents=True, exist_ok=True)
        for name, sha256 in files.items():
            if not (into / name).is_file() or hashlib.sha256((into / name).read_bytes()).hexdigest() != sha256:
                shutil.copyfile(folder / name, into / name)
                found.served.append(name)
        return into

    monkeypatch.setattr(image_set, "fetch_files", fetch_files)
    return found


def wrong_labels(arrays: ImageArrays) -> bytes:
    """Return a well-formed file of labels, each another than the right one."""
    labels = ((arrays.train_labels + 1) % 10).astype(np.uint8)
    return idx.header(labels) + labels.tobytes()


def is_right(found: DataSet, arrays: ImageArrays) -> bool:
    return np.array_equal(found.train.targets.numpy(), arrays.train_labels) and np.array_equal(
        found.train.inputs[:, 0].numpy(), arrays.train_images
    )


@pytest.mark.parametrize("damage", ["wrong", "truncated"])
@pytest.mark.parametrize("archives", [0, 2, 4])
def test_a_bad_file_in_the_cache_is_not_used_and_put_right(
    mirror: SimpleNamespace, arrays: ImageArrays, bare_machine: Path, damage: str, archives: int
) -> None:
    cache = bare_machine / ".cache" / "batchlimit" / "mnist"
    cache.mkdir(parents=True)
    for name in NAMES[:archives]:
        shutil.copyfile(mirror.folder / name, cache / name)
    content = wrong_labels(arrays)
    (cache / LABELS).write_bytes(content if damage == "wrong" else content[:20])
    assert is_right(mirror.set.load(), arrays)
    assert mirror.served == NAMES[archives:]
    assert mirror.set.find() == (str(cache), True)
    assert is_right(mirror.set.load(), arrays)
    assert len(mirror.served) == 4 - archives


def test_verified_archives_are_kept_without_a_network(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, bare_machine: Path
) -> None:
    """The real fetch, with mirrors that refuse: the archives in the cache are enough."""
    cache = write_idx(bare_machine / ".cache" / "batchlimit" / "mnist", arrays)
    hashes = {name.split("-idx")[0]: hashlib.sha256((cache / name).read_bytes()).hexdigest() for name in NAMES}
    (cache / LABELS).write_bytes(wrong_labels(arrays))
    asked = replace(small_set, archives=hashes)
    assert asked.find() is None
    assert asked.fetch() == cache
    assert is_right(asked.load(), arrays)


def test_fetched_archives_of_other_contents_are_refused(mirror: SimpleNamespace, arrays: ImageArrays) -> None:
    (mirror.folder / NAMES[1]).write_bytes(gzip.compress(wrong_labels(arrays), mtime=0))
    for ask in (mirror.set.load, mirror.set.fetch):
        with pytest.raises(
            InputError, match=r"fetched into .* are not the known MNIST \(train-labels differ\)"
        ) as raised:
            ask()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("below", ["mnist", "", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_an_interrupted_fetch_into_the_named_folder_goes_on(
    mirror: SimpleNamespace,
    arrays: ImageArrays,
    write_idx: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    below: str,
    packed: bool,
) -> None:
    mine = tmp_path / "mine"
    monkeypatch.setenv("BATCHLIMIT_DATA", str(mine))
    folder = write_idx(mine / below, arrays, packed=packed)
    for path in folder.glob("t*-labels*"):
        path.unlink()
    assert mirror.set.fetch() == mine / "mnist"
    assert mirror.served == ([NAMES[1], NAMES[3]] if packed and below == "mnist" else NAMES)
    assert mirror.set.find() == (str(mine / "mnist"), True)
    assert is_right(mirror.set.load(), arrays)


def test_an_incomplete_named_folder_does_not_hide_a_whole_one_elsewhere(
    mirror: SimpleNamespace,
    arrays: ImageArrays,
    write_idx: Write,
    bare_machine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BATCHLIMIT_DATA", str(tmp_path / "mine"))
    (write_idx(tmp_path / "mine", arrays) / NAMES[0]).unlink()
    whole = write_idx(bare_machine / ".keras" / "datasets" / "mnist", arrays)
    assert mirror.set.find() == (str(whole), True)
    assert not mirror.served


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("wrong", r"lacks train-images-idx3-ubyte .*not the known MNIST either \(train-labels differ\)"),
        ("truncated", "train-labels-idx1-ubyte is truncated"),
    ],
)
def test_a_damaged_named_folder_is_an_error_even_if_it_lacks_parts(
    mirror: SimpleNamespace,
    arrays: ImageArrays,
    write_idx: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
    says: str,
) -> None:
    folder = write_idx(tmp_path / "mine", arrays, packed=False)
    monkeypatch.setenv("BATCHLIMIT_DATA", str(folder))
    (folder / "train-images-idx3-ubyte").unlink()
    content = wrong_labels(arrays)
    (folder / LABELS).write_bytes(content if damage == "wrong" else content[:20])
    with pytest.raises(InputError, match=says) as raised:
        mirror.set.load()
    assert "\n" not in str(raised.value)
    assert not mirror.served


def test_an_incomplete_folder_of_another_known_set_is_passed_over(
    mirror: SimpleNamespace, arrays: ImageArrays, write_idx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(mirror.set, content=dict.fromkeys(mirror.set.content, "0" * 64))
    right = mirror.set
    monkeypatch.setattr(type(datasets), "get", lambda self, name: right)
    monkeypatch.setenv("BATCHLIMIT_DATA", str(tmp_path / "mine"))
    (write_idx(tmp_path / "mine", arrays) / NAMES[0]).unlink()
    with pytest.raises(InputError, match="The archives fetched into"):
        replace(other, name="asked").load()
    assert mirror.served == NAMES
