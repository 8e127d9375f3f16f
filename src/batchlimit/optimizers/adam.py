"""Adam, with weight decay added to the gradient."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from batchlimit.optimizers import solvers
from batchlimit.optimizers.kernels import fastest
from batchlimit.optimizers.param_groups import decay_groups


@solvers.register("adam")
def adam(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    amsgrad: bool = False,
    capturable: bool = False,
    decay_exclude: str = "nothing",
) -> torch.optim.Optimizer:
    """Return `torch.optim.Adam` (Kingma and Ba, 2015).

    Defaults: betas 0.9 and 0.999, eps 1e-8, no AMSGrad, not `capturable` (set it to record the step in a CUDA graph),
    weight decay (added to the gradient) on all parameters; `decay_exclude='1d'` spares biases and norms.
    torch keeps the moments in the parameters' type: of bf16 ones the second never decays (1 - beta2 rounds away).
    """
    groups = decay_groups(named_parameters, weight_decay, decay_exclude)
    return torch.optim.Adam(
        groups, lr=lr, betas=(beta1, beta2), eps=eps, amsgrad=amsgrad, capturable=capturable, **fastest(groups)
    )
