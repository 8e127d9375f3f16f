"""A user's map-style `Dataset` as a split: read once into tensors, or gathered by threads as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.utils.data import default_collate

from batchlimit.data.splits import Split, TensorSplit, sent
from batchlimit.errors import InputError

_CHUNK = 1024


class MapStyle(Protocol):
    """What `torch.utils.data.Dataset` promises: a length, and (input, target) by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


Collate = Callable[[list[Any]], Any]


def from_dataset(dataset: MapStyle, *, cache: bool = True, threads: int = 4, collate: Collate | None = None) -> Split:
    """Return the examples of a map-style `dataset` of (input, target) pairs as a split.

    With `cache` every example is read once into two tensors, so that random augmentation in the data set would be
    drawn once: give `cache=False` for that, and for data that do not fit in memory. Then each micro-batch is read by
    `threads` threads, which helps where reading releases the interpreter's lock (files, Pillow, numpy). `collate`
    makes (inputs, targets) of a list of examples, by default as a `DataLoader` does: with `cache` of all examples at
    once, so that one that pads makes them all as long as the longest, else of those of a micro-batch.

    The threads read in no fixed order, and nothing seeds torch's, numpy's or Python's global generator for them: with
    `cache=False`, augmentation is the same in every run only if `__getitem__` draws from a generator of its own that
    is seeded by the index (the same draw in every epoch). Examples that `validation_size` holds out are read through
    the same data set, augmented like the rest: a training augmentation needs a `DataSet` with its own `validation`.

    Raises:
        InputError: the data set is empty or has no length, or its examples are not pairs that collate to tensors.
    """
    try:
        count = len(dataset)
    except TypeError as error:
        raise InputError(f"{_name(dataset)} has no length. Valid: a map-style data set with __len__.") from error
    if count == 0:
        raise InputError(f"{_name(dataset)} is empty.")
    split = DatasetSplit(dataset, threads=threads, collate=collate or default_collate)
    if not cache:
        # One example now, so that data of the wrong form is an error before any training.
        split.gather(torch.tensor([0]))
        return split
    if split.collate is not default_collate:
        # What an own collate makes of an example may depend on the others (padding to the longest), so it gets all at
        # once. At the peak that holds the data twice, as joining chunks does, and a Python object for each example.
        return TensorSplit(*split.gather(torch.arange(count)))
    # Stacking does not depend on the others: in chunks, small examples never exist as a million Python objects.
    chunks = [split.gather(torch.arange(start, min(start + _CHUNK, count))) for start in range(0, count, _CHUNK)]
    inputs, targets = zip(*chunks, strict=True)
    return TensorSplit(_joined(inputs, dataset), _joined(targets, dataset))


@dataclass(frozen=True)
class DatasetSplit:
    """Examples read from a map-style data set each time they are gathered, by `threads` threads, put on `device`."""

    read_on_host: ClassVar[bool] = True

    dataset: MapStyle
    threads: int = 4
    collate: Collate = default_collate
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.dataset)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of `indices`, in their order, stacked along dimension 0.

        Raises:
            InputError: the examples are not pairs that collate to two tensors of as many rows.
        """
        wanted = indices.tolist()
        examples = self._read(wanted)
        try:
            inputs, targets = self.collate(examples)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"The examples of {_name(self.dataset)} do not collate to (inputs, targets): {reason}. "
                "Valid: pairs of tensors, arrays or numbers, each of one shape; else give `collate`."
            ) from error
        for part in (inputs, targets):
            if not isinstance(part, Tensor) or len(part) != len(wanted):
                raise InputError(
                    f"{_name(self.dataset)} gives {type(part).__name__}, where a tensor of rows is needed."
                )
        return sent(inputs, self.device), sent(targets, self.device)

    def to(self, device: torch.device) -> DatasetSplit:
        """Return the same examples, put on `device` as they are gathered."""
        return DatasetSplit(self.dataset, self.threads, self.collate, device)

    def _read(self, indices: Sequence[int]) -> list[Any]:
        if self.threads < 2 or len(indices) < 2 * self.threads:
            return [self.dataset[index] for index in indices]
        # A pool for each micro-batch costs some 0.1 ms and leaves no threads behind in a worker.
        with ThreadPoolExecutor(self.threads) as pool:
            size = -(-len(indices) // self.threads)
            slices = [indices[start : start + size] for start in range(0, len(indices), size)]
            parts = pool.map(lambda part: [self.dataset[index] for index in part], slices)
            return [example for part in parts for example in part]


def _joined(chunks: Sequence[Tensor], dataset: object) -> Tensor:
    shapes = sorted({tuple(chunk.shape[1:]) for chunk in chunks})
    if len(shapes) > 1:
        raise InputError(
            f"The examples of {_name(dataset)} differ in shape: {shapes[0]} and {shapes[1]}. "
            "Valid: pairs of tensors, arrays or numbers, each of one shape; else give `collate`."
        )
    return torch.cat(list(chunks))


def _name(dataset: object) -> str:
    return f"the data set {type(dataset).__name__}"
