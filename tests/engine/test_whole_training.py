"""A whole training by the engine and by a plain float64 transcription of what it should do: the same weights."""

from __future__ import annotations

from typing import Any

import naive_training
import numpy as np
import pytest
import torch
from small_training import TRAIN, blobs, config, prepared, workload

from batchlimit.config import Recipe
from batchlimit.engine.trial import Training, final_scores, train

Weights = dict[str, np.ndarray]

# The trial as the engine is told of it: (batch size, epochs, micro-batch size, seed), its recipe, and the twin's words.
PLAIN = Recipe(lr=0.2, solver_options={"momentum": 0.0})
MOMENTUM = Recipe(lr=0.1, solver_options={"momentum": 0.9}, schedule="polynomial", schedule_options={"power": 2.0})
EVERYTHING = Recipe(
    lr=0.05,
    lr_rule="linear",
    reference_batch_size=16,
    weight_decay=0.02,
    solver_options={"momentum": 0.9},
    schedule="polynomial",
    schedule_options={"power": 1.5},
    warmup="1.3 epochs",
    label_smoothing=0.1,
    clip_norm=0.3,
)
PLAIN_TWIN = {"lr": 0.2, "power": 0.0}
MOMENTUM_TWIN = {"lr": 0.1, "momentum": 0.9, "power": 2.0}
EVERYTHING_TWIN = {
    "lr": 0.05 * 32 / 16,
    "momentum": 0.9,
    "weight_decay": 0.02,
    "power": 1.5,
    "warmup_epochs": 1.3,
    "smoothing": 0.1,
    "clip_norm": 0.3,
}


def numpy_weights(training: Training) -> Weights:
    parts = dict(training.model.named_parameters())
    names = {"W1": "0.weight", "b1": "0.bias", "W2": "2.weight", "b2": "2.bias"}
    return {short: parts[long].detach().double().numpy().copy() for short, long in names.items()}


def twin_of(start: Weights, seed: int, batch_size: int, epochs: float, words: dict[str, Any]) -> tuple[Weights, Any]:
    data = blobs(TRAIN, 1)
    inputs, labels = data.inputs.double().numpy(), data.targets.numpy()
    return naive_training.train(start, inputs, labels, batch_size=batch_size, epochs=epochs, seed=seed, **words)


def furthest(one: Weights, other: Weights) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize(
    ("batch_size", "epochs", "microbatch_size", "seed", "recipe", "words"),
    [
        pytest.param(1, 0.25, 1, 0, PLAIN, PLAIN_TWIN, id="one example a step"),
        pytest.param(TRAIN, 12, 50, 1, MOMENTUM, MOMENTUM_TWIN, id="full batch"),
        pytest.param(32, 4.2, 7, 2, EVERYTHING, EVERYTHING_TWIN, id="everything, micro-batches that do not divide"),
        pytest.param(32, 4.2, 32, 3, EVERYTHING, EVERYTHING_TWIN, id="everything, one pass"),
    ],
)
def test_the_engine_equals_the_transcription(
    batch_size: int, epochs: float, microbatch_size: int, seed: int, recipe: Recipe, words: dict[str, Any]
) -> None:
    trial = config(recipe, batch_size=batch_size, budget=f"{epochs} epochs", seed=seed)
    training = prepared(trial, workload(), microbatch_size)
    expected, steps = twin_of(numpy_weights(training), seed, batch_size, epochs, words)
    train(training)

    assert training.status == "complete"
    assert training.step == len(steps) == training.total_steps
    assert furthest(numpy_weights(training), expected) < 1e-5
    before = 0
    for point in training.history:
        assert point.lr == pytest.approx(steps[point.step - 1]["lr"], rel=1e-12)
        losses = [step["loss"] for step in steps[before : point.step]]
        assert point.train_loss == pytest.approx(np.mean(losses), abs=1e-5)
        assert point.epoch == pytest.approx(point.step * batch_size / TRAIN)
        before = point.step
    assert before == len(steps)

    test = training.examples.test
    inputs, labels = test.gather(torch.arange(len(test)))
    plain = naive_training.mean_loss(expected, inputs.double().numpy(), labels.numpy())
    share = naive_training.accuracy(expected, inputs.double().numpy(), labels.numpy())
    for scores in final_scores(training):
        assert scores is not None
        assert scores.loss == pytest.approx(plain, abs=1e-5)
        assert scores.metric == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    "without",
    [
        {"momentum": 0.0},
        {"weight_decay": 0.0},
        {"power": 1.0},
        {"warmup_epochs": 0.0},
        {"smoothing": 0.0},
        {"clip_norm": 10.0},
        {"lr": 0.05},
    ],
    ids=lambda part: next(iter(part)),
)
def test_the_comparison_notices_each_ingredient(without: dict[str, float]) -> None:
    """A transcription that lacks any one part of the recipe ends a hundred tolerances away."""
    start = numpy_weights(prepared(config(EVERYTHING, batch_size=32, seed=2), workload()))
    complete, steps = twin_of(start, 2, 32, 4.2, EVERYTHING_TWIN)
    lacking, _ = twin_of(start, 2, 32, 4.2, {**EVERYTHING_TWIN, **without})
    assert furthest(complete, lacking) > 1e-3
    assert max(step["norm"] for step in steps) > 0.3  # clipping clips
