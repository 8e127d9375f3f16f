"""Lion: the sign of an interpolated momentum.

torch 2.13 has no Lion. `pytorch-optimizer`'s is right, and the tests hold ours to it; for the dozen lines that Lion is,
a run-time dependency with a hundred other optimizers would be too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from batchlimit.errors import InputError
from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_numbers
from batchlimit.optimizers.param_groups import decay_groups
from batchlimit.optimizers.wide_state import WideStateOptimizer, zero_moment


@solvers.register("lion")
def lion(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    decay_exclude: str = "1d",
) -> torch.optim.Optimizer:
    """Return a `Lion`: the sign of momentum (Chen et al., 2023).

    Its learning rate is usually a third to a tenth of Adam's, its weight decay as much larger.

    Defaults: betas 0.9 and 0.99, decoupled weight decay on all parameters but biases and norms (`decay_exclude`).

    Raises:
        InputError: no parameters, or an option out of its range.

    Source: Chen et al., 2023 (arXiv 2302.06675), Algorithm 2.
    """
    return Lion(decay_groups(named_parameters, weight_decay, decay_exclude), lr=lr, betas=(beta1, beta2))


class Lion(WideStateOptimizer):
    """U = sign(beta1 M + (1 - beta1) G); W <- W - lr (U + wd W); M <- beta2 M + (1 - beta2) G.

    One buffer of the size of the parameters, in their type but at least fp32. `lr` may be a tensor, and the step has no
    `.item()`.

    Raises:
        InputError: an option out of its range.

    Source: Chen et al., 2023 (arXiv 2302.06675), Algorithm 2.
    """

    WIDE = ("exp_avg",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        check_numbers("lion", lr=lr, weight_decay=weight_decay)
        for index, beta in enumerate(betas, 1):
            if not 0.0 <= beta < 1.0:
                raise InputError(f"lion's beta{index} is {beta:g}. Valid: 0 to 1, 1 excluded.")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one weight update from the parameters' gradients; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["exp_avg"] = zero_moment(parameter)
                average = state["exp_avg"]
                gradient = parameter.grad.to(average.dtype)
                direction = torch.lerp(gradient, average, beta1).sign_()
                parameter.mul_(1.0 - lr * group["weight_decay"])
                if isinstance(lr, Tensor):
                    parameter.sub_(direction * lr)
                else:
                    parameter.add_(direction, alpha=-lr)
                average.lerp_(gradient, 1.0 - beta2)
        return loss
