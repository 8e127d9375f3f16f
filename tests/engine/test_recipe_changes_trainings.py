"""A recipe's dropout and initialization in whole trainings: the same as of a model that was written so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_training import CLASSES, FEATURES, config, dropping, perceptron, workload
from torch import nn

from batchlimit.config import Recipe
from batchlimit.engine import Execution, run
from batchlimit.models.initialization import glorot_uniform
from batchlimit.records import TrialRecord

ON_CPU = Execution(device="cpu", microbatch_size=7)


def trained(make_model: Callable[[], nn.Module], **recipe: object) -> TrialRecord:
    given = {"solver": "momentum", "lr": 0.05, **recipe}
    return run(config(Recipe.model_validate(given)), workload=workload(make_model), execution=ON_CPU)


def undropped() -> nn.Module:
    layers = [nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES)]
    return nn.Sequential(*layers)


def dropped_more() -> nn.Module:
    model = dropping()
    model[2].p = model[5].p = 0.6
    return model


def glorot() -> nn.Module:
    return perceptron().apply(glorot_uniform)


@pytest.mark.parametrize(
    ("changed", "recipe", "written"),
    [
        (dropping, {"dropout": 0.0}, undropped),
        (dropping, {"dropout": 0.6}, dropped_more),
        (perceptron, {"initialization": "glorot-uniform"}, glorot),
    ],
)
def test_a_recipe_trains_what_a_model_written_so_would(
    changed: Callable[[], nn.Module], recipe: dict[str, object], written: Callable[[], nn.Module]
) -> None:
    ours, theirs, plain = trained(changed, **recipe), trained(written), trained(changed)
    assert [point.train_loss for point in ours.history] == [point.train_loss for point in theirs.history]
    assert ours.test == theirs.test
    assert ours.history[-1].train_loss != plain.history[-1].train_loss


def test_initial_weights_are_the_seeds() -> None:
    torch.manual_seed(0)
    first, again = (trained(perceptron, initialization="he-normal") for _ in range(2))
    assert first.history == again.history
