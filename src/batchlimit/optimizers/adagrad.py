"""AdaGrad."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from batchlimit.optimizers import solvers
from batchlimit.optimizers.kernels import fastest
from batchlimit.optimizers.param_groups import decay_groups


@solvers.register("adagrad")
def adagrad(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    lr_decay: float = 0.0,
    initial_accumulator: float = 0.0,
    eps: float = 1e-10,
    decay_exclude: str = "nothing",
) -> torch.optim.Optimizer:
    """Return `torch.optim.Adagrad` (Duchi, Hazan and Singer, 2011).

    Defaults: no LR decay of its own, accumulator starting at 0, eps 1e-10, weight decay (added to the gradient) on all
    parameters; `decay_exclude='1d'` spares biases and norms.
    """
    groups = decay_groups(named_parameters, weight_decay, decay_exclude)
    return torch.optim.Adagrad(
        groups, lr=lr, lr_decay=lr_decay, initial_accumulator_value=initial_accumulator, eps=eps, **fastest(groups)
    )
