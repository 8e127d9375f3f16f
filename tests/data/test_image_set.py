"""Finding an image set in every layout that users have, and refusing what is not it."""

from __future__ import annotations

import gzip
import io
import os
import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from batchlimit.data import datasets, fetch, status
from batchlimit.data.image_arrays import ImageArrays, content_hash
from batchlimit.data.image_set import ImageSet
from batchlimit.data.splits import DataSet
from batchlimit.errors import InputError

Write = Callable[..., Path]
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "mnist"


def same(found: DataSet, arrays: ImageArrays) -> bool:
    return all(
        np.array_equal(split.inputs[:, 0].numpy(), images) and np.array_equal(split.targets.numpy(), labels)
        for split, images, labels in (
            (found.train, arrays.train_images, arrays.train_labels),
            (found.test, arrays.test_images, arrays.test_labels),
        )
    )


def test_tensors_are_bytes_with_a_channel(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, bare_machine: Path
) -> None:
    write_idx(bare_machine / ".cache" / "batchlimit" / "mnist", arrays)
    found = small_set.load()
    assert found.train.inputs.shape == (30, 1, 28, 28)
    assert found.train.inputs.dtype == torch.uint8
    assert found.test.targets.dtype == torch.int64
    assert found.validation_size == 5
    assert same(found, arrays)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("joint", ["-", "."])
@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw", "raw"])
def test_named_folder(
    small_set: ImageSet,
    arrays: ImageArrays,
    write_idx: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    below: str,
    joint: str,
    packed: bool,
) -> None:
    folder = write_idx(tmp_path / "mine" / below, arrays, packed=packed, joint=joint)
    monkeypatch.setenv("BATCHLIMIT_DATA", str(tmp_path / "mine"))
    assert small_set.find() == (str(folder), True)
    assert same(small_set.load(), arrays)


@pytest.mark.parametrize(
    "below",
    [
        ".cache/batchlimit/mnist",
        "data/MNIST/raw",
        ".torch/datasets/MNIST/raw",
        "datasets/mnist",
        ".keras/datasets/mnist",
    ],
)
def test_usual_folders_at_home(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, bare_machine: Path, below: str
) -> None:
    folder = write_idx(bare_machine / below, arrays)
    assert small_set.find() == (str(folder), True)


def test_torchvision_folder_below_the_current_one(small_set: ImageSet, arrays: ImageArrays, write_idx: Write) -> None:
    write_idx(Path("data") / "MNIST" / "raw", arrays, packed=False)
    assert small_set.find() == (os.path.join("data", "MNIST", "raw"), True)


def test_keras_file(small_set: ImageSet, arrays: ImageArrays, bare_machine: Path) -> None:
    path = bare_machine / ".keras" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True)
    np.savez(
        path,
        x_train=arrays.train_images,
        y_train=arrays.train_labels,
        x_test=arrays.test_images,
        y_test=arrays.test_labels,
    )
    assert small_set.find() == (str(path), True)
    assert same(small_set.load(), arrays)


def test_debian_folder(small_set: ImageSet, arrays: ImageArrays, write_idx: Write, tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "usr" / "share" / "datasets" / "fashion-mnist", arrays)
    packaged = replace(small_set, layout=replace(small_set.layout, debian=str(folder)))
    assert packaged.find() == (str(folder), True)
    assert datasets.get("fashion_mnist").layout.debian == "/usr/share/datasets/fashion-mnist"


