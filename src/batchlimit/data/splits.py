"""Examples as the engine wants them: whole, on the device, gathered by index without a per-sample loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Split(Protocol):
    """A finite set of examples addressed by index."""

    def __len__(self) -> int: ...

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of `indices` (int64, any order), stacked along dimension 0."""
        ...

    def to(self, device: torch.device) -> Split:
        """Return the same examples on `device`."""
        ...


def index_device(split: Split, device: torch.device) -> torch.device:
    """Return where the indices of `split`, whose examples come to `device`, are best kept.

    On `device`, but on the CPU for a split with `read_on_host`, which would have to wait for `device` to learn them.
    """
    return torch.device("cpu") if getattr(split, "read_on_host", False) else device


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`, without waiting for what that still computes.

    A copy from ordinary memory waits for it; one from pinned memory does not.
    """
    accelerator = torch.accelerator.current_accelerator()
    pinnable = accelerator is not None and accelerator.type == device.type != "mps"
    if tensor.device.type != "cpu" or not pinnable:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class TensorSplit:
    """Examples held in two tensors of equal length: `inputs` (N, ...), uint8 where they can be, `targets` (N, ...)."""

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise ValueError(f"{len(self.inputs)} inputs but {len(self.targets)} targets.")

    def __len__(self) -> int:
        return len(self.inputs)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of `indices`, stacked along dimension 0."""
        return self.inputs.index_select(0, indices), self.targets.index_select(0, indices)

    def to(self, device: torch.device) -> TensorSplit:
        """Return the same examples on `device`."""
        return TensorSplit(self.inputs.to(device), self.targets.to(device))

    def subset(self, indices: Tensor) -> TensorSplit:
        """Return the examples at `indices` as a split of their own."""
        return TensorSplit(*self.gather(indices))


@dataclass(frozen=True)
class DataSet:
    """The examples of a workload: a training and a test split, and how many training examples to hold out.

    `validation_size` training examples, chosen once by a fixed seed (or given as `validation`), are what tuning selects
    on under the 'validation' protocol; under the paper's protocol they are trained on.
    """

    train: Split
    test: Split
    validation: Split | None = None
    validation_size: int = 0
