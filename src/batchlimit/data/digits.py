"""The handwritten digits that come with scikit-learn: 1,797 real images of 8 x 8, no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from batchlimit.data import datasets
from batchlimit.data.splits import DataSet, TensorSplit

TEST_SIZE = 497
VALIDATION_SIZE = 300


class Digits:
    """The test half of NIST's digits as Alpaydin and Kaynak (1998) reduced them; pixels are counts 0..16.

    1,300 training examples, of which 300 are for validation, and 497 test examples: a test accuracy moves in steps of
    0.2 points. The split is one fixed permutation.
    """

    def load(self) -> DataSet:
        """Return the examples: images (N, 1, 8, 8) uint8 in 0..16, labels (N,) int64."""
        from sklearn.datasets import load_digits

        content = load_digits()
        # RandomState's streams are frozen by numpy, so the split is the same in every version.
        order = torch.from_numpy(np.random.RandomState(0).permutation(len(content.target)))
        images = torch.from_numpy(content.images.astype(np.uint8)).unsqueeze(1)
        whole = TensorSplit(images[order], torch.from_numpy(content.target).long()[order])
        train = len(whole) - TEST_SIZE
        return DataSet(
            train=TensorSplit(whole.inputs[:train], whole.targets[:train]),
            test=TensorSplit(whole.inputs[train:], whole.targets[train:]),
            validation_size=VALIDATION_SIZE,
        )

    def find(self) -> tuple[str, bool]:
        """Return that the set is part of scikit-learn."""
        return "scikit-learn", True

    def fetch(self) -> Path | None:
        """Return None: there is nothing to get."""
        return None


datasets.register("digits")(Digits())