def snapshot(arrays: ImageArrays, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out a Hugging Face snapshot, and stand in for pyarrow's reader of its two files."""
    folder = home / ".cache" / "huggingface" / "hub" / "datasets--ylecun--mnist" / "snapshots" / "abc" / "mnist"
    folder.mkdir(parents=True)
    content = {}
    for split, images, labels in (
        ("train", arrays.train_images, arrays.train_labels),
        ("test", arrays.test_images, arrays.test_labels),
    ):
        rows = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            rows.append({"bytes": buffer.getvalue(), "path": None})
        path = folder / f"{split}-00000-of-00001.parquet"
        path.touch()
        content[path] = {"image": rows, "label": labels.tolist()}

    def read_table(path: Path, columns: list[str]) -> object:
        assert columns == ["image", "label"]
        return types.SimpleNamespace(
            column=lambda name: types.SimpleNamespace(to_pylist=lambda: content[path][name]),
        )

    module = types.ModuleType("pyarrow.parquet")
    module.read_table = read_table  # type: ignore[attr-defined]
    package = types.ModuleType("pyarrow")
    package.parquet = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", module)
    return folder


def test_hugging_face_snapshot(
    small_set: ImageSet, arrays: ImageArrays, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = snapshot(arrays, bare_machine, monkeypatch)
    found = small_set.find()
    assert found == (str(folder), True)
    assert same(small_set.load(), arrays)


def test_what_is_slow_to_read_is_read_once(
    small_set: ImageSet, arrays: ImageArrays, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(arrays, bare_machine, monkeypatch)
    small_set.load()
    assert small_set.find() == (str(bare_machine / ".cache" / "batchlimit" / "mnist"), True)
    assert same(small_set.load(), arrays)
    assert len(list((bare_machine / ".cache" / "batchlimit" / "mnist").iterdir())) == 4


def test_a_read_only_home_is_no_fault(
    small_set: ImageSet, arrays: ImageArrays, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(arrays, bare_machine, monkeypatch)
    (bare_machine / ".cache" / "batchlimit").touch()
    assert same(small_set.load(), arrays)


def test_hugging_face_snapshot_without_pyarrow_is_told_of(
    small_set: ImageSet, arrays: ImageArrays, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(arrays, bare_machine, monkeypatch)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert small_set.find() is None
    with pytest.raises(InputError, match="pip install pyarrow"):
        small_set.load()


def test_no_data_anywhere_is_one_clear_line_soon(small_set: ImageSet) -> None:
    start = time.monotonic()
    assert small_set.find() is None
    with pytest.raises(InputError) as raised:
        small_set.load()
    text = str(raised.value)
    assert time.monotonic() - start < 10
    assert "\n" not in text
    for said in ("MNIST", "--data-dir", "BATCHLIMIT_DATA", "train-images-idx3-ubyte.gz", "127.0.0.1"):
        assert said in text
    assert text.count("127.0.0.1") == 2


def test_truncated_file_in_the_named_folder_is_an_error(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_idx(tmp_path / "mine", arrays)
    monkeypatch.setenv("BATCHLIMIT_DATA", str(folder))
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:5000])
    assert small_set.find() is None
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz is truncated"):
        small_set.load()


def test_truncated_file_elsewhere_is_passed_over(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, bare_machine: Path
) -> None:
    broken = write_idx(bare_machine / "data" / "MNIST" / "raw", arrays, packed=False)
    (broken / "t10k-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03")
    whole = write_idx(bare_machine / ".keras" / "datasets" / "mnist", arrays)
    assert small_set.find() == (str(whole), True)


def test_missing_file_is_named(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_idx(tmp_path / "mine", arrays)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setenv("BATCHLIMIT_DATA", str(folder))
    with pytest.raises(InputError, match="lacks t10k-labels-idx1-ubyte"):
        small_set.load()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train_labels": np.full(30, 10, np.uint8)}, "a training label is 10. Valid: 0 to 9"),
        ({"test_labels": np.zeros(19, np.uint8)}, "20 test images but 19 labels"),
        ({"train_images": np.zeros((30, 28, 27), np.uint8)}, "30 x 28 x 27"),
        ({"test_images": np.zeros((0, 28, 28), np.uint8), "test_labels": np.zeros(0, np.uint8)}, "0 test images"),
    ],
)
def test_wrong_arrays_are_refused(
    small_set: ImageSet,
    arrays: ImageArrays,
    write_idx: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, np.ndarray],
    says: str,
) -> None:
    monkeypatch.setenv("BATCHLIMIT_DATA", str(write_idx(tmp_path / "mine", replace(arrays, **change))))
    with pytest.raises(InputError, match=says):
        small_set.load()


def test_unknown_contents_are_refused_unless_asked_for(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = arrays.train_images.copy()
    changed[0, 0, 0] ^= 1
    other = replace(arrays, train_images=changed)
    folder = write_idx(tmp_path / "mine", other)
    monkeypatch.setenv("BATCHLIMIT_DATA", str(folder))
    with pytest.raises(InputError, match=r"not the known MNIST \(train-images differ\).*BATCHLIMIT_DATA_UNVERIFIED=1"):
        small_set.load()
    monkeypatch.setenv("BATCHLIMIT_DATA_UNVERIFIED", "1")
    assert small_set.find() == (str(folder), False)
    assert same(small_set.load(), other)


def test_a_folder_of_another_known_set_is_passed_over(
    small_set: ImageSet, arrays: ImageArrays, write_idx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(small_set, name="asked", content=dict.fromkeys(small_set.content, "0" * 64))
    monkeypatch.setattr(type(datasets), "get", lambda self, name: small_set)
    monkeypatch.setenv("BATCHLIMIT_DATA", str(write_idx(tmp_path / "mine", arrays)))
    with pytest.raises(InputError, match="could not be fetched"):
        asked.load()


def test_status_names_every_set_and_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchlimit.data.image_set.fetch_files", lambda *a, **k: pytest.fail("fetched"))
    found = {entry.name: entry for entry in status()}
    assert set(found) >= {"digits", "mnist", "fashion_mnist"}
    assert found["digits"] == ("digits", "scikit-learn", True)
    assert found["mnist"] == ("mnist", None, False)


def test_fetch_of_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'mnist'"):
        fetch("mnits")
    assert fetch("digits") is None


def test_hash_is_that_of_the_uncompressed_file(arrays: ImageArrays, write_idx: Write, tmp_path: Path) -> None:
    import hashlib

    folder = write_idx(tmp_path / "mine", arrays)
    content = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert content_hash(arrays.test_images) == hashlib.sha256(content).hexdigest()
    assert content_hash(np.asfortranarray(arrays.test_images)) == hashlib.sha256(content).hexdigest()


def test_the_real_mnist_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the repository lies beside the real files, they are the known ones; elsewhere, the entry is well-formed."""
    mnist = datasets.get("mnist")
    assert {len(hash) for hash in [*mnist.content.values(), *mnist.archives.values()]} == {64}
    assert len(mnist.mirrors) >= 2
    if SHARED.is_dir():
        monkeypatch.setenv("BATCHLIMIT_DATA", str(SHARED))
        assert mnist.find() == (str(SHARED), True)
        found = mnist.load()
        assert (len(found.train), len(found.test)) == (60000, 10000)
        assert torch.bincount(found.test.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        assert datasets.get("fashion_mnist").find() is None
