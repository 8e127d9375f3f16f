"""AdaScale as a field of the recipe: against a numpy twin, whatever the micro-batches, refused where it cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from naive_adascale import train as naive_train
from pydantic import ValidationError
from small_training import config, convolutional, distance, dropping, prepared, weights, workload

from batchlimit.config import LayerWise, Recipe
from batchlimit.engine import Execution, run
from batchlimit.engine.adascale import schedule_units
from batchlimit.engine.check import check_names
from batchlimit.engine.trial import train
from batchlimit.errors import InputError

CPU = Execution(device="cpu", microbatch_size=10)
SCALED = Recipe(
    lr=0.05, adascale=True, reference_batch_size=10, schedule="polynomial", warmup="1 epoch", solver="momentum"
)


@pytest.mark.parametrize(("batch_size", "parts"), [(20, 2), (40, 4), (120, 8)])
def test_a_training_agrees_with_the_twin(batch_size: int, parts: int) -> None:
    training = prepared(config(SCALED, batch_size=batch_size, budget="12 steps"), workload(), 7)
    names = {"0.weight": "W1", "0.bias": "b1", "2.weight": "W2", "2.bias": "b2"}
    start = {names[name]: value.double().numpy() for name, value in training.model.state_dict().items()}
    inputs, labels = training.examples.train.gather(torch.arange(120))
    expected, steps = naive_train(
        start,
        inputs.double().numpy(),
        labels.numpy(),
        batch_size=batch_size,
        reference=10,
        parts=parts,
        steps=12,
        seed=training.config.seed,
        lr=0.05,
        momentum=0.9,
        warmup=12,
        power=1.0,
    )
    train(training)
    assert training.adascale is not None
    assert training.adascale.scaler.progress == pytest.approx(sum(gain for gain, _ in steps), rel=1e-5)
    assert training.lr == pytest.approx(steps[-1][1], rel=1e-5)
    for name, value in training.model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[names[name]], rtol=2e-4, atol=2e-6)
    assert 1.0 < steps[-1][0] < batch_size / 10


@pytest.mark.parametrize(
    ("make", "ghost", "sizes"), [(dropping, None, (120, 13, 4)), (convolutional, 10, (120, 20, 10))]
)
def test_micro_batches_and_probes_change_nothing(make, ghost, sizes) -> None:
    recipe = SCALED.updated({"ghost_batch_size": ghost})
    ends = []
    for probed, size in ((), sizes[0]), ((), sizes[1]), ((), sizes[2]), (("gradient-noise",), sizes[0]):
        trial = config(recipe, batch_size=120, budget="5 epochs", probes=probed)
        training = prepared(trial, workload(make), size)
        train(training)
        ends.append((weights(training), training.lr))
    for end, lr in ends[1:]:
        assert distance(end, ends[0][0]) < 1e-5
        assert lr == pytest.approx(ends[0][1], rel=1e-5)


def test_at_the_reference_batch_size_it_is_the_plain_recipe() -> None:
    ends = []
    for adascale in (True, False):
        training = prepared(config(SCALED.updated({"adascale": adascale}), batch_size=10), workload(), 10)
        assert training.adascale is None
        train(training)
        ends.append(weights(training))
    assert torch.equal(*ends)


def test_noise_alone_gives_linear_scaling_and_no_noise_none() -> None:
    """The two ends of the gain, with gradients that are put there."""
    for signs, expected in (((1, -1), 4.0), ((1, 1), 1.0)):
        training = prepared(config(SCALED, batch_size=40), workload(), 10)
        scaling = training.adascale
        assert scaling is not None
        total = [torch.zeros_like(p) for p in training.accumulate.parameters]
        for part in range(4):
            for parameter, summed in zip(training.accumulate.parameters, total, strict=True):
                summed += signs[part % 2] / 4
                parameter.grad = summed.clone()
            training.accumulate.observers[0](0, 10 * part, 10 * part + 10)
        assert scaling.factor(lambda step: 0.5) == pytest.approx(0.5 * expected)
        assert scaling.scaler.progress == pytest.approx(expected)


def test_the_schedule_counts_reference_steps() -> None:
    assert schedule_units(config(SCALED, batch_size=40), 6) == (10, 24)
    assert schedule_units(config(SCALED, batch_size=35), 7) == (10, 25)
    assert schedule_units(config(batch_size=40), 6) == (40, 6)


def test_a_training_that_diverges_is_called_so() -> None:
    record = run(config(SCALED.updated({"lr": 1e30}), batch_size=40), workload=workload(dropping), execution=CPU)
    assert record.status == "diverged"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference_batch_size": None}, "needs reference_batch_size"),
        ({"lr_rule": "linear"}, "takes the place of lr_rule 'linear'"),
        ({"layerwise": LayerWise()}, "layerwise"),
    ],
)
def test_recipes_that_contradict_themselves(changes, words) -> None:
    with pytest.raises(ValidationError, match=words):
        Recipe(**{"adascale": True, "reference_batch_size": 10, **changes})


@pytest.mark.parametrize(
    ("recipe", "make", "batch_size", "words"),
    [
        (SCALED, None, 5, r"batch_size 5, below reference_batch_size 10\. Valid: 10 or more"),
        (SCALED.updated({"solver": "lars"}), None, 20, "trust ratios of 'lars'"),
        (SCALED.updated({"solver": "lamb"}), None, 20, "trust ratios of 'lamb'"),
        (SCALED, convolutional, 20, "batch norm takes more than half of it"),
    ],
)
def test_what_cannot_be_is_refused_before_training(recipe, make, batch_size, words) -> None:
    work = workload(*([make] if make else []))
    for refused in (
        lambda: check_names(work, recipe, (batch_size,), Execution(device="cpu")),
        lambda: run(config(recipe, batch_size=batch_size), workload=work, execution=Execution(device="cpu")),
    ):
        with pytest.raises(InputError, match=words):
            refused()


def test_it_leaves_the_hash_of_other_recipes_alone() -> None:
    assert "adascale" not in Recipe().canonical()
    assert SCALED.hash != SCALED.updated({"adascale": False}).hash
    assert math.isclose(SCALED.peak_lr(1000), 0.05)
