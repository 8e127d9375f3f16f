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
            return F.dropout(input, self.p, self.training, self.inplace)
        if self.p == 1.0:
            return input.mul_(0.0) if self.inplace else input * 0.0
        kept = randomness.keep(place, input.shape, 1.0 - self.p, input.device)
        mask = kept.to(input.dtype).mul_(1.0 / (1.0 - self.p))
        return input.mul_(mask) if self.inplace else input * mask


class ConvertedDropout(KeyedDropout):
    """`KeyedDropout` in the place of a model's own `nn.Dropout`, whose input may be of other rows than the examples'.

    Rows that cannot be the examples' (time steps come first, say) are dropped as torch drops them.
    """

    def forward(self, input: Tensor) -> Tensor:
        place = randomness.current()
        if place is None or randomness.fits(place, input.shape):
            return super().forward(input)
        return F.dropout(input, self.p, self.training, self.inplace)


def convert_dropout(model: nn.Module) -> nn.Module:
    """Return `model` with keyed masks in every module that is exactly an `nn.Dropout`, in place.

    The modules stay the same objects, with their hooks; only their class is another. Dropout of other kinds
    (`nn.Dropout2d`, that within an attention layer) goes on drawing from torch's generator.
    """
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = ConvertedDropout
    return model
