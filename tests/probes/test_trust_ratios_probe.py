"""Trust ratios as the probe reports them, against float64 twins fed with the training's own weights and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from naive_probes import NaiveAdamUpdates
from naive_trust_ratio import naive_ratio
from small_training import CPU, config, prepared, workload
from torch import nn

from batchlimit.config import LayerWise, Recipe
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.engine.trial import take_step
from batchlimit.probes.trust_ratios import TrustRatios

STEPS = 8


def watched(recipe):
    """Return what the probe measured, the layers' names, and weights and gradients before each update."""
    training = prepared(config(recipe, probes=("trust-ratios",)), workload())
    named, watch, seen = dict(training.model.named_parameters()), FiniteWatch(CPU), []
    assert training.total_steps == STEPS
    for _ in range(STEPS):
        before = [p.detach().double().numpy().copy() for p in named.values()]
        take_step(training, watch)
        seen.append((before, [p.grad.double().numpy().copy() for p in named.values()]))
    return training.probing.results()["trust-ratios"], list(named), seen


def momentum_updates(seen, momentum=0.9):
    buffers = [0.0] * len(seen[0][1])
    for _, gradients in seen:
        buffers = [momentum * v + g for v, g in zip(buffers, gradients, strict=True)]
        yield buffers


def check(measured, names, expected):
    """`expected[step][index]` is the ratio of a layer; every layer that is reported has to have it."""
    assert measured["layers"]
    for name, ratios in measured["layers"].items():
        mine = [expected[t - 1][names.index(name)] for t in measured["updates"]]
        assert ratios == pytest.approx(mine, rel=1e-4)


def test_of_lars():
    measured, names, seen = watched(Recipe(solver="lars", lr=2.0, weight_decay=1e-2))
    expected = [[naive_ratio(w, g, 0.001, 1e-2) for w, g in zip(*both, strict=True)] for both in seen]
    check(measured, names, expected)
    assert measured["applied"] is True
    assert sorted(measured["layers"]) == ["0.weight", "2.weight"]
    assert measured["excluded"] == ["0.bias", "2.bias"]
    assert (measured["lower"], measured["upper"]) == (0.0, None)


def test_of_lamb_with_bounds_and_nothing_excluded():
    options = {"lower": 0.15, "upper": 0.2, "exclude": "nothing"}
    measured, names, seen = watched(Recipe(solver="lamb", lr=0.01, solver_options=options))
    updates = NaiveAdamUpdates()
    expected = [
        [naive_ratio(w, u, lower=0.15, upper=0.2) for w, u in zip(weights, updates(gradients), strict=True)]
        for weights, gradients in seen
    ]
    check(measured, names, expected)
    assert list(measured["layers"]) == names
    assert (measured["lower"], measured["upper"], measured["excluded"]) == (0.15, 0.2, [])
    for shares, bound in ((measured["share_at_lower"], 0.15), (measured["share_at_upper"], 0.2)):
        mine = [np.mean([value == bound for value in expected[t - 1]]) for t in measured["updates"]]
        assert shares == pytest.approx(mine, rel=1e-5)
        assert any(shares)


@pytest.mark.parametrize("exclude", ["1d", "nothing"])
def test_of_layerwise_over_momentum(exclude):
    wise = LayerWise(lower=0.5, upper=2.0, exclude=exclude)
    measured, names, seen = watched(Recipe(lr=0.1, layerwise=wise, solver_options={"momentum": 0.9}))
    expected = [
        [naive_ratio(w, v, lower=0.5, upper=2.0) for w, v in zip(weights, updates, strict=True)]
        for (weights, _), updates in zip(seen, momentum_updates(seen), strict=True)
    ]
    check(measured, names, expected)
    assert measured["applied"] is True
    assert (measured["lower"], measured["upper"]) == (0.5, 2.0)
    assert bool(measured["excluded"]) is (exclude == "1d")
    assert any(measured["share_at_upper"])


@pytest.mark.parametrize("schedule", ["constant", "polynomial"])
def test_of_a_solver_without_one(schedule):
    measured, names, seen = watched(Recipe(lr=0.1, schedule=schedule, solver_options={"momentum": 0.9}))
    expected = [
        [naive_ratio(w, v) for w, v in zip(weights, updates, strict=True)]
        for (weights, _), updates in zip(seen, momentum_updates(seen), strict=True)
    ]
    check(measured, names, expected)
    assert list(measured["layers"]) == names
    assert measured["applied"] is False
    assert measured["excluded"] == []
    assert not any(measured["share_at_lower"] + measured["share_at_upper"])


def test_a_layer_without_gradient_has_no_ratio():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(6, 4), nn.Linear(3, 3)

        def forward(self, inputs):
            return self.used(inputs)

    training = prepared(config(Recipe(solver="lars", lr=1.0), probes=("trust-ratios",)), workload(Idle))
    watch = FiniteWatch(CPU)
    for _ in range(STEPS):
        take_step(training, watch)
    measured = training.probing.results()["trust-ratios"]
    assert list(measured["layers"]) == ["used.weight"]
    assert None not in measured["layers"]["used.weight"]


def test_the_line_says_whether_they_were_applied():
    result = {"layers": {"a": [0.5, None], "b": [2.0, 1.0]}, "applied": False}
    assert TrustRatios.line(result) == "from 0.5 to 2 over 2 layers (not applied, as layerwise would have them)"
    assert TrustRatios.line(result | {"applied": True}).endswith("(applied)")
    assert "no trust ratio" in TrustRatios.line({"layers": {"a": [None]}, "applied": True})
