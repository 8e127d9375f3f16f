"""What is trained on, selected by and reported on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_training import CPU, blobs, config, workload
from torch import Tensor

from batchlimit.data.from_dataset import DatasetSplit
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine.examples import IndexedSplit, divide, examples_of
from batchlimit.errors import InputError

META = torch.device("meta")


def numbered(count: int, start: int = 0) -> TensorSplit:
    """Examples whose input says which they are."""
    return TensorSplit(torch.arange(start, start + count).float()[:, None], torch.arange(start, start + count))


def names(split: object) -> list[int]:
    return split.gather(torch.arange(len(split)))[1].tolist()  # type: ignore[attr-defined,arg-type]


def test_validation_examples_are_disjoint_from_training_and_nothing_is_lost() -> None:
    parts = divide(DataSet(numbered(100), numbered(10, 100), validation_size=30), "validation")
    train, selection = names(parts.train), names(parts.selection)
    assert (len(train), len(selection)) == (70, 30)
    assert set(train) | set(selection) == set(range(100))
    assert selection != list(range(30))
    assert names(parts.test) == list(range(100, 110))
    assert train == sorted(train)  # a subset in the order it was stored in reads memory forwards


def test_the_same_examples_are_held_out_always() -> None:
    data = DataSet(numbered(100), numbered(10), validation_size=30)
    torch.manual_seed(1)
    first = names(divide(data, "validation").selection)
    torch.manual_seed(2)
    assert names(divide(data, "validation").selection) == first
    work = workload(data=data)
    seeds = [examples_of(work, config(seed=seed, protocol="validation"), CPU) for seed in (0, 1)]
    assert names(seeds[0].selection) == names(seeds[1].selection) == first


def test_the_papers_protocol_trains_on_all_and_selects_on_the_test_split() -> None:
    data = DataSet(numbered(100), numbered(10), validation=numbered(5), validation_size=30)
    parts = divide(data, "paper")
    assert parts.train is data.train
    assert parts.selection is parts.test is data.test


def test_a_validation_split_of_its_own_and_none_at_all() -> None:
    own = DataSet(numbered(100), numbered(10), validation=numbered(5), validation_size=30)
    parts = divide(own, "validation")
    assert (parts.train, parts.selection, parts.test) == (own.train, own.validation, own.test)
    without = DataSet(numbered(100), numbered(10))
    parts = divide(without, "validation")
    assert (parts.train, parts.selection, parts.test) == (without.train, without.test, without.test)


@pytest.mark.parametrize("size", [-1, 100, 101])
def test_a_validation_split_that_leaves_nothing_is_an_input_error(size: int) -> None:
    data = DataSet(numbered(100), numbered(10), validation_size=size)
    with pytest.raises(InputError, match=rf"validation_size {size} of 100 .* Valid: 0 to 99"):
        divide(data, "validation")
    assert len(divide(data, "paper").train) == 100


@pytest.mark.parametrize("empty", ["train", "validation", "test"])
def test_an_empty_split_is_an_input_error(empty: str) -> None:
    data = DataSet(**{"train": numbered(100), "validation": numbered(5), "test": numbered(10), empty: numbered(0)})
    name = "training" if empty == "train" else empty
    for protocol in ("validation", "paper"):
        with pytest.raises(InputError, match=f"The {name} split has no examples"):
            divide(data, protocol)


class Pairs:
    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index)]), index


def test_subsets_of_data_that_are_not_in_memory_are_by_index() -> None:
    parts = divide(DataSet(DatasetSplit(Pairs()), numbered(10), validation_size=20), "validation")
    in_memory = divide(DataSet(numbered(50), numbered(10), validation_size=20), "validation")
    assert isinstance(parts.train, IndexedSplit)
    assert names(parts.train) == names(in_memory.train)
    assert names(parts.selection) == names(in_memory.selection)
    inputs, targets = parts.train.gather(torch.tensor([3, 3, 0]))
    assert inputs[:, 0].tolist() == targets.tolist() == [names(parts.train)[i] for i in (3, 3, 0)]


def test_a_subset_goes_to_a_device_with_its_indices() -> None:
    moved = IndexedSplit(numbered(10), torch.tensor([2, 4])).to(META)
    assert moved.base.inputs.device == moved.indices.device == META  # type: ignore[attr-defined]
    assert [part.device for part in moved.gather(torch.tensor([0], device=META))] == [META, META]


def test_examples_stay_in_memory_for_the_next_trial_of_the_same_workload() -> None:
    loads: list[int] = []

    def load() -> DataSet:
        loads.append(1)
        return DataSet(blobs(100), blobs(10), validation_size=20)

    work = replace(workload(), load=load)
    held = examples_of(work, config(protocol="validation"), CPU)
    assert examples_of(work, config(protocol="validation", seed=3), CPU) is held
    assert len(examples_of(work, config(protocol="paper"), CPU).train) == 100
    assert len(loads) == 2
    again = replace(work)  # another workload of the same name must not get these examples
    assert examples_of(again, config(protocol="validation"), CPU) is not held
    assert len(loads) == 3
