"""Distances from the start, and sketches of the end, against float64 twins."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from naive_probes import naive_distance, naive_sketch
from small_training import CPU, config, convolutional, perceptron, prepared, workload

from batchlimit.config import Recipe
from batchlimit.engine import Execution, run
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.engine.trial import take_step
from batchlimit.probes.probe import log_spaced
from batchlimit.probes.weight_distance import BUCKETS, CHUNK, SKETCH_SEED, Sketch, WeightDistance

ON_CPU = Execution(device="cpu", microbatch_size=10)


@pytest.mark.parametrize("make_model", [perceptron, convolutional])
def test_distances_are_those_of_a_training_watched_from_outside(make_model):
    recipe = Recipe(lr=0.05, ghost_batch_size=10 if make_model is convolutional else None)
    work = workload(make_model)
    trial = config(recipe, budget="40 steps", probes=("weight-distance",))
    watched = prepared(trial, work, 10)

    def arrays():
        return [p.detach().double().numpy().copy() for p in watched.model.parameters()]

    start, seen, watch = arrays(), [], FiniteWatch(CPU)
    for _ in range(40):
        take_step(watched, watch)
        seen.append(arrays())
    measured = watched.probing.results()["weight-distance"]
    assert measured["updates"] == [step + 1 for step in log_spaced(40)]
    assert measured["updates"][0] == 1
    assert measured["updates"][-1] == 40
    assert measured["epochs"] == pytest.approx([t * 30 / 120 for t in measured["updates"]])
    for position, t in enumerate(measured["updates"]):
        assert measured["distance"][position] == pytest.approx(naive_distance(seen[t - 1], start), rel=1e-5)
        for index, (name, _) in enumerate(watched.model.named_parameters()):
            alone = naive_distance([seen[t - 1][index]], [start[index]])
            assert measured["layers"][name][position] == pytest.approx(alone, rel=1e-5, abs=1e-9)
    moved = np.concatenate([(a - b).ravel() for a, b in zip(seen[-1], start, strict=True)])
    end = np.concatenate([a.ravel() for a in seen[-1]])
    assert measured["parameters"] == len(end)
    assert measured["initial_norm"] == pytest.approx(math.sqrt(sum((a**2).sum() for a in start)), rel=1e-5)
    assert measured["final_norm"] == pytest.approx(np.linalg.norm(end), rel=1e-5)
    assert measured["final_distance"] == pytest.approx(np.linalg.norm(moved), rel=1e-5)
    assert measured["sketch"] == pytest.approx(naive_sketch(moved, SKETCH_SEED, BUCKETS), rel=6e-6, abs=1e-9)
    assert measured["end_sketch"] == pytest.approx(naive_sketch(end, SKETCH_SEED, BUCKETS), rel=6e-6, abs=1e-9)


def test_a_sketch_is_linear_and_does_not_depend_on_how_it_is_fed():
    generator = np.random.default_rng(0)
    vector, other = generator.normal(size=(2, CHUNK + 1000))
    whole, parts, total, second = Sketch(), Sketch(), Sketch(), Sketch()
    whole.add(vector)
    for part in np.split(vector, [1, 7, 500, CHUNK - 3]):
        parts.add(part)
    np.testing.assert_allclose(whole.buckets, parts.buckets, rtol=1e-9)
    assert whole.count == parts.count == len(vector)
    assert whole.norm == pytest.approx(float(np.linalg.norm(vector)))
    total.add(vector + other)
    second.add(other)
    np.testing.assert_allclose(total.buckets, whole.buckets + second.buckets, atol=1e-9)


@pytest.mark.parametrize("heavy", [False, True])
def test_squared_norms_of_sketches_are_unbiased_with_the_error_that_is_stated(heavy):
    generator = np.random.default_rng(1)
    ratios = []
    for _ in range(400):
        # The hash is fixed, so random vectors stand for random hashes; heavy ones have few large elements.
        vector = generator.normal(size=2000) ** (5 if heavy else 1)
        sketch = Sketch()
        sketch.add(vector)
        ratios.append(float((sketch.buckets**2).sum() / (vector**2).sum()))
    stated = math.sqrt(2 / BUCKETS)
    assert abs(np.mean(ratios) - 1) < 4 * stated / math.sqrt(len(ratios))
    assert np.std(ratios) < 1.15 * stated
    if not heavy:
        assert np.std(ratios) > 0.85 * stated


def test_buckets_and_signs_are_even():
    sketch, ones = Sketch(), np.ones(1 << 19)
    sketch.add(ones)
    # Each bucket is the sum of about 1024 signs: a standard deviation of 32.
    assert abs(sketch.buckets.mean()) < 4 * 32 / math.sqrt(BUCKETS)
    assert 28 < sketch.buckets.std() < 36


def test_a_pruned_training_has_a_sketch_of_where_it_stopped():
    stop = {"stop": {"fraction": 0.3, "metric": 2.0}}
    record = run(config(probes=("weight-distance",), **stop), workload=workload(), execution=ON_CPU)
    assert record.status == "pruned"
    measured = record.measurements["weight-distance"]
    assert record.steps in measured["updates"]
    assert measured["final_distance"] == pytest.approx(measured["distance"][-1], rel=1e-5)
    assert any(measured["sketch"])


@pytest.mark.parametrize("protocol", ["paper", "validation"])
def test_schedule_free_is_measured_at_its_training_weights(protocol):
    recipe = Recipe(solver="schedule-free", lr=0.05)
    trial = config(recipe, protocol=protocol, probes=("weight-distance",))
    record = run(trial, workload=workload(), execution=ON_CPU)
    measured = record.measurements["weight-distance"]
    assert measured["final_distance"] == pytest.approx(measured["distance"][-1], rel=1e-5)


def test_the_line_says_how_far(monkeypatch):
    result = {"final_distance": 3.0, "initial_norm": 2.0}
    assert WeightDistance.line(result) == "the weights end 3 from where they began, 1.5 times the norm they began with"
    assert "not finite" in WeightDistance.line(result | {"final_distance": None})
    assert "times" not in WeightDistance.line(result | {"initial_norm": 0.0})


def test_a_copy_of_the_start_is_kept_not_the_weights_themselves():
    training = prepared(config(probes=("weight-distance",)), workload())
    start = copy.deepcopy([p.detach() for p in training.model.parameters()])
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.add_(1.0)
    count = sum(p.numel() for p in start)
    found = training.probing.results()["weight-distance"]
    assert found["final_distance"] == pytest.approx(math.sqrt(count), rel=1e-5)
    assert found["updates"] == []
