"""The probe 'sharpness' in the engine: where it looks, in which mode, and that training does not notice."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_training import TRAIN, config, convolutional, dropping, prepared, weights, workload

from batchlimit.config import Recipe
from batchlimit.engine.trial import train
from batchlimit.probes.sharpness import top_eigenvalue


def test_training_is_bit_for_bit_what_it_is_without() -> None:
    for make, recipe in ((dropping, Recipe(lr=0.1)), (convolutional, Recipe(lr=0.1, ghost_batch_size=10))):
        ends = []
        for names in ((), ("sharpness",)):
            training = prepared(config(recipe, probes=names), workload(make), 10)
            train(training)
            ends.append(torch.cat([weights(training), *(b.flatten().float() for b in training.model.buffers())]))
        assert torch.equal(ends[0], ends[1])


def test_it_looks_before_the_first_step_and_along_the_training_at_the_weights_of_then() -> None:
    trial = config(Recipe(lr=0.3, label_smoothing=0.1), probes=("sharpness",), budget="16 steps")
    training, plain = prepared(trial, workload(dropping), 30), prepared(trial, workload(dropping), 30)
    inputs, targets = plain.examples.train.gather(torch.arange(TRAIN))

    def expected() -> float:
        plain.model.eval()
        return top_eigenvalue(
            lambda: F.cross_entropy(plain.model(inputs), targets, label_smoothing=0.1), list(plain.model.parameters())
        )

    first = expected()
    train(training)
    assert training.probing is not None
    result = training.probing.results()["sharpness"]
    assert result["updates"] == [0, 2, 4, 8, 16]
    assert result["examples"] == TRAIN  # all of them: 512 are more than there are
    assert result["top_eigenvalue"][0] == pytest.approx(first, rel=2e-3)
    plain.model.load_state_dict(training.model.state_dict())
    assert result["top_eigenvalue"][-1] == pytest.approx(expected(), rel=2e-3)
    assert len(set(result["top_eigenvalue"])) == 5
