"""Batch norm over chosen spans of examples: what all spans share, and the way back to statistics per replica.

A span is the set of examples whose mean and variance normalize each other in training: what one pass on one replica
holds (torch's own batch norm), a fixed number of them (`ghost_batch_norm`), or what a group of replicas holds
(`group_batch_norm`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchlimit.errors import InputError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SpanBatchNorm(_BatchNorm):
    """Base of batch norms over another span than one pass; `state_dict` and evaluation are those of torch's."""


def convert_replica_batch_norm(model: nn.Module) -> nn.Module:
    """Return `model` with statistics over what one pass on one replica holds: torch's own batch norms.

    The way back from `convert_ghost_batch_norm` and `convert_group_batch_norm`; as there, parameters and buffers stay
    the same objects.

    Raises:
        InputError: the model has a batch norm of another kind (a lazy or synchronized one).
    """
    return replace_batch_norms(
        model, lambda norm: norm if type(norm) in PLAIN else take_over(dimension_of(norm, "Plain batch norm"), norm)
    )


def replace_batch_norms(model: nn.Module, make: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    """Return `model` with `make(norm)` for every batch norm, in place but for the root; shared modules stay shared."""
    return _replaced(model, make, {})


def _replaced(
    module: nn.Module, make: Callable[[_BatchNorm], nn.Module], done: dict[nn.Module, nn.Module]
) -> nn.Module:
    if module in done:
        return done[module]
    result = make(module) if isinstance(module, _BatchNorm) else module
    done[module] = result
    # Not named_children(), which names a module used in two places only once.
    for name, child in list(module._modules.items()):
        if child is not None:
            setattr(result, name, _replaced(child, make, done))
    return result


def dimension_of(norm: _BatchNorm, what: str) -> type[nn.Module]:
    """Return torch's batch norm of as many dimensions as `norm`; `what` is to replace it.

    Raises:
        InputError: it is neither one of torch's three nor one of ours.
    """
    for plain in PLAIN:
        if type(norm) is plain or (isinstance(norm, SpanBatchNorm) and isinstance(norm, plain)):
            return plain
    valid = ", ".join(plain.__name__ for plain in PLAIN)
    raise InputError(f"{what} cannot replace a {type(norm).__name__}. Valid: {valid}.")


def take_over(kind: Callable[..., nn.Module], norm: _BatchNorm) -> nn.Module:
    """Return `kind(num_features, eps, momentum, affine, track_running_stats)` with the state of `norm`, not a copy."""
    result = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    assert isinstance(result, _BatchNorm)
    result.weight, result.bias = norm.weight, norm.bias
    result.running_mean, result.running_var = norm.running_mean, norm.running_var
    result.num_batches_tracked = norm.num_batches_tracked
    return result.train(norm.training)


@torch.no_grad()
def move_running(norm: _BatchNorm, means: Tensor, variances: Tensor) -> None:
    """Move the running statistics by each span's (spans, features) in order: r <- (1 - m) r + m s, in closed form."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    spans = len(means)
    if norm.momentum is None:
        # The plain average of all spans so far.
        weights = 1.0 / (norm.num_batches_tracked + spans).expand(spans).to(means.dtype)
        kept = float(1.0 - weights.sum())
    else:
        ages = torch.arange(spans - 1, -1, -1, dtype=means.dtype, device=means.device)
        weights = norm.momentum * (1.0 - norm.momentum) ** ages
        kept = (1.0 - norm.momentum) ** spans
    norm.running_mean.mul_(kept).add_(weights @ means)
    norm.running_var.mul_(kept).add_(weights @ variances)
    norm.num_batches_tracked.add_(spans)
