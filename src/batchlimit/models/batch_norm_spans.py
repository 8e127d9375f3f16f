"""Batch norm over chosen spans of examples: what all spans share, and the way back to statistics per replica.

A span is the set of examples whose mean and variance normalize each other in training: what one pass on one replica
holds (torch's own batch norm), a fixed number of them (`ghost_batch_norm`), or what a group of replicas holds
(`group_batch_norm`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchlimit.errors import InputError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SpanBatchNorm(_BatchNorm):
    """Base of batch norms over another span than one pass; `state_dict` and evaluation are those of torch's."""


def convert_replica_batch_norm(model: nn.Module) -> nn.Module:
    """Return `model` with statistics over what one pass on one replica holds: torch's own batch norms, in place.

    The way back from `convert_ghost_batch_norm` and `convert_group_batch_norm`; as there, the modules stay the same
    objects.

    Raises:
        InputError: the model has a batch norm of another kind (a lazy or synchronized one).
    """
    return convert_batch_norms(model, "Plain batch norm", {plain: plain for plain in PLAIN})


def convert_batch_norms(
    model: nn.Module, what: str, kinds: Mapping[type[_BatchNorm], type[_BatchNorm]], **settings: Any
) -> nn.Module:
    """Return `model` with every batch norm of the class that `kinds` has for torch's, and with its `settings`.

    The modules stay the same objects, with their parameters, buffers and hooks: only their class is another. Where one
    cannot be changed, none is; `what` is the new kind in words.

    Raises:
        InputError: the model has a batch norm that is neither one of torch's three nor one of ours.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    wanted = [kinds[_dimension_of(norm, what)] for norm in norms]
    for norm, kind in zip(norms, wanted, strict=True):
        for earlier in {"ghost_batch_size", "group"} & vars(norm).keys():
            delattr(norm, earlier)
        norm.__class__ = kind
        for name, value in settings.items():
            setattr(norm, name, value)
    return model


def _dimension_of(norm: _BatchNorm, what: str) -> type[_BatchNorm]:
    """Return torch's batch norm of as many dimensions as `norm`."""
    for plain in PLAIN:
        if type(norm) is plain or (isinstance(norm, SpanBatchNorm) and isinstance(norm, plain)):
            return plain
    valid = ", ".join(plain.__name__ for plain in PLAIN)
    raise InputError(f"{what} cannot replace a {type(norm).__name__}. Valid: {valid}.")


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
