"""Ghost batch norm: statistics over groups of a fixed number of examples, whatever the batch and the micro-batch.

Source: Hoffer, Hubara and Soudry, 2017 (arXiv 1705.08741), algorithm 1; You et al., 2020, section 3.1.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchlimit.errors import InputError
from batchlimit.models.batch_norm_spans import SpanBatchNorm, convert_batch_norms, move_running


class _GhostBatchNorm(SpanBatchNorm):
    """Batch norm whose training statistics are those of each `ghost_batch_size` consecutive examples.

    The arguments after the first two are `torch.nn.BatchNorm2d`'s, and so are the parameters, the buffers and the
    `state_dict`. In evaluation it is ordinary batch norm. The running statistics move once for each group, in order,
    as if each group were a batch: they do not depend on how many groups one pass holds.
    """

    def __init__(self, num_features: int, ghost_batch_size: int, *arguments: Any, **options: Any) -> None:
        super().__init__(num_features, *arguments, **options)
        self.ghost_batch_size = _checked(ghost_batch_size)

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` (n, features, ...) normalized; in training n must be a multiple of `ghost_batch_size`.

        Raises:
            InputError: it is not.
        """
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if not self.training:
            return super().forward(input)
        size = self.ghost_batch_size
        if len(input) % size:
            raise InputError(
                f"ghost_batch_size {size} does not divide the micro-batch of {len(input)} examples. "
                f"Valid: a divisor of {len(input)}."
            )
        if size == 1 and input[0, 0].numel() == 1:
            raise InputError("ghost_batch_size is 1, but one value has no variance. Valid: 2 or more.")
        groups = len(input) // size
        # Groups become further features, so that one fused call normalizes each over its own examples.
        apart = input.reshape(groups, size, *input.shape[1:]).transpose(0, 1).reshape(size, -1, *input.shape[2:])
        means = torch.zeros(apart.shape[1], dtype=self._kind(input), device=input.device)
        variances = torch.ones_like(means)
        normalized = F.batch_norm(
            apart,
            means,
            variances,
            self.weight.repeat(groups) if self.weight is not None else None,
            self.bias.repeat(groups) if self.bias is not None else None,
            training=True,
            momentum=1.0,
            eps=self.eps,
        )
        move_running(self, means.view(groups, -1), variances.view(groups, -1))
        return normalized.reshape(size, groups, *input.shape[1:]).transpose(0, 1).reshape(input.shape)

    def _kind(self, input: Tensor) -> torch.dtype:
        """Return the type of the statistics: that of the running ones, or of the weights, which torch holds them to."""
        held = self.running_mean if self.running_mean is not None else self.weight
        return held.dtype if held is not None else torch.promote_types(input.dtype, torch.float32)

    def extra_repr(self) -> str:
        """Return what `repr` shows of this module."""
        return f"{super().extra_repr()}, ghost_batch_size={self.ghost_batch_size}"  # type: ignore[no-untyped-call]


class GhostBatchNorm1d(_GhostBatchNorm, nn.BatchNorm1d):
    """Ghost batch norm of inputs (n, features) or (n, features, length)."""


class GhostBatchNorm2d(_GhostBatchNorm, nn.BatchNorm2d):
    """Ghost batch norm of inputs (n, features, height, width)."""


class GhostBatchNorm3d(_GhostBatchNorm, nn.BatchNorm3d):
    """Ghost batch norm of inputs (n, features, depth, height, width)."""


_GHOST_OF: dict[type[_BatchNorm], type[_BatchNorm]] = {
    nn.BatchNorm1d: GhostBatchNorm1d,
    nn.BatchNorm2d: GhostBatchNorm2d,
    nn.BatchNorm3d: GhostBatchNorm3d,
}


def convert_ghost_batch_norm(model: nn.Module, size: int) -> nn.Module:
    """Return `model` with statistics per group of `size` examples in every batch norm, in place.

    Modules, parameters and buffers are the same objects, so an optimizer made before still holds them. Ghost batch
    norms already there get the new size.

    Raises:
        InputError: `size` is no whole number of 1 or more, or the model has a batch norm of another kind (a lazy or
            synchronized one).
    """
    return convert_batch_norms(model, "Ghost batch norm", _GHOST_OF, ghost_batch_size=_checked(size))


def _checked(size: int) -> int:
    if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
        raise InputError(f"ghost_batch_size is {size!r}. Valid: a whole number of 1 or more.")
    return size
