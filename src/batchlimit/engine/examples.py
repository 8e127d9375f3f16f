"""The examples of a trial: held out as its protocol says, on the device, kept for the next trial."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from batchlimit.config import TrialConfig
from batchlimit.data.splits import DataSet, Split, TensorSplit, index_device
from batchlimit.engine.seeds import generator
from batchlimit.errors import InputError
from batchlimit.workloads.workload import Workload


@dataclass(frozen=True)
class IndexedSplit:
    """The examples of `base` at `indices`."""

    base: Split
    indices: Tensor

    @property
    def read_on_host(self) -> bool:
        """Whether the examples are read there, so that indices are best kept there."""
        return getattr(self.base, "read_on_host", False)

    def __len__(self) -> int:
        return len(self.indices)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of `indices`, counted within this subset."""
        return self.base.gather(self.indices[indices.to(self.indices.device)])

    def to(self, device: torch.device) -> IndexedSplit:
        """Return the same examples on `device`."""
        return IndexedSplit(self.base.to(device), self.indices.to(index_device(self.base, device)))


@dataclass(frozen=True)
class Examples:
    """What a trial trains on, is selected by and is reported on."""

    train: Split
    selection: Split
    test: Split


def subset_of(split: Split, indices: Tensor) -> Split:
    """Return the examples of `split` at `indices` as a split of their own."""
    return split.subset(indices) if isinstance(split, TensorSplit) else IndexedSplit(split, indices)


def divide(data: DataSet, protocol: str) -> Examples:
    """Return the training, selection and test examples under `protocol`.

    Under 'validation' a fixed random subset of the training examples is held out (the same for every seed); without a
    validation split, and under the paper's protocol, selection is by the test split.

    Raises:
        InputError: a split is empty, or as many examples are to be held out as there are, or a negative number.
    """
    for name, split in (("training", data.train), ("validation", data.validation), ("test", data.test)):
        if split is not None and len(split) == 0:
            raise InputError(f"The {name} split has no examples. Valid: at least one.")
    if protocol == "paper":
        return Examples(data.train, data.test, data.test)
    if data.validation is not None:
        return Examples(data.train, data.validation, data.test)
    if data.validation_size == 0:
        return Examples(data.train, data.test, data.test)
    if not 0 < data.validation_size < len(data.train):
        raise InputError(
            f"validation_size {data.validation_size} of {len(data.train)} training examples cannot be held out. "
            f"Valid: 0 to {len(data.train) - 1}."
        )
    order = torch.randperm(len(data.train), generator=generator(0, "validation"))
    held = order[: data.validation_size].sort().values
    kept = order[data.validation_size :].sort().values
    return Examples(subset_of(data.train, kept), subset_of(data.train, held), data.test)


_loaded: dict[tuple[str, str, str], tuple[Workload, Examples]] = {}


def examples_of(workload: Workload, config: TrialConfig, device: torch.device) -> Examples:
    """Return the trial's examples on `device`; the last few asked for stay in memory."""
    key = (workload.name, config.protocol, str(device))
    known = _loaded.get(key)
    if known is not None and known[0] is workload:
        return known[1]
    parts = divide(workload.load(), config.protocol)
    test = parts.test.to(device)
    # One split where both are one, so that it is kept and evaluated once.
    selection = test if parts.selection is parts.test else parts.selection.to(device)
    examples = Examples(parts.train.to(device), selection, test)
    while len(_loaded) >= 2:
        _loaded.pop(next(iter(_loaded)))
    _loaded[key] = (workload, examples)
    return examples
