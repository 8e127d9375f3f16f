"""Small trainings with every solver and every technique of a recipe, for tests that compare devices."""

from __future__ import annotations

from typing import Any

import small_training
import torch
from torch.utils.data import TensorDataset

from batchlimit.config import Recipe
from batchlimit.data.from_dataset import from_dataset
from batchlimit.data.splits import DataSet, Split
from batchlimit.engine import Execution, trial
from batchlimit.optimizers import solvers

MOMENTUM = {"solver": "momentum", "lr": 0.05}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: ("convolutional", {"solver": name, "lr": 0.01, "weight_decay": 0.1}) for name in solvers.names()},
    # Its eigenvectors for the eigenvalue 0, which small convolutions have, are what rounding makes of them.
    "soap": ("perceptron", {"solver": "soap", "lr": 0.01, "weight_decay": 0.1}),
    "whitened muon": (
        "convolutional",
        {"solver": "muon", "lr": 0.01, "weight_decay": 0.1, "solver_options": {"whiten": True}},
    ),
    "clipped": ("perceptron", {**MOMENTUM, "clip_norm": 0.1}),
    "label smoothing": ("perceptron", {**MOMENTUM, "label_smoothing": 0.1}),
    "layer-wise adam": ("perceptron", {"solver": "adam", "lr": 0.1, "layerwise": {"upper": 1.0}}),
    "adascale": ("perceptron", {**MOMENTUM, "adascale": True, "reference_batch_size": 10}),
    "moving average": ("convolutional", {**MOMENTUM, "averaging": {"kind": "ema", "decay": 0.5}}),
    "tail average": ("convolutional", {**MOMENTUM, "averaging": {"kind": "tail"}}),
    "ghost batch norm": ("convolutional", {**MOMENTUM, "ghost_batch_size": 5}),
    "estimated batch norm": ("convolutional", {**MOMENTUM, "batch_norm_statistics": "estimated"}),
    "dropout": ("dropping", {**MOMENTUM, "dropout": 0.3}),
    "orthogonal initial weights": ("perceptron", {**MOMENTUM, "initialization": "orthogonal"}),
    **{
        f"noise on {where}": ("perceptron", {**MOMENTUM, "noise": {"where": where, "std": 0.1}})
        for where in ("activations", "weights", "gradients", "labels")
    },
}


def prepared(
    device: str, model: str, recipe: dict[str, Any], probed: tuple[str, ...] = (), protocol: str = "paper"
) -> trial.Training:
    """One of 8 steps in micro-batches of 15; under the protocol 'validation' on examples that are read each time."""
    torch.manual_seed(0)
    changes = {} if protocol == "paper" else {"data": DataSet(read(60, 1), read(40, 2), validation_size=20)}
    work = small_training.workload(getattr(small_training, model), **changes)
    settings = small_training.config(Recipe.model_validate(recipe), probes=probed, protocol=protocol)
    size = 30 if model == "convolutional" and "ghost_batch_size" not in recipe else 15
    return trial.prepare(settings, work, Execution(microbatch_size=size), torch.device(device))


def read(count: int, seed: int) -> Split:
    """Points that a data set gives one by one."""
    points = small_training.blobs(count, seed)
    return from_dataset(TensorDataset(points.inputs, points.targets), cache=False)
