"""Distances and angles from sketches against those of the weights themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from naive_probes import naive_sketch

from batchlimit.analysis.end_points import end_points, relative_error
from batchlimit.errors import InputError
from batchlimit.probes.weight_distance import SKETCH_SEED, Sketch

SIZE = 3000


def sketched(vector):
    sketch = Sketch()
    sketch.add(vector)
    return [float(f"{value:.6g}") for value in sketch.buckets]


def measurement(start, end, sketch=sketched):
    moved = end - start
    return {
        "sketch": sketch(moved),
        "end_sketch": sketch(end),
        "parameters": len(end),
        "final_distance": float(np.linalg.norm(moved)),
    }


def draws(seed, count):
    return np.random.default_rng(seed).normal(size=(count, SIZE))


@pytest.mark.parametrize("same_start", [True, False])
def test_distances_and_angles_are_those_of_the_weights(same_start):
    start, elsewhere, a, b, c = 5 * draws(0, 5)
    starts = [start, start, start if same_start else elsewhere]
    moves = [a, 0.6 * a + 0.8 * b, -0.3 * a + 0.2 * c]
    ends = [one + move for one, move in zip(starts, moves, strict=True)]
    names = ("B = 256", "B = 8192", "full")
    given = {name: measurement(one, end) for name, one, end in zip(names, starts, ends, strict=True)}
    found = end_points(given)
    assert found.names == names
    assert found.same_start is same_start
    assert found.lengths == pytest.approx([float(np.linalg.norm(move)) for move in moves])
    assert found.relative_error == pytest.approx(math.sqrt(2 / 512) / 2)
    for i in range(3):
        assert found.distances[i][i] == 0
        assert found.angles[i][i] == pytest.approx(0, abs=1e-3)
        for j in range(3):
            if i == j:
                continue
            exact = np.linalg.norm(ends[i] - ends[j])
            assert found.distances[i][j] == pytest.approx(exact, rel=3.5 * found.relative_error)
            assert found.distances[i][j] == found.distances[j][i]
            cosine = moves[i] @ moves[j] / np.linalg.norm(moves[i]) / np.linalg.norm(moves[j])
            assert abs(found.cosines[i][j] - cosine) < 3.5 * (1 - cosine**2) / math.sqrt(512) + 1e-6
            assert found.angles[i][j] == pytest.approx(math.degrees(math.acos(found.cosines[i][j])))


def test_errors_are_as_large_as_stated():
    distances, cosines = [], []
    for seed in range(150):
        start, a, b = draws(seed, 3)
        other = 0.6 * a + 0.8 * b
        found = end_points({"one": measurement(start, start + a), "other": measurement(start, start + other)})
        distances.append(found.distances[0][1] / np.linalg.norm(a - other))
        cosines.append(found.cosines[0][1] - a @ other / np.linalg.norm(a) / np.linalg.norm(other))
    stated = relative_error(512)
    assert abs(np.mean(np.square(distances)) - 1) < 4 * 2 * stated / math.sqrt(len(distances))
    assert 0.75 * stated < np.std(distances) < 1.25 * stated
    stated = (1 - 0.6**2) / math.sqrt(512)
    assert 0.75 * stated < np.std(cosines) < 1.25 * stated
    assert abs(np.mean(cosines)) < 4 * stated / math.sqrt(len(cosines))


def test_near_end_points_far_from_the_origin_are_told_apart():
    start = 1000 + draws(0, 1)[0]
    a, b = 0.01 * draws(1, 2)
    found = end_points({"one": measurement(start, start + a), "other": measurement(start, start + b)})
    assert found.same_start
    assert found.distances[0][1] == pytest.approx(np.linalg.norm(a - b), rel=3.5 * relative_error(512))


def test_the_sketch_of_the_probe_is_the_naive_one():
    start, end = draws(2, 2)
    ours = end_points({"a": measurement(start, end), "b": measurement(start, start + 1)})
    naive = end_points(
        {
            "a": measurement(start, end, lambda v: naive_sketch(v, SKETCH_SEED)),
            "b": measurement(start, start + 1, lambda v: naive_sketch(v, SKETCH_SEED)),
        }
    )
    assert ours.distances[0][1] == pytest.approx(naive.distances[0][1], rel=1e-4)


def test_trials_without_a_finite_end_are_left_out():
    start, a = draws(0, 2)
    lost = measurement(start, start + a) | {"sketch": [None] * 512}
    assert end_points({"lost": lost, "kept": measurement(start, start + a)}).names == ("kept",)
    nothing = end_points({"lost": lost})
    assert nothing.names == ()
    assert nothing.distances == ()


def test_a_trial_that_did_not_move_has_no_angle():
    start, a = draws(0, 2)
    found = end_points({"still": measurement(start, start), "moved": measurement(start, start + a)})
    assert found.angles[0] == (None, None)
    assert found.cosine_errors[0] == (None, None)
    assert found.distances[0][1] == pytest.approx(np.linalg.norm(a), rel=0.11)


def test_other_models_are_refused():
    start, a = draws(0, 2)
    small = measurement(start[:10], a[:10])
    with pytest.raises(InputError, match="10, 3000 parameters"):
        end_points({"large": measurement(start, a), "small": small})
