"""What is trained: model + data + loss + metric + baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from batchlimit.config import Recipe
from batchlimit.data.splits import DataSet


class Loss(Protocol):
    """A loss summed (not averaged) over the examples of a micro-batch; smoothing is ignored where it has no meaning."""

    def __call__(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor: ...


def cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross entropy of logits (n, classes) with class indices (n,), summed over the n examples."""
    return F.cross_entropy(outputs, targets, reduction="sum", label_smoothing=label_smoothing)


def squared_error(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the squared error, averaged over each example's elements and summed over the examples."""
    return F.mse_loss(outputs, targets, reduction="none").flatten(1).mean(1).sum()


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the number of examples whose largest logit is their class."""
    return (outputs.argmax(-1) == targets).sum()


def among_five(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the number of examples whose class is among the five largest logits."""
    return (outputs.topk(min(5, outputs.shape[-1]), dim=-1).indices == targets.unsqueeze(-1)).sum()


@dataclass(frozen=True)
class Metric:
    """What the user wants more of ('up') or less of ('down').

    `total(outputs, targets)` is a sum over examples; the metric is that sum divided by the number of examples. With
    `total=None` the metric is the unsmoothed loss itself. `percent` says whether to print it times 100.
    """

    name: str = "accuracy"
    direction: Literal["up", "down"] = "up"
    total: Callable[[Tensor, Tensor], Tensor] | None = correct
    percent: bool = True


ACCURACY = Metric()
TOP_5 = Metric(name="top-5", total=among_five)
LOSS = Metric(name="loss", direction="down", total=None, percent=False)


@dataclass(frozen=True)
class Workload:
    """A model, its data, its loss and metric, and the baseline that the limit is measured against.

    `make_model()` is called under a seeded generator and returns a fresh model; `load()` returns the data;
    `prepare(inputs)` maps stored inputs (uint8, say) of a micro-batch to what the model takes and runs on the device.
    `also` are further metrics that are noted with every score; nothing is decided by them.
    `baseline` is the recipe at `batch_size` for `budget` ('30 epochs'). `recipes` maps names to recipes that replace
    the technique set's, and `search_space` replaces fields of its search space, when this workload knows better.
    """

    name: str
    make_model: Callable[[], nn.Module]
    load: Callable[[], DataSet]
    baseline: Recipe
    batch_size: int
    budget: str
    loss: Loss = cross_entropy
    metric: Metric = ACCURACY
    also: tuple[Metric, ...] = ()
    prepare: Callable[[Tensor], Tensor] | None = None
    description: str = ""
    recipes: dict[str, Recipe] = field(default_factory=dict)
