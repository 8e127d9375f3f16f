"""scikit-learn's digits as a data set."""

from __future__ import annotations

import torch

from batchlimit.data import datasets


def test_sizes_and_range() -> None:
    data = datasets.get("digits").load()
    assert (len(data.train), len(data.test), data.validation_size) == (1300, 497, 300)
    assert data.train.inputs.shape == (1300, 1, 8, 8)
    assert data.train.inputs.dtype == torch.uint8
    assert int(data.train.inputs.max()) == 16
    assert set(data.test.targets.tolist()) == set(range(10))


def test_the_split_is_fixed() -> None:
    first, again = datasets.get("digits").load(), datasets.get("digits").load()
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert first.test.targets[:12].tolist() == again.test.targets[:12].tolist()
    # The split is part of every published figure: these labels may not change.
    assert first.train.targets[:12].tolist() == [2, 8, 2, 6, 6, 7, 1, 9, 8, 5, 2, 8]


def test_no_example_is_in_both() -> None:
    data = datasets.get("digits").load()
    every = torch.cat([data.train.inputs, data.test.inputs]).flatten(1)
    from sklearn.datasets import load_digits

    assert sorted(every.long().sum(1).tolist()) == sorted(load_digits().images.sum((1, 2)).astype(int).tolist())
