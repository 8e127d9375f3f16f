"""Sign SGD with momentum: a new solver in one file.

Put this file into `src/batchlimit/optimizers/` (or name it in an entry point of the group `batchlimit.solvers` of your
own package). `batchlimit find`, recipes, layer-wise scaling and the conformance suite know it from then on.

Source: Bernstein et al., "signSGD: Compressed Optimisation for Non-Convex Problems", 2018, algorithm 2 (Signum).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_below_one, check_numbers
from batchlimit.optimizers.param_groups import decay_groups


class SignSGD(torch.optim.Optimizer):
    """v = momentum * v + (1 - momentum) * g;  w -= lr * (sign(v) + weight_decay * w)."""

    def __init__(self, params: Any, lr: float, momentum: float, weight_decay: float) -> None:
        check_numbers("signsgd", lr=lr, weight_decay=weight_decay)
        check_below_one("signsgd", momentum=momentum)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one weight update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
                    buffer.lerp_(parameter.grad, 1 - group["momentum"])
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(buffer.sign(), alpha=group["lr"])
        return loss


@solvers.register("signsgd")
def signsgd(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    decay_exclude: str = "nothing",
) -> torch.optim.Optimizer:
    """Return `SignSGD`. Defaults: momentum 0.9, decoupled weight decay on all parameters."""
    groups = decay_groups(named_parameters, weight_decay, decay_exclude)
    return SignSGD(groups, lr, momentum, weight_decay)
