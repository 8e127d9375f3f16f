"""Batches as a stream: one permutation an epoch, laid end to end, cut every B examples."""

from __future__ import annotations

import torch
from torch import Tensor

from batchlimit.data.splits import sent
from batchlimit.engine.seeds import generator


class BatchStream:
    """The training examples of every step: a function of (dataset size, batch size, seed) and of nothing else.

    Which ranks or micro-batches compute a step has no influence on it, so any step can be asked for at any time, which
    is how a training resumes. All batches have `batch_size` examples; one may span the end of an epoch. The indices are
    on `device`, sent there once an epoch.
    """

    def __init__(self, dataset_size: int, batch_size: int, seed: int, device: torch.device | None = None) -> None:
        assert 0 < batch_size <= dataset_size
        self.dataset_size = dataset_size
        self.batch_size = batch_size
        self.device = device or torch.device("cpu")
        self._seed = seed
        self._epochs: dict[int, Tensor] = {}

    def batch(self, step: int) -> Tensor:
        """Return the indices (batch_size,) of the examples of weight update `step`, 0-based."""
        start = step * self.batch_size
        epoch, offset = divmod(start, self.dataset_size)
        first = self._permutation(epoch)[offset : offset + self.batch_size]
        if len(first) == self.batch_size:
            return first
        return torch.cat([first, self._permutation(epoch + 1)[: self.batch_size - len(first)]])

    def _permutation(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            self._epochs = {e: p for e, p in self._epochs.items() if e == epoch - 1}
            order = generator(self._seed, "order", epoch)
            self._epochs[epoch] = sent(torch.randperm(self.dataset_size, generator=order), self.device)
        return self._epochs[epoch]
