"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_below_one
from batchlimit.optimizers.kernels import fastest, fused_sgd_works
from batchlimit.optimizers.param_groups import decay_groups


@solvers.register("momentum")
def momentum(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    dampening: float = 0.0,
    nesterov: bool = False,
    decay_exclude: str = "nothing",
) -> torch.optim.Optimizer:
    """Return `torch.optim.SGD`; `momentum` = 0 is plain SGD.

    Defaults: momentum 0.9, dampening 0, no Nesterov, weight decay (added to the gradient) on all parameters;
    `decay_exclude='1d'` spares biases and norms.

    Raises:
        InputError: a momentum of 1 or more.
    """
    check_below_one("momentum", momentum=momentum)
    groups = decay_groups(named_parameters, weight_decay, decay_exclude)
    has_fused = all(fused_sgd_works(parameter.dtype) for group in groups for _, parameter in group["params"])
    kernel = fastest(groups, has_fused=has_fused)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, dampening=dampening, nesterov=nesterov, **kernel)
