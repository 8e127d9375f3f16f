"""RMSProp."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_below_one
from batchlimit.optimizers.kernels import fastest
from batchlimit.optimizers.param_groups import decay_groups


@solvers.register("rmsprop")
def rmsprop(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    alpha: float = 0.99,
    momentum: float = 0.0,
    eps: float = 1e-8,
    centered: bool = False,
    capturable: bool = False,
    decay_exclude: str = "nothing",
) -> torch.optim.Optimizer:
    """Return `torch.optim.RMSprop` (Tieleman and Hinton, 2012).

    Defaults: smoothing alpha 0.99, no momentum, eps 1e-8, not centered, not `capturable`, weight decay (added to the
    gradient) on all parameters; `decay_exclude='1d'` spares biases and norms. torch has no fused RMSprop.

    Raises:
        InputError: an alpha or a momentum of 1 or more.
    """
    check_below_one("rmsprop", alpha=alpha, momentum=momentum)
    groups = decay_groups(named_parameters, weight_decay, decay_exclude)
    return torch.optim.RMSprop(
        groups,
        lr=lr,
        alpha=alpha,
        momentum=momentum,
        eps=eps,
        centered=centered,
        capturable=capturable,
        **fastest(groups, has_fused=False),
    )
