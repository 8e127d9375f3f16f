"""A rehearsal on a few examples before any training: do a workload's parts work, and do they do what is promised?"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.errors import InputError
from batchlimit.workloads.workload import LEFT_OUT, Workload, cross_entropy

_EXAMPLES = 4
_CLOSE = 1e-3  # of a sum: far above rounding, far below the factor of 2 between a sum and a mean of two halves


def rehearse(workload: Workload, device: torch.device) -> DataSet:
    """Return a workload's data, once its parts have worked together on a few training examples, on `device`.

    Raises:
        InputError: a part raised an error (it is named), `make_model` gives the same model twice or one of lazy layers,
            the loss or the metric averages over examples where it has to sum, or a target is no class of the model's.
    """
    with torch.random.fork_rng(devices=[]):
        with _part(workload, "load()"):
            data = workload.load()
        train = data.train
        with _part(workload, "make_model()"):
            model, another = workload.make_model(), workload.make_model()
        if {id(p) for p in model.parameters()} & {id(p) for p in another.parameters()}:
            raise InputError(
                f"make_model() of '{workload.name}' returned the same parameters twice: every trial would go on from "
                "the last one's weights. Valid: a function that builds a fresh model at each call."
            )
        if any(map(is_lazy, model.parameters())):
            raise InputError(
                f"make_model() of '{workload.name}' returned a model with lazy layers, whose sizes are not known yet. "
                "Valid: layers with their sizes, or a pass through the model within make_model()."
            )
        count = min(_EXAMPLES, len(train))
        model.to(device).eval()

        def scored(first: int, last: int) -> tuple[Tensor, Tensor]:
            return _outputs(workload, model, train.gather, torch.arange(first, last), device)

        with torch.no_grad():
            cuts = ((0, count), (0, count // 2), (count // 2, count)) if count > 1 else ()
            pairs = [scored(*cut) for cut in cuts]
            totals = {"loss": partial(workload.loss, label_smoothing=0.0), "metric": workload.metric.total}
            for name, total in totals.items():
                if total is not None and pairs:
                    with _part(workload, name):
                        sums = [float(total(outputs.float(), targets)) for outputs, targets in pairs]
                    _check_sum(workload, name, *sums)
    if pairs and workload.loss is cross_entropy:
        _check_classes(workload, data, *pairs[0])
    return data


def _outputs(
    workload: Workload,
    model: nn.Module,
    gather: Callable[[Tensor], tuple[Tensor, Tensor]],
    indices: Tensor,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    with _part(workload, "training examples"):
        inputs, targets = gather(indices)
    with _part(workload, "prepare()"):
        prepared = inputs.to(device) if workload.prepare is None else workload.prepare(inputs.to(device))
    with _part(workload, "model's forward pass"):
        return model(prepared), targets.to(device)


def _check_sum(workload: Workload, name: str, whole: float, first: float, second: float) -> None:
    total = first + second
    if not all(map(math.isfinite, (whole, total))) or math.isclose(whole, total, rel_tol=_CLOSE, abs_tol=1e-12):
        return
    if math.isclose(whole, total / 2, rel_tol=_CLOSE):
        raise InputError(
            f"The {name} of '{workload.name}' averages over its examples; it must sum over them, for a batch is taken "
            "in parts. Valid: reduction='sum', or the mean times the number of examples."
        )


def _check_classes(workload: Workload, data: DataSet, outputs: Tensor, targets: Tensor) -> None:
    """Check all targets in memory: a class that the model does not have ends a training, and a CUDA device's context.

    `outputs` and `targets` are of the examples rehearsed; they tell the number of classes.
    """
    classes = outputs.shape[-1] if targets.shape == outputs.shape[:-1] else outputs.shape[1]
    for name, split in (("training", data.train), ("validation", data.validation), ("test", data.test)):
        if not isinstance(split, TensorSplit) or split.targets.is_floating_point():
            continue
        counted = split.targets[split.targets.long() != LEFT_OUT]
        wrong = counted[(counted < 0) | (counted >= classes)]
        if len(wrong):
            raise InputError(
                f"The {name} targets of '{workload.name}' have the class {int(wrong[0])}, and the model gives "
                f"{classes} classes. Valid: 0 to {classes - 1}."
            )


@contextlib.contextmanager
def _part(workload: Workload, part: str) -> Iterator[None]:
    """Turn any error of a part of the workload into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        raise InputError(
            f"The workload '{workload.name}' failed in its {part}: {type(error).__name__}: {line}"
        ) from error
