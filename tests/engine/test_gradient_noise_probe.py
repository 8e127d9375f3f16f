"""The probe 'gradient-noise' in the engine: what it is shown, and that training does not notice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from naive_gradient_noise import estimates, example_gradients
from small_training import CPU, config, convolutional, distance, prepared, weights, workload

from batchlimit.config import Recipe
from batchlimit.engine import Execution, run
from batchlimit.engine.trial import train
from batchlimit.errors import InputError
from batchlimit.probes.gradient_noise import GradientNoise
from batchlimit.probes.probe import Setting


def probed(recipe: Recipe | None = None, size: int = 30, make=None, **changes):
    trial = config(recipe, probes=("gradient-noise",), **changes)
    training = prepared(trial, workload(*([make] if make else [])), size)
    train(training)
    assert training.probing is not None
    return training, training.probing.results()["gradient-noise"]


def test_the_engine_shows_it_the_examples_gradients() -> None:
    """The first batch's numbers, from every example's own gradient."""
    trial = config(probes=("gradient-noise",), batch_size=40)
    training = prepared(trial, workload(), 40)
    twin = prepared(trial, workload(), 40)
    batch = training.stream.batch(0)
    inputs, targets = twin.examples.train.gather(batch)
    own = example_gradients(twin.model, F.cross_entropy, inputs, targets)
    expected = estimates(np.split(own, 8), dataset_size=120)
    train(training)
    assert training.probing is not None
    result = training.probing.results()["gradient-noise"]
    assert result["updates"][0] == 1
    for name, value in zip(("gradient_sq", "variance", "signal", "noise"), expected, strict=True):
        assert result[name][0] == pytest.approx(value, rel=1e-4), name
    assert result["noise_scale"][0] == pytest.approx(expected[1] / expected[0], rel=1e-4)
    assert result["snr"][0] == pytest.approx(expected[2] / expected[3], rel=1e-4)


@pytest.mark.parametrize(("make", "ghost"), [(None, None), (convolutional, 2)], ids=["plain", "ghost batch norm"])
def test_micro_batches_change_neither_the_result_nor_the_training(make, ghost) -> None:
    recipe = Recipe(lr=0.1, ghost_batch_size=ghost)
    ends = [probed(recipe, size, make, budget="8 epochs") for size in (2, 12, 30)]
    for training, result in ends[1:]:
        assert result.pop("dataset_size") == 120
        for name, values in ends[0][1].items():
            if name == "dataset_size":
                continue
            assert [v is None for v in values] == [v is None for v in result[name]]
            kept = [(a, b) for a, b in zip(values, result[name], strict=True) if a is not None]
            np.testing.assert_allclose(*zip(*kept, strict=True), rtol=2e-3)
        assert distance(weights(training), weights(ends[0][0])) < 1e-5
    plain = prepared(config(recipe, budget="8 epochs"), workload(*([make] if make else [])), 30)
    train(plain)
    assert distance(weights(plain), weights(ends[0][0])) < 1e-5


def test_the_full_batch_has_no_noise_and_the_exact_gradient() -> None:
    _, result = probed(size=50, batch_size=120)
    assert set(result["noise"]) == {0.0}
    assert set(result["snr"]) == {None}
    assert result["signal"] == result["gradient_sq"]


def test_steps_in_between_are_computed_as_ever() -> None:
    training = prepared(config(probes=("gradient-noise",), budget="500 steps"), workload(), 30)
    probe = GradientNoise(
        Setting(training.model, training.optimizer, 30, 500, 120, 0, CPU, training.accumulate.loss_on)
    )
    wanted = [step for step in range(500) if probe.wants(step)]
    assert wanted[:3] == [0, 1, 2]
    assert {100, 200, 299, 399, 499} <= set(wanted)
    assert len(wanted) < 40
    assert training.probing is not None
    cuts = []
    for step in (0, 450):
        training.probing.before_step(step)
        cuts.append(len(list(training.accumulate._passes(30))))
    assert cuts == [8, 1]


def test_what_cannot_be_cut_is_refused_before_training() -> None:
    for recipe, make, batch, words in (
        (Recipe(), None, 1, "batch_size of 1"),
        (Recipe(), convolutional, 30, "ghost_batch_size at most 15"),
        (Recipe(ghost_batch_size=20), convolutional, 20, "ghost_batch_size at most 10"),
    ):
        with pytest.raises(InputError, match=words):
            run(
                config(recipe, probes=("gradient-noise",), batch_size=batch),
                workload=workload(*([make] if make else [])),
                execution=Execution(device="cpu", microbatch_size=batch),
            )


def test_memory_running_out_begins_the_parts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = config(probes=("gradient-noise",), batch_size=40, budget="2 steps")
    results = []
    for fails in (False, True):
        training = prepared(trial, workload(), 5)
        calls, backward = itertools.count(), training.accumulate._backward

        def failing(*arguments, backward=backward, calls=calls, fails=fails):
            if fails and next(calls) == 3:
                raise torch.OutOfMemoryError("out of memory")
            return backward(*arguments)

        monkeypatch.setattr(training.accumulate, "_backward", failing)
        train(training)
        assert training.probing is not None
        results.append(training.probing.results()["gradient-noise"])
    for name, values in results[0].items():
        np.testing.assert_allclose(results[1][name], values, rtol=1e-4)
