"""What can be found wrong before any training: names, options, sizes, and a workload that is not what it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from batchlimit.config import Recipe
from batchlimit.data.splits import DataSet, Split, TensorSplit
from batchlimit.engine import microbatch
from batchlimit.engine.adascale import check_adascale
from batchlimit.engine.averaging import check_averaging
from batchlimit.engine.examples import divide
from batchlimit.engine.execution import Execution
from batchlimit.engine.model import model_of
from batchlimit.engine.noise import check_noise
from batchlimit.errors import InputError
from batchlimit.models.dropout_rate import has_dropout
from batchlimit.models.initialization import differs_from_torchs
from batchlimit.optimizers import solvers
from batchlimit.optimizers.build import build_optimizer
from batchlimit.schedules.build import build_schedule
from batchlimit.workloads.workload import ACCURACY, Metric, Workload


def dataset_size(data: DataSet, protocol: str) -> int:
    """Return the number of training examples under `protocol`: the full batch.

    Raises:
        InputError: as `divide`.
    """
    return len(divide(data, protocol).train)


def has_validation(data: DataSet) -> bool:
    """Return whether recipes can be selected by examples that are neither trained on nor tested with."""
    return data.validation is not None or data.validation_size > 0


def constant_score(metric: Metric, test: Split) -> float | None:
    """Return what always answering the most frequent label of the test split would score.

    None where the metric is no accuracy, or the labels are not to be had without reading every example.
    """
    if metric != ACCURACY or not isinstance(test, TensorSplit) or test.targets.dim() != 1:
        return None
    counts = torch.unique(test.targets, return_counts=True)[1].tolist()
    return max(counts) / len(test) if counts else None


def check_names(workload: Workload, recipe: Recipe, batch_sizes: Sequence[int], execution: Execution) -> None:
    """Check that `recipe` can be built for `workload` at each of `batch_sizes` on the device asked for.

    Raises:
        InputError: a solver, a schedule, an option, a ghost batch size, noise, averaging or the device cannot be.
    """
    execution.torch_device()
    model, optimizer = _built(workload, recipe)
    build_schedule(recipe, total_steps=10, warmup_steps=1.0)
    check_noise(recipe, model)
    check_averaging(recipe, optimizer)
    for batch_size in batch_sizes:
        if batch_size < 1:
            raise InputError(f"The batch size is {batch_size}. Valid: 1 or more.")
        unit = microbatch.granularity(model, batch_size)
        check_adascale(recipe, model, optimizer, batch_size)
        size = execution.microbatch_size
        if size is not None and min(size, batch_size) % unit:
            raise InputError(f"microbatch_size {size} is not a multiple of the batch norm's {unit} examples.")


def parameter_count(workload: Workload) -> int:
    """Return the number of trained numbers of the workload's model."""
    with torch.random.fork_rng(devices=[]):
        model = workload.make_model()
    return sum(parameter.numel() for parameter in model.parameters())


def refusals(
    workload: Workload, recipe: Recipe, others: Mapping[str, Recipe], *, batch_sizes: Sequence[int]
) -> dict[str, str]:
    """Return which of `others`, which differ from `recipe` in how they optimize, cannot train the model, and why.

    One that can at some of `batch_sizes` only is among them.

    Raises:
        InputError: `recipe` itself cannot.
    """
    model, _ = _built(workload, recipe)
    return _refused(model, others, batch_sizes)


def _refused(model: nn.Module, others: Mapping[str, Recipe], batch_sizes: Sequence[int] = ()) -> dict[str, str]:
    found = {}
    for name, other in others.items():
        try:
            optimizer = _solver_for(model, other)
            try:
                for batch_size in batch_sizes:
                    check_adascale(other, model, optimizer, batch_size)
            finally:
                if hasattr(optimizer, "detach"):
                    optimizer.detach()
        except InputError as error:
            found[name] = str(error).partition(" Valid:")[0]
    return found


def model_facts(workload: Workload, recipe: Recipe) -> dict[str, Any]:
    """Return what studies know of the model as `recipe` changes it: fields of `Facts`.

    Raises:
        InputError: the recipe cannot train it.
    """
    model, _ = _built(workload, recipe)
    refused = _refused(model, {name: recipe.with_solver(name, recipe.lr) for name in solvers.names()})
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dropout": has_dropout(model),
        "own_weights": differs_from_torchs(model),
        "solvers": tuple(name for name in solvers.names() if name not in refused),
        "refused": refused,
    }


def _built(workload: Workload, recipe: Recipe) -> tuple[nn.Module, torch.optim.Optimizer]:
    with torch.random.fork_rng(devices=[]):
        model = model_of(workload, recipe)
    return model, _solver_for(model, recipe)


def _solver_for(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's solver, which looks at the model's layers if it is one that does."""
    optimizer = build_optimizer(recipe.updated({"lr_rule": "none"}), model.named_parameters())
    if hasattr(optimizer, "attach"):
        optimizer.attach(model)
    return optimizer


def fingerprint(workload: Workload) -> str:
    """Return one line of JSON that changes when a workload is not what it was: sizes, parameters, metric."""
    data = workload.load()
    facts = {
        "parameters": parameter_count(workload),
        "train": len(data.train),
        "validation": len(data.validation) if data.validation is not None else data.validation_size,
        "test": len(data.test),
        "metric": f"{workload.metric.name} {workload.metric.direction}",
    }
    return json.dumps(facts, sort_keys=True)
