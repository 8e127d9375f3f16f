"""Layers computed again in the backward pass: they draw the numbers that they drew before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_training import CLASSES, FEATURES, config, distance, gradient, prepared, weights, workload
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from batchlimit.config import Noise, Recipe
from batchlimit.engine.trial import train
from batchlimit.errors import InputError
from batchlimit.models import randomness
from batchlimit.models.keyed_dropout import KeyedDropout

NOISY = Recipe(lr=0.1, noise=Noise(where="activations", std=0.5))
KINDS = [{"use_reentrant": False}, {"use_reentrant": True}]


class Blocks(nn.Module):
    """Three blocks with dropout, one of them used twice, checkpointed with `options` unless that is None."""

    def __init__(self, options: dict[str, Any] | None) -> None:
        super().__init__()
        self.options = options
        self.first = nn.Linear(FEATURES, 16)
        self.dropout = KeyedDropout(0.3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.ReLU(), KeyedDropout(0.5), nn.Linear(16, 16), self.dropout)
            for _ in range(2)
        )
        self.last = nn.Linear(16, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        for block in (*self.blocks, self.blocks[0]):
            if self.options is None or not self.training:
                hidden = block(hidden)
            else:
                hidden = checkpoint(block, hidden, **self.options)
        return self.last(self.dropout(hidden))


def blocks(options: dict[str, Any] | None) -> Callable[[], nn.Module]:
    return lambda: Blocks(options)


def gradients(options: dict[str, Any] | None, recipe: Recipe, size: int) -> Tensor:
    training = prepared(config(recipe), workload(blocks(options)), size)
    if training.noise is not None:
        training.noise.during_passes(0)
    return gradient(training.accumulate, 0, training.stream.batch(0))


@pytest.mark.parametrize("recipe", [Recipe(lr=0.1), NOISY], ids=["dropout", "dropout and noise"])
@pytest.mark.parametrize("options", KINDS, ids=["graph", "reentrant"])
def test_gradients_are_those_without_it_in_any_micro_batches(options: dict[str, Any], recipe: Recipe) -> None:
    whole = gradients(None, recipe, 30)
    for size in (30, 10, 7):
        assert distance(gradients(options, recipe, size), whole) < 1e-5, size


def test_a_training_is_the_one_without_it() -> None:
    ends = []
    for options in (None, KINDS[0]):
        training = prepared(config(), workload(blocks(options)), 10)
        train(training)
        ends.append(weights(training))
    assert distance(ends[1], ends[0]) < 1e-5


@pytest.mark.parametrize("options", KINDS, ids=["graph", "reentrant"])
def test_without_torch_s_random_state_it_is_refused(options: dict[str, Any]) -> None:
    training = prepared(config(), workload(blocks({**options, "preserve_rng_state": False})))
    with pytest.raises(InputError, match=r"Valid: activation checkpointing with preserve_rng_state=True"):
        training.accumulate(0, training.stream.batch(0))
    assert randomness.current() is None


def test_another_device_s_threads_find_the_place_of_the_backward_pass() -> None:
    """torch goes back in threads of its own there, which do not have the caller's context."""
    place = randomness.at(seed=1, step=0, start=0, stop=4)
    with place:
        state = torch.random.get_rng_state()
        drawn = KeyedDropout(0.5)(torch.ones(4, 8))
    found: list[Any] = []

    def go_back() -> None:
        torch.random.set_rng_state(state)
        found.append(KeyedDropout(0.5)(torch.ones(4, 8)))

    with randomness.backward_of(place, torch.device("cuda")):
        thread = threading.Thread(target=go_back)
        thread.start()
        thread.join()
    assert torch.equal(found[0], drawn)
    assert randomness.current() is None
