"""The four arrays of an MNIST-like data set, whatever file layout they came from, and their verification."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from batchlimit.data import idx
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.errors import InputError

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
CLASSES = 10


@dataclass(frozen=True)
class ImageArrays:
    """Images (N, 28, 28) and labels (N,) for training and test, unsigned bytes; `origin` says where they were found."""

    origin: str
    train_images: idx.Bytes
    train_labels: idx.Bytes
    test_images: idx.Bytes
    test_labels: idx.Bytes

    def by_part(self) -> dict[str, idx.Bytes]:
        """Return the arrays by the names of their IDX files, without the endings."""
        return dict(zip(PARTS, (self.train_images, self.train_labels, self.test_images, self.test_labels), strict=True))

    def check(self) -> None:
        """Check shapes, counts and the range of the labels.

        Raises:
            InputError: images that are not 28 x 28, as many labels as images are missing, or a label above 9.
        """
        for kind, images, labels in (
            ("training", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            if images.ndim != 3 or images.shape[1:] != (28, 28):
                size = " x ".join(map(str, images.shape))
                raise InputError(f"{self.origin}: the {kind} images are {size}, not N x 28 x 28.")
            if labels.ndim != 1 or len(labels) != len(images) or not len(images):
                raise InputError(f"{self.origin}: {len(images)} {kind} images but {labels.size} labels.")
            if int(labels.max()) >= CLASSES:
                raise InputError(
                    f"{self.origin}: a {kind} label is {int(labels.max())}. Valid: 0 to {CLASSES - 1}. "
                    "The file is damaged or of another data set."
                )

    def differing(self, known: Mapping[str, str]) -> list[str]:
        """Return the parts whose content, as uncompressed IDX, has another SHA-256 than `known` gives."""
        return differing_parts(self.by_part(), known)

    def dataset(self, *, validation_size: int) -> DataSet:
        """Return the examples as tensors: images (N, 1, 28, 28) uint8, labels (N,) int64."""
        return DataSet(
            train=_split(self.train_images, self.train_labels),
            test=_split(self.test_images, self.test_labels),
            validation_size=validation_size,
        )


def differing_parts(arrays: Mapping[str, idx.Bytes], known: Mapping[str, str]) -> list[str]:
    """Return those of the parts in `arrays` whose content has another SHA-256 than `known` gives."""
    return [part for part, array in arrays.items() if content_hash(array) != known[part]]


def content_hash(array: idx.Bytes) -> str:
    """Return the SHA-256 of the array written as uncompressed IDX, so that every layout of one set has one hash."""
    digest = hashlib.sha256(idx.header(array))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _split(images: idx.Bytes, labels: idx.Bytes) -> TensorSplit:
    return TensorSplit(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())
