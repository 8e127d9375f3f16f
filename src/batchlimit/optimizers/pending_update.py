"""The update that torch's own SGD, Adam or AdamW would make to one tensor, taken without moving the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from batchlimit.optimizers.kernels import Scratch, blocks, fused_kernels_work, same_layout
from batchlimit.optimizers.trust_ratio import squared_norm

ADAM = (torch.optim.Adam, torch.optim.AdamW)
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def has_pending_update(base: torch.optim.Optimizer, group: dict[str, Any], parameter: Tensor) -> bool:
    """Return whether `PendingUpdate` knows how `base` updates `parameter`, a tensor of `group` with a gradient.

    It does for torch's SGD, Adam and AdamW on a CPU in fp32 or fp64, once `base` has made its first step and with it
    the tensor's state; otherwise `base` itself has to be asked.
    """
    state, gradient = base.state[parameter], parameter.grad
    assert gradient is not None
    if type(base) is torch.optim.SGD:
        states = [state.get("momentum_buffer")] if group["momentum"] != 0 else []
    elif type(base) in ADAM:
        states = [state.get(name) for name in MOMENTS[: 2 + group["amsgrad"]]]
    else:
        return False
    if any(tensor is None for tensor in states) or gradient.layout != torch.strided or group["differentiable"]:
        return False
    known = parameter.dtype in (torch.float32, torch.float64) and not group.get("capturable")
    return known and same_layout(parameter, gradient, *states) and fused_kernels_work()


class PendingUpdate:
    """One step of `base` for one tensor, its state advanced and its weights not yet moved.

    After `take`, called once, the update is `scale` times `direction`, a tensor that is good until the next is taken.
    """

    def __init__(self, base: torch.optim.Optimizer, group: dict[str, Any], parameter: Tensor, scratch: Scratch) -> None:
        assert parameter.grad is not None
        state = base.state[parameter]
        self._group = group
        self._gradient = parameter.grad
        self._parameter = parameter
        self._lr = float(group["lr"])
        self._steps: list[Tensor] = []
        self._is_sgd = type(base) is torch.optim.SGD
        if self._is_sgd:
            self._states = [state["momentum_buffer"]] if group["momentum"] != 0 else []
        else:
            decoupled = type(base) is torch.optim.AdamW or group.get("decoupled_weight_decay", False)
            self._adam_kernel: Callable[..., None] = torch._fused_adamw_ if decoupled else torch._fused_adam_
            self._states = [state[name] for name in MOMENTS[: 2 + group["amsgrad"]]]
            self._steps = [state["step"].add_(1)]
        # Plain momentum: the buffer is the update but for -lr, so no memory is needed for it.
        self._in_buffer = self._is_sgd and bool(self._states) and not group["nesterov"]
        self.direction: Tensor = self._states[0] if self._in_buffer else scratch.like(parameter)
        self.scale = -self._lr if self._is_sgd else 1.0

    def take(self) -> tuple[float, float]:
        """Take the update; return the squared norms of the weights and of `direction`.

        Block by block, so that the norms are of numbers that are in the cache anyway.
        """
        weight_sum = direction_sum = 0.0
        for w, g, u, *states in blocks(self._parameter, self._gradient, self.direction, *self._states):
            weight_sum += squared_norm(w)
            if self._in_buffer:
                self._advance(w, g, u)
            elif self._is_sgd:
                self._sgd_direction(w, g, u, *states)
            else:
                torch.mul(w, 1.0, out=u)
                self._adam([u], [g], [[s] for s in states], self._lr)
                u.sub_(w)
            direction_sum += squared_norm(u)
        return weight_sum, direction_sum

    def _advance(self, weight: Tensor, gradient: Tensor, buffer: Tensor) -> None:
        """Advance the momentum: with a learning rate of 0 nothing else changes."""
        group = self._group
        torch._fused_sgd_(
            [weight],
            [gradient],
            [buffer],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=0.0,
            dampening=group["dampening"],
            nesterov=False,
            maximize=group["maximize"],
            is_first_step=False,
        )

    def _sgd_direction(self, weight: Tensor, gradient: Tensor, direction: Tensor, *buffer: Tensor) -> None:
        """Make the direction without momentum, or with Nesterov's, from its parts: w' - w would lose a small one."""
        group = self._group
        torch.mul(weight, group["weight_decay"], out=direction)
        direction.add_(gradient, alpha=-1.0 if group["maximize"] else 1.0)
        for momentum in buffer:
            momentum.mul_(group["momentum"]).add_(direction, alpha=1.0 - group["dampening"])
            direction.add_(momentum, alpha=group["momentum"])

    def _adam(self, weights: list[Tensor], gradients: list[Tensor], states: list[list[Tensor]], lr: float) -> None:
        group = self._group
        beta1, beta2 = group["betas"]
        self._adam_kernel(
            weights,
            gradients,
            *(states if group["amsgrad"] else [*states, []]),
            self._steps,
            lr=lr,
            beta1=float(beta1),
            beta2=float(beta2),
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=group["amsgrad"],
            maximize=group["maximize"],
        )
