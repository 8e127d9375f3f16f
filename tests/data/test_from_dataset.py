"""Map-style data sets as splits."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from batchlimit.data.from_dataset import DatasetSplit, from_dataset
from batchlimit.data.splits import Split, TensorSplit
from batchlimit.errors import InputError


class Squares(Dataset[tuple[Tensor, int]]):
    def __init__(self, count: int = 50) -> None:
        self.count = count
        self.reads = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.reads += 1
        return torch.full((2, 3), float(index)), index**2


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_gathers_in_the_order_asked_for(cache: bool, threads: int) -> None:
    split = from_dataset(Squares(), cache=cache, threads=threads)
    assert isinstance(split, Split)
    assert len(split) == 50
    indices = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    inputs, targets = split.gather(indices)
    assert inputs.shape == (50, 2, 3)
    assert inputs[:, 0, 0].long().tolist() == indices.tolist()
    assert targets.tolist() == (indices**2).tolist()


def test_cached_examples_are_read_once() -> None:
    dataset = Squares(2500)
    split = from_dataset(dataset)
    assert isinstance(split, TensorSplit)
    split.gather(torch.arange(100))
    assert dataset.reads == 2500
    assert split.targets[-1] == 2499**2


def test_uncached_examples_are_read_each_time() -> None:
    dataset = Squares()
    split = from_dataset(dataset, cache=False)
    assert dataset.reads == 1
    split.gather(torch.arange(20))
    split.gather(torch.arange(20))
    assert dataset.reads == 41


def test_threads_read_at_once() -> None:
    class Slow(Squares):
        names: set[str] = set()  # noqa: RUF012

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            time.sleep(0.002)
            self.names.add(threading.current_thread().name)
            return super().__getitem__(index)

    from_dataset(Slow(), cache=False, threads=4).gather(torch.arange(40))
    assert len(Slow.names - {threading.main_thread().name}) == 4


def test_moved_split_puts_examples_on_the_device() -> None:
    moved = DatasetSplit(Squares()).to(torch.device("meta"))
    inputs, targets = moved.gather(torch.arange(3))
    assert inputs.device.type == targets.device.type == "meta"


def test_arrays_and_own_collate() -> None:
    class Pairs(Squares):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:  # type: ignore[override]
            return np.full((4,), index, np.uint8), index % 3

    inputs, targets = from_dataset(Pairs(9)).gather(torch.tensor([8, 0]))
    assert inputs.dtype == torch.uint8
    assert targets.tolist() == [2, 0]

    def collate(examples: list[tuple[np.ndarray, int]]) -> tuple[Tensor, Tensor]:
        return torch.stack([torch.from_numpy(x) for x, _ in examples]).float(), torch.tensor([-y for _, y in examples])

    assert from_dataset(Pairs(9), collate=collate).gather(torch.tensor([8]))[1].tolist() == [-2]


class Lengths(Squares):
    """Texts of different lengths; the longest is the last."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.reads += 1
        return torch.ones(1 + index // 500, dtype=torch.long), index % 2


def padded(examples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    texts, targets = zip(*examples, strict=True)
    return torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True), torch.tensor(targets)


def test_a_collate_that_pads_sees_all_examples_at_once() -> None:
    dataset = Lengths(2500)
    split = from_dataset(dataset, collate=padded)
    assert isinstance(split, TensorSplit)
    assert split.inputs.shape == (2500, 5)
    assert split.inputs.sum(1).tolist() == [1 + index // 500 for index in range(2500)]
    assert split.targets.tolist() == [index % 2 for index in range(2500)]
    assert dataset.reads == 2500


def test_examples_of_another_shape_further_on_are_told_of() -> None:
    class Wider(Squares):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(2 if index < 1024 else 3), 0

    with pytest.raises(InputError, match=r"Wider differ in shape: \(2,\) and \(3,\)\..* give `collate`") as raised:
        from_dataset(Wider(1100))
    assert "\n" not in str(raised.value)


class Brightened(Squares):
    """Augmented in `__getitem__` as the guide says: by a generator of its own, seeded by the index."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        time.sleep(0.0005 * (index % 3))
        factor = torch.rand((), generator=torch.Generator().manual_seed(index))
        return factor * torch.ones(2), index


def test_augmentation_seeded_by_the_index_is_the_same_whatever_the_threads() -> None:
    indices = torch.arange(49, -1, -1)
    one, four = (from_dataset(Brightened(), cache=False, threads=threads).gather(indices) for threads in (1, 4))
    assert torch.equal(one[0], four[0])
    assert torch.equal(four[0], from_dataset(Brightened()).gather(indices)[0])


class NoLength:
    def __getitem__(self, index: int) -> int:
        return index


class Ragged(Squares):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(index + 1), 0


class Single(Squares):
    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return torch.zeros(3)


class Texts(Squares):
    def __getitem__(self, index: int) -> tuple[str, int]:  # type: ignore[override]
        return "word", 0


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (NoLength(), "NoLength has no length"),
        (Squares(0), "Squares is empty"),
        (Ragged(), "Ragged do not collate"),
        (Single(), "Single do not collate"),
        (Texts(), "Texts gives .* where a tensor of rows is needed"),
    ],
)
def test_data_of_the_wrong_form(dataset: Squares, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        from_dataset(dataset)
    assert "\n" not in str(raised.value)
