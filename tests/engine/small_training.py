"""Models of a few hundred parameters and data of a few hundred examples, to try the engine on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from batchlimit.config import Recipe, TrialConfig
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine.execution import Execution
from batchlimit.engine.step import GradientAccumulator
from batchlimit.engine.trial import Training, prepare
from batchlimit.models.keyed_dropout import KeyedDropout
from batchlimit.workloads.workload import Workload

CPU = torch.device("cpu")
TRAIN, TEST, VALIDATION, FEATURES, CLASSES = 120, 40, 20, 6, 4


def blobs(count: int, seed: int = 0) -> TensorSplit:
    """Points (count, FEATURES) around one centre for each class, some of them beyond the neighbour's."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=source)
    centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(99))
    return TensorSplit(centres[labels] + torch.randn(count, FEATURES, generator=source), labels)


def images(count: int, seed: int = 0) -> TensorSplit:
    """Noisy images (count, 1, 8, 8) uint8 with one bright row for each class."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=source)
    pixels = torch.randint(0, 128, (count, 1, 8, 8), generator=source)
    pixels[torch.arange(count), 0, labels * 2] += 100
    return TensorSplit(pixels.to(torch.uint8), labels)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES))


def dropping() -> nn.Module:
    hidden = [nn.Linear(FEATURES, 32), nn.ReLU(), KeyedDropout(0.4), nn.Linear(32, 32), nn.ReLU(), KeyedDropout(0.2)]
    return nn.Sequential(*hidden, nn.Linear(32, CLASSES))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, CLASSES))


def convolutional() -> nn.Module:
    features = [nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*features, nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, CLASSES))


def halved(pixels: Tensor) -> Tensor:
    return pixels.float().div_(255.0)


def workload(make_model: Callable[[], nn.Module] = perceptron, **changes: Any) -> Workload:
    """A workload of `TRAIN` examples, of images if the model takes them."""
    pictures = make_model is convolutional or changes.pop("pictures", False)
    make = images if pictures else blobs
    data = changes.pop("data", None) or DataSet(make(TRAIN, 1), make(TEST, 2), validation_size=VALIDATION)
    fields: dict[str, Any] = {
        "name": "small",
        "make_model": make_model,
        "load": lambda: data,
        "baseline": Recipe(),
        "batch_size": 10,
        "budget": "2 epochs",
        "prepare": halved if pictures else None,
    }
    return Workload(**{**fields, **changes})


def config(recipe: Recipe | None = None, **changes: Any) -> TrialConfig:
    """A trial of two epochs on all `TRAIN` examples, 30 a step."""
    fields: dict[str, Any] = {"workload": "small", "batch_size": 30, "budget": "2 epochs", "protocol": "paper"}
    return TrialConfig(**{**fields, "recipe": recipe or Recipe(lr=0.1), **changes})


def prepared(trial: TrialConfig, work: Workload, microbatch_size: int | None = 30) -> Training:
    """The training at step 0, on the CPU."""
    return prepare(trial, work, Execution(device="cpu", microbatch_size=microbatch_size), CPU)


def gradient(accumulate: GradientAccumulator, step: int, batch: Tensor) -> Tensor:
    """One vector: the mean gradient over `batch` as the accumulator leaves it."""
    accumulate(step, batch)
    return torch.cat([parameter.grad.flatten() for parameter in accumulate.parameters if parameter.grad is not None])


def weights(training: Training) -> Tensor:
    """One vector: all weights of the model, in the logical order of their indices."""
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()]).clone()


def distance(one: Tensor, other: Tensor) -> float:
    """The relative distance ||one - other|| / ||other||."""
    return ((one.double() - other.double()).norm() / other.double().norm()).item()
