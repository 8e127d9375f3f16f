"""Replicas: joining the processes of one training, groups of them, and sums over a group. Only here are collectives.

The same code runs with gloo on CPUs and NCCL on GPUs, and alone: a group of one process sums by returning what it got.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from batchlimit.errors import InputError


class ReplicaGroup:
    """Some of the processes of one training, this one among them: called with a tensor, it sums it over them.

    Every member calls in the same order with tensors of one shape. The sum is differentiable, any number of times.
    """

    def __init__(self, ranks: tuple[int, ...], place: int, group: dist.ProcessGroup | None) -> None:
        self.ranks = ranks
        self.place = place
        self._group = group

    @property
    def members(self) -> int:
        """How many processes there are."""
        return len(self.ranks)

    def __call__(self, tensor: Tensor, /) -> Tensor:
        """Return the sum of the members' tensors."""
        if self._group is None:
            return tensor
        total: Tensor = _Sum.apply(tensor, self._group)  # type: ignore[no-untyped-call]
        return total

    def __deepcopy__(self, memo: dict[int, Any]) -> ReplicaGroup:
        """Return the group itself: a copied model (an average of the weights, say) stays in its processes."""
        return self

    def __repr__(self) -> str:
        """Return the ranks."""
        return f"ReplicaGroup(ranks={self.ranks})"


class _Sum(torch.autograd.Function):
    """The sum over a group; as each member's loss uses the sum, its gradient is the sum of the members' gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(gradient, ctx.group), None  # type: ignore[no-untyped-call]


def group_of(size: int | None = None) -> ReplicaGroup:
    """Return this process's group of `size` processes with consecutive ranks (None: all of them).

    Every process calls this, with the same size. Without `joined`, there is one process.

    Raises:
        InputError: `size` does not divide the number of processes.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    size = world if size is None else size
    if size < 1 or world % size:
        valid = ", ".join(str(divisor) for divisor in range(1, world + 1) if world % divisor == 0)
        raise InputError(f"A group of {size} replicas does not divide the {world} there are. Valid: {valid}.")
    if world == 1:
        return ReplicaGroup((0,), 0, None)
    rank = dist.get_rank()
    blocks = [tuple(range(start, start + size)) for start in range(0, world, size)]
    if size == 1:
        return ReplicaGroup((rank,), 0, None)
    # Every process makes every group: torch wants it so.
    groups = [dist.new_group(list(ranks)) for ranks in blocks]
    ranks, group = blocks[rank // size], groups[rank // size]
    assert isinstance(group, dist.ProcessGroup)
    return ReplicaGroup(ranks, rank % size, group)


@contextlib.contextmanager
def joined(
    device: torch.device, *, init_method: str = "env://", rank: int = -1, world_size: int = -1
) -> Iterator[None]:
    """Join the processes of one training while the context lasts: NCCL where `device` is a CUDA one, gloo elsewhere.

    As started by torchrun, rank and size come from the environment.

    Raises:
        InputError: the environment says nothing of other processes.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=world_size)
    except ValueError as error:
        raise InputError(f"Cannot join other processes: {error}. Valid: start with torchrun.") from None
    try:
        yield
    finally:
        dist.destroy_process_group()
