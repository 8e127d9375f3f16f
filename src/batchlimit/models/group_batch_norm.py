"""Group batch norm: statistics over the examples that a group of replicas hold together.

The module calls no collective itself: it is given a sum over the group (`engine.distributed.group_of`), so that one
code runs on any backend and device, and without any where the group has one member.

Source: Ioffe and Szegedy, 2015, algorithm 1, over the union of the group's examples; "BN span" of the MLPerf recipes.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchlimit.errors import InputError
from batchlimit.models.batch_norm_spans import SpanBatchNorm, convert_batch_norms, move_running


class Group(Protocol):
    """Replicas that can sum a tensor: each calls with its own part, in the same order, and gets the sum of all.

    The sum is differentiable: the gradient of a part is the sum of the members' gradients of the result.
    """

    @property
    def members(self) -> int:
        """How many replicas there are."""

    def __call__(self, tensor: Tensor, /) -> Tensor:
        """Return the sum of the members' tensors of one shape."""


class _GroupBatchNorm(SpanBatchNorm):
    """Batch norm whose training statistics are those of the union of a group's examples.

    The arguments after the first three are `torch.nn.BatchNorm2d`'s, and so are the parameters, the buffers and the
    `state_dict`. In evaluation it is ordinary batch norm. Members may hold different numbers of examples, none
    included. With `ghost_batch_size`, the statistics are those of that many examples, of which every member holds an
    equal part in a row: the size may be larger than what one replica can hold; all members then hold equally many.

    Outputs and gradients of the inputs are those of one process with the union, where the loss is the sum of the
    members' losses; gradients of weight and bias are this member's part of that, to be summed as all others are.
    """

    def __init__(
        self, num_features: int, group: Group, ghost_batch_size: int | None = None, *arguments: Any, **options: Any
    ) -> None:
        super().__init__(num_features, *arguments, **options)
        self.group = group
        self.ghost_batch_size = _checked(group, ghost_batch_size)

    def forward(self, input: Tensor) -> Tensor:
        """Return this member's `input` (n, features, ...) normalized; in training all members call together.

        Raises:
            InputError: the member's part of the ghost batch does not divide n, or there is one value in all.
        """
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if not self.training:
            return super().forward(input)
        spans = self._spans(len(input))
        values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        # (spans, examples of one span here, features, positions): a view, whatever the memory format.
        apart = values.reshape(spans, len(input) // spans, input.shape[1], math.prod(input.shape[2:]))
        here = apart.new_full((1,), apart.shape[1] * apart.shape[3])
        summed = self.group(torch.cat([apart.sum((1, 3)).flatten(), here]))
        count = summed[-1].detach()
        if apart.shape[1] * apart.shape[3] <= 1 and float(count) <= 1:
            raise InputError("Batch norm over a single value: one value has no variance. Valid: 2 or more in a span.")
        means = summed[:-1].view(spans, -1) / count
        # Two passes: the mean of squares less the square of the mean loses digits where the mean is large.
        centred = apart - means[:, None, :, None]
        squares = self.group(centred.square().sum((1, 3)))
        scale = torch.rsqrt(squares / count + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        result = centred * scale[:, None, :, None]
        if self.bias is not None:
            result = result + self.bias[:, None]
        move_running(self, *self._as_running(means, squares / (count - 1)))
        return result.reshape(input.shape).to(input.dtype)

    def _spans(self, count: int) -> int:
        if self.ghost_batch_size is None:
            return 1
        part = self.ghost_batch_size // self.group.members
        if count == 0 or count % part:
            raise InputError(
                f"ghost_batch_size {self.ghost_batch_size} over {self.group.members} replicas is {part} examples on "
                f"each, which does not divide the micro-batch of {count}. Valid: a micro-batch of a multiple of {part}."
            )
        return count // part

    def _as_running(self, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        kind = self.running_mean.dtype if self.running_mean is not None else means.dtype
        return means.detach().to(kind), variances.detach().to(kind)

    def extra_repr(self) -> str:
        """Return what `repr` shows of this module."""
        shown = f"{super().extra_repr()}, members={self.group.members}"  # type: ignore[no-untyped-call]
        return shown if self.ghost_batch_size is None else f"{shown}, ghost_batch_size={self.ghost_batch_size}"


class GroupBatchNorm1d(_GroupBatchNorm, nn.BatchNorm1d):
    """Group batch norm of inputs (n, features) or (n, features, length)."""


class GroupBatchNorm2d(_GroupBatchNorm, nn.BatchNorm2d):
    """Group batch norm of inputs (n, features, height, width)."""


class GroupBatchNorm3d(_GroupBatchNorm, nn.BatchNorm3d):
    """Group batch norm of inputs (n, features, depth, height, width)."""


_GROUP_OF: dict[type[_BatchNorm], type[_BatchNorm]] = {
    nn.BatchNorm1d: GroupBatchNorm1d,
    nn.BatchNorm2d: GroupBatchNorm2d,
    nn.BatchNorm3d: GroupBatchNorm3d,
}


def convert_group_batch_norm(model: nn.Module, group: Group, ghost_batch_size: int | None = None) -> nn.Module:
    """Return `model` with statistics over the group's examples in every batch norm, in place.

    `group` is what `engine.distributed.group_of` returns, or any sum over replicas. With `ghost_batch_size` (a
    multiple of the members), statistics are over that many examples spread evenly over the group. Modules, parameters
    and buffers are the same objects, so an optimizer made before still holds them; ghost and group batch norms already
    there become these.

    Raises:
        InputError: the size is no multiple of the members, or the model has a batch norm of another kind.
    """
    size = _checked(group, ghost_batch_size)
    return convert_batch_norms(model, "Group batch norm", _GROUP_OF, group=group, ghost_batch_size=size)


def _checked(group: Group, size: int | None) -> int | None:
    if size is not None and (size < 1 or size % group.members):
        raise InputError(
            f"ghost_batch_size {size} cannot be shared by {group.members} replicas. "
            f"Valid: a multiple of {group.members}."
        )
    return size
