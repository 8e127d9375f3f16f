"""K-FAC looks at activations, and still a training does not depend on how its steps are cut into micro-batches."""

from __future__ import annotations

from small_training import blobs, config, convolutional, distance, dropping, images, prepared, weights, workload

from batchlimit.config import Recipe
from batchlimit.data.splits import DataSet
from batchlimit.engine.trial import train

KFAC = Recipe(solver="kfac", lr=0.02, solver_options={"examples": 24, "damping": 0.03, "invert_every": 2})


def test_a_training_with_kfac_ends_at_the_same_weights() -> None:
    cases = (
        (dropping, KFAC, blobs, (300, 64, 7)),
        (convolutional, KFAC.updated({"ghost_batch_size": 10}), images, (300, 60, 10)),
    )
    for make, recipe, examples, sizes in cases:
        data = DataSet(examples(400, 1), examples(40, 2))
        ends = []
        for size in sizes:
            trial = config(recipe, batch_size=300, budget="5 steps")
            training = prepared(trial, workload(make, data=data), size)
            start = weights(training)
            train(training)
            ends.append(weights(training))
        assert distance(start, ends[0]) > 1e-2
        for end in ends[1:]:
            assert distance(end, ends[0]) < 1e-5
