"""What is trained: model + data + loss + metric + baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from batchlimit.config import Recipe
from batchlimit.data.splits import DataSet
from batchlimit.errors import InputError

# The class index that torch's losses leave out: a position of padding, say.
LEFT_OUT = -100


class Loss(Protocol):
    """A loss summed (not averaged) over the examples of a micro-batch; smoothing is ignored where it has no meaning."""

    def __call__(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor: ...


def cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross entropy of logits (n, classes) with class indices (n,), summed over the n examples.

    With several positions an example, logits (n, ..., classes) and class indices (n, ...), an example counts with the
    mean over its positions, without those whose index is -100. Logits (n, classes, ...), torch's order, are taken where
    no other order fits. Targets may be class probabilities of the logits' shape, then with the classes in dimension 1;
    a position all of whose probabilities are -100 is left out too.

    Raises:
        InputError: targets of another shape.
    """
    probabilities = targets.is_floating_point() and targets.dim() > 1 and targets.shape == outputs.shape
    if probabilities:
        return _with_probabilities(outputs, targets, label_smoothing)
    logits = classes_last("cross entropy", outputs, targets)
    if logits.dim() == 2:
        return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
    rows = logits.flatten(0, -2)
    losses = F.cross_entropy(rows, targets.flatten(), reduction="none", label_smoothing=label_smoothing)
    return _over_positions(losses.view(targets.shape), _scored(targets))


def squared_error(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the squared error, averaged over each example's elements and summed over the examples.

    Targets of as many elements an example, (n,) for outputs (n, 1), say, are taken in the outputs' shape.

    Raises:
        InputError: targets of another shape.
    """
    if targets.shape != outputs.shape:
        targets = _in_shape_of(outputs, targets)
    squares = F.mse_loss(outputs, targets, reduction="none")
    return (squares.flatten(1).mean(1) if squares.dim() > 1 else squares).sum()


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the number of examples whose largest logit is their class.

    With several positions an example, it counts with the share of them that are right; shapes are `cross_entropy`'s.

    Raises:
        InputError: targets that are not class indices of these shapes.
    """
    hits = classes_last("accuracy", outputs, targets).argmax(-1) == targets
    return hits.sum() if hits.dim() == 1 else _over_positions(hits, _scored(targets))


def among_five(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the number of examples whose class is among the five largest logits; positions count as in `correct`.

    Raises:
        InputError: targets that are not class indices of these shapes.
    """
    logits = classes_last("top-5 accuracy", outputs, targets)
    hits = logits.topk(min(5, logits.shape[-1]), dim=-1).indices == targets.unsqueeze(-1)
    return hits.sum() if hits.dim() == 2 else _over_positions(hits.any(-1), _scored(targets))


def _with_probabilities(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Return the cross entropy of logits (n, classes, ...) with class probabilities of their shape."""
    left_out = (targets == LEFT_OUT).all(1)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / targets.shape[1]
    # Probabilities of 0 add nothing. They are smoothed before, since smoothing would raise them again.
    targets = targets.masked_fill(left_out.unsqueeze(1), 0.0)
    if logits.dim() == 2:
        return F.cross_entropy(logits, targets, reduction="sum")
    losses = F.cross_entropy(logits, targets, reduction="none")
    return _over_positions(losses, ~left_out)


def classes_last(name: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the logits as (n, ..., classes) for class indices (n, ...). Shapes alone decide: nothing is computed.

    Raises:
        InputError: neither order of the outputs' dimensions fits the targets.
    """
    if outputs.dim() > 1 and targets.shape == outputs.shape[:-1]:
        return outputs
    if outputs.dim() > 2 and targets.shape == outputs.shape[:1] + outputs.shape[2:]:
        return outputs.movedim(1, -1)
    raise InputError(
        f"The {name} of outputs {tuple(outputs.shape)} with targets {tuple(targets.shape)} is not defined. "
        "Valid: logits (n, classes) with class indices (n,), or (n, ..., classes) with (n, ...)."
    )


def _scored(targets: Tensor) -> Tensor:
    """Return which positions of class indices have a class."""
    # A byte would be compared with -100 modulo 256, which is class 156.
    return targets.long() != LEFT_OUT


def _over_positions(values: Tensor, scored: Tensor) -> Tensor:
    """Return the sum over examples of the mean of `values` (n, ...) over the positions of the example that count."""
    return (values.flatten(1).sum(1) / scored.flatten(1).sum(1).clamp(min=1)).sum()


def _in_shape_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the targets in the outputs' shape, which differs by sizes of 1 or by one of the two being flat."""
    sizes, wanted = ([size for size in tensor.shape[1:] if size != 1] for tensor in (targets, outputs))
    # As many elements in another order of dimensions (channels first, channels last) would pair the wrong ones.
    alike = sizes == wanted or min(len(sizes), len(wanted)) == 1
    if targets.shape[:1] != outputs.shape[:1] or targets.numel() != outputs.numel() or not alike:
        raise InputError(
            f"The squared error of outputs {tuple(outputs.shape)} with targets {tuple(targets.shape)} is not defined. "
            "Valid: targets of the outputs' shape, or of as many elements an example."
        )
    return targets.reshape(outputs.shape)


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
    the technique set's, when this workload knows better.
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
    prepare: Callable[[Tensor], Any] | None = None
    description: str = ""
    recipes: dict[str, Recipe] = field(default_factory=dict)
