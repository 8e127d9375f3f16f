"""Workloads of a few milliseconds for tests of the command line; named as 'toys.py:separable' there."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from batchlimit.config import Recipe
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.workloads.workload import Workload, cross_entropy

_SIZE = 128


def _clouds() -> DataSet:
    generator = torch.Generator().manual_seed(1)

    def split(count: int) -> TensorSplit:
        targets = torch.arange(count) % 2
        inputs = torch.randn(count, 4, generator=generator) + 2.0 * targets[:, None]
        return TensorSplit(inputs, targets)

    return DataSet(train=split(_SIZE), test=split(200), validation_size=28)


def _workload(name: str, **changes: object) -> Workload:
    fields: dict[str, object] = {
        "name": name,
        "make_model": lambda: nn.Linear(4, 2),
        "load": _clouds,
        "baseline": Recipe(solver="momentum", lr=0.1, solver_options={"momentum": 0.9}),
        "batch_size": 10,
        "budget": "4 epochs",
        "description": "Two clouds of points, told apart by a linear model.",
    }
    return Workload(**{**fields, **changes})  # type: ignore[arg-type]


def separable() -> Workload:
    """Return a problem that any recipe solves."""
    return _workload("separable")


def normed() -> Workload:
    """Return the same problem with batch norm in the model."""
    return _workload("normed", make_model=lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)))


def _broken_loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    return cross_entropy(outputs, targets, label_smoothing=label_smoothing) * float("nan")


def broken() -> Workload:
    """Return a problem whose loss is NaN from the first step on."""
    return _workload("broken", loss=_broken_loss)


def _slowly(inputs: Tensor) -> Tensor:
    time.sleep(0.01)
    return inputs


def slow() -> Workload:
    """Return a problem whose trials last long enough to be interrupted."""
    return _workload("slow", prepare=_slowly)
