"""Schedule-free learning: averaging in the place of a decaying learning rate, for SGD and for AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from batchlimit.errors import InputError, unknown_name
from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_numbers
from batchlimit.optimizers.param_groups import decay_groups
from batchlimit.optimizers.wide_state import WideStateOptimizer, wide, zero_moment


@solvers.register("schedule-free")
def schedule_free(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    base: Literal["adamw", "sgd"] = "adamw",
    beta: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_lr_power: float = 2.0,
    decay_exclude: str = "1d",
) -> torch.optim.Optimizer:
    """Return a `ScheduleFree`: an average instead of a schedule (Defazio et al., 2024).

    Give it a warmup and the constant schedule.

    Its weights differ between training and evaluation: who trains calls `optimizer.eval()` before and
    `optimizer.train()` after every evaluation and every saving of the model. Running statistics of batch norm are
    gathered at y, not at x: a recipe's `batch_norm_statistics = 'estimated'` estimates them at x for an evaluation.

    Raises:
        InputError: no parameters, or an option out of its range.

    Source: Defazio et al., 2024 (arXiv 2405.15682), section 3 and Algorithm 1.
    """
    return ScheduleFree(
        decay_groups(named_parameters, weight_decay, decay_exclude),
        lr=lr,
        base=base,
        beta=beta,
        beta2=beta2,
        eps=eps,
        weight_lr_power=weight_lr_power,
    )


class ScheduleFree(WideStateOptimizer):
    """z <- z - lr D; x <- (1 - c) x + c z; gradients are taken at y = (1 - beta) z + beta x; x is the answer.

    D is the gradient plus wd y ('sgd'), or Adam's normalized gradient without momentum plus wd y ('adamw'). The weight
    of step t in the average is (largest learning rate so far)^weight_lr_power, c its share in their sum.

    A parameter holds y in train mode, in which the optimizer begins, and x after `eval()`; z is kept beside it, and x
    found from both. So the memory is one buffer ('sgd') or two ('adamw') of the size of the parameters. Our own code,
    because the authors' package would be a dependency for sixty lines, and writes into the gradients; the tests hold
    the two together, in both modes. The averaging weights are Python numbers: not `capturable`. Beside bf16 or fp16
    parameters the state is fp32, yet y is in the parameter and so rounded at every update, and the small moves of a
    late average with it: prefer fp32 parameters.

    Raises:
        InputError: an option out of its range.

    Source: Defazio et al., 2024 (arXiv 2405.15682), equations 3-5 and Algorithm 1.
    """

    WIDE = ("z", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        base: Literal["adamw", "sgd"] = "adamw",
        beta: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_lr_power: float = 2.0,
        weight_decay: float = 0.0,
    ) -> None:
        numbers = {"lr": lr, "eps": eps, "weight_lr_power": weight_lr_power, "weight_decay": weight_decay}
        check_numbers("schedule-free", **numbers)
        if base not in ("adamw", "sgd"):
            raise unknown_name("value of base", str(base), ("adamw", "sgd"))
        if not 0.0 < beta < 1.0:
            raise InputError(f"schedule-free's beta is {beta:g}. Valid: between 0 and 1, both excluded.")
        if not 0.0 <= beta2 < 1.0:
            raise InputError(f"schedule-free's beta2 is {beta2:g}. Valid: 0 to 1, 1 excluded.")
        defaults = {
            "lr": lr,
            "base": base,
            "beta": beta,
            "beta2": beta2,
            "eps": eps,
            "weight_lr_power": weight_lr_power,
            "weight_decay": weight_decay,
            "training": True,
            "steps": 0,
            "largest_lr": 0.0,
            "weight_sum": 0.0,
        }
        super().__init__(params, defaults)

    def eval(self) -> None:
        """Put the averaged weights x into the parameters, for evaluation and saving; nothing if they are there."""
        self._move(to_training=False)

    def train(self) -> None:
        """Put the weights y into the parameters at which gradients are taken; nothing if they are there."""
        self._move(to_training=True)

    @torch.no_grad()
    def _move(self, *, to_training: bool) -> None:
        for group in self.param_groups:
            if group["training"] == to_training:
                continue
            # x = y + (1 - 1 / beta) (z - y) and y = x + (1 - beta) (z - x)
            share = 1.0 - group["beta"] if to_training else 1.0 - 1.0 / group["beta"]
            for parameter in group["params"]:
                if parameter in self.state:
                    z = self.state[parameter]["z"]
                    point = parameter.to(z.dtype).lerp_(z, share)
                    if point is not parameter:
                        parameter.copy_(point)
            group["training"] = to_training

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one weight update from the gradients at y; parameters without one stay as they are.

        Raises:
            RuntimeError: the optimizer is in evaluation mode.
        """
        if not all(group["training"] for group in self.param_groups):
            raise RuntimeError("schedule-free is in evaluation mode: call optimizer.train() before step().")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr = float(group["lr"])
            group["steps"] += 1
            group["largest_lr"] = max(group["largest_lr"], lr)
            weight = group["largest_lr"] ** group["weight_lr_power"]
            group["weight_sum"] += weight
            share = weight / group["weight_sum"] if group["weight_sum"] > 0.0 else 0.0
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, lr, share)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], lr: float, share: float) -> None:
        """Move y and z of one parameter: y' = (1 - c) y + c z - lr (1 - beta (1 - c)) D, z' = z - lr D."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["z"] = parameter.to(wide(parameter.dtype), copy=True)
            if group["base"] == "adamw":
                state["exp_avg_sq"] = zero_moment(parameter)
        z = state["z"]
        direction = gradient = gradient.to(z.dtype)
        point = parameter.to(z.dtype)  # the parameter itself, unless it is of half precision
        if group["base"] == "adamw":
            square = state["exp_avg_sq"].mul_(group["beta2"]).addcmul_(gradient, gradient, value=1.0 - group["beta2"])
            unbiased = square / (1.0 - group["beta2"] ** group["steps"])
            direction = gradient / unbiased.sqrt_().add_(group["eps"])
        if group["weight_decay"]:
            direction = direction.add(point, alpha=group["weight_decay"])
        point.lerp_(z, share)
        point.add_(direction, alpha=-lr * (1.0 - group["beta"] * (1.0 - share)))
        if point is not parameter:
            parameter.copy_(point)
        z.add_(direction, alpha=-lr)
