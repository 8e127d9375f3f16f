"""Dropout whose masks do not depend on the size of the micro-batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from batchlimit.models import randomness


class KeyedDropout(nn.Dropout):
    """Dropout of single elements whose mask is a function of (seed, step, call, position in the batch).

    Where `randomness.at` says which examples of the batch these are, one pass and any micro-batches draw the same
    mask; elsewhere this is `torch.nn.Dropout`. Dimension 0 of the input are the examples.
    """

    def forward(self, input: Tensor) -> Tensor:
        place = randomness.current()
        if not self.training or self.p == 0.0 or place is None:
            return F.dropout(input, self.p, self.training)
        if self.p == 1.0:
            return input * 0.0
        kept = randomness.keep(place, input.shape, 1.0 - self.p, input.device)
        return input * kept.to(input.dtype).mul_(1.0 / (1.0 - self.p))
