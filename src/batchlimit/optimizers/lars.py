"""LARS: layer-wise adaptive rate scaling of momentum SGD.

torch 2.13 has no LARS. `pytorch-optimizer`'s (4.1) was considered and not taken: it leaves the LR out of the momentum
buffer, so that under a schedule it is not the paper's, and writes into the gradients. The tests pin both; at a constant
LR the two agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_below_one, check_bounds, check_choice, check_dense, check_numbers
from batchlimit.optimizers.kernels import (
    blocks,
    check_fused,
    choose_kernel,
    fused_sgd,
    fused_sgd_works,
    same_layout,
)
from batchlimit.optimizers.param_groups import check_exclusion, decay_groups, is_excluded
from batchlimit.optimizers.presets import LARS_PRESETS, resolve_preset
from batchlimit.optimizers.trust_ratio import TrustRatioRecord, ratio_of_sums, squared_norm, trust_ratios

DECAYS = ("both", "ratio", "decoupled")


class LARS(torch.optim.Optimizer):
    """LARS with torch's conventions.

    With g the gradient, w the weights, r the trust ratio coefficient * ||w|| / (||g|| + weight_decay * ||w||), clamped
    to [lower, upper] and 1 where a norm is 0 or the parameter is excluded, and d = g + weight_decay * w:

        lr_in_buffer (2017):  v = momentum * v + lr * r * d;  w -= v           (Nesterov: lr * r * d + momentum * v)
        otherwise:            v = momentum * v + d;           w -= lr * r * v  (Nesterov: lr * r * (d + momentum * v))

    `decay` says where weight decay enters: 'both' as above, 'ratio' in the ratio's denominator only (d = g),
    'decoupled' in neither (w -= lr * weight_decay * w apart). `exclude` says which parameters keep a ratio of 1: '1d'
    or 'nothing'. All options can be set per parameter group. `lr` may be a 0-d tensor. State: one buffer a parameter,
    of its type, none with momentum 0. On a CPU the update is one fused pass; on an accelerator `foreach`, with no host
    sync, so it can be recorded in a CUDA graph.

    Raises:
        InputError: an option out of its range; `fused=True` for parameters that are not on a CPU.

    Source: You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017, algorithm 1.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        coefficient: float = 0.001,
        nesterov: bool = False,
        lr_in_buffer: bool = True,
        decay: str = "both",
        lower: float = 0.0,
        upper: float | None = None,
        exclude: str = "1d",
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "coefficient": coefficient,
            "nesterov": nesterov,
            "lr_in_buffer": lr_in_buffer,
            "decay": decay,
            "lower": lower,
            "upper": upper,
            "exclude": exclude,
            "foreach": foreach,
            "fused": fused,
        }
        super().__init__(params, defaults)
        self._record = TrustRatioRecord()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, its options checked as those of all."""
        options = {**self.defaults, **param_group}
        numbers = ("lr", "weight_decay", "coefficient")
        check_numbers("lars", **{name: options[name] for name in numbers})
        check_below_one("lars", momentum=options["momentum"])
        check_choice("decay", options["decay"], DECAYS)
        check_bounds("lars", options["lower"], options["upper"])
        check_exclusion(options["exclude"], "exclude")
        super().add_param_group(param_group)
        check_fused("lars", self.param_groups[-1]["params"], options["fused"])

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs: torch's optimizers would leave out the record."""
        return {**super().__getstate__(), "_record": self._record}

    def trust_ratios(self) -> dict[str, Tensor]:
        """Return name -> trust ratio of the last step (0-d tensors; empty before the first or after a compiled one)."""
        return self._record.by_name(self.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one weight update; `closure` evaluates the loss again, as for torch's optimizers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._record.clear()
        for group in self.param_groups:
            params: list[Tensor] = []
            grads: list[Tensor] = []
            buffers: list[Tensor] = []
            self._init_group(group, params, grads, buffers)
            if params:
                self._update(group, params, grads, buffers)
        return loss

    def _init_group(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], buffers: list[Tensor]
    ) -> None:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            check_dense("lars", parameter.grad)
            params.append(parameter)
            grads.append(parameter.grad)
            if group["momentum"] != 0:
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                buffers.append(state["momentum_buffer"])

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], buffers: list[Tensor]) -> None:
        kernel = choose_kernel("lars", params, foreach=group["foreach"], fused=group["fused"])
        if kernel == "foreach":
            ratios = trust_ratios(params, grads, group["exclude"], **_options(group))
            if not torch.compiler.is_compiling():
                self._record.add(params, ratios)
            _update_together(group, params, grads, buffers, list((group["lr"] * ratios).unbind()))
            return
        exempt: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for index, parameter in enumerate(params):
            one = [parameter], [grads[index]], [buffers[index]] if buffers else []
            if not is_excluded(parameter, group["exclude"]):
                self._update_adapted(group, *one, fused=kernel == "fused")
            elif kernel == "fused" and _fusable(group, parameter, grads[index], *one[2]):
                for whole, part in zip(exempt, one, strict=True):
                    whole.extend(part)
            else:
                _update_blocks(group, *one, float(group["lr"]))
        if exempt[0]:
            _update_fused(group, *exempt, float(group["lr"]))

    def _update_adapted(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        buffers: list[Tensor],
        *,
        fused: bool,
    ) -> None:
        """Update one tensor on a CPU, by its trust ratio; the lists hold one tensor, `buffers` at most."""
        ratio = ratio_of_sums(squared_norm(params[0]), squared_norm(grads[0]), **_options(group))
        self._record.add(params, [ratio])
        size = float(group["lr"]) * ratio
        if fused and _fusable(group, *params, *grads, *buffers):
            _update_fused(group, params, grads, buffers, size)
        else:
            _update_blocks(group, params, grads, buffers, size)


def _options(group: dict[str, Any]) -> dict[str, Any]:
    """Return the options of `trust_ratio`."""
    return {
        "coefficient": group["coefficient"],
        "decay": 0.0 if group["decay"] == "decoupled" else group["weight_decay"],
        "lower": group["lower"],
        "upper": group["upper"],
    }


def _fusable(group: dict[str, Any], *tensors: Tensor) -> bool:
    """Return whether torch's fused kernel can express the update of one parameter, given with all that belongs to it.

    Its Nesterov does not damp the gradient, so LARS with the LR in the buffer cannot be had from it.
    """
    in_buffer = group["momentum"] != 0 and group["lr_in_buffer"]
    expressible = not (in_buffer and group["nesterov"])
    return expressible and same_layout(*tensors) and fused_sgd_works(tensors[0].dtype)


def _update_together(
    group: dict[str, Any], params: list[Tensor], grads: list[Tensor], buffers: list[Tensor], sizes: list[Tensor]
) -> None:
    """Update tensors with one `foreach` operation a line; `sizes` are lr * ratio, 0-d, and never leave the device."""
    momentum, decay = group["momentum"], group["weight_decay"]
    if decay != 0 and group["decay"] == "both":
        grads = list(torch._foreach_add(grads, params, alpha=decay))
    if decay != 0 and group["decay"] == "decoupled":
        torch._foreach_mul_(params, 1 - group["lr"] * decay)
    if momentum == 0 or group["lr_in_buffer"]:
        grads = list(torch._foreach_mul(grads, sizes))
    updates = grads
    if momentum != 0:
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, grads)
        updates = list(torch._foreach_add(grads, buffers, alpha=momentum)) if group["nesterov"] else buffers
        if not group["lr_in_buffer"]:
            updates = list(torch._foreach_mul(updates, sizes))
    torch._foreach_sub_(params, updates)


def _update_blocks(
    group: dict[str, Any], params: list[Tensor], grads: list[Tensor], buffers: list[Tensor], size: float
) -> None:
    """Update one tensor on a CPU operation by operation, in blocks that stay in the cache; `size` is lr * ratio."""
    sizes = [torch.tensor(size, dtype=torch.float64)]
    if not same_layout(*params, *grads, *buffers):
        _update_together(group, params, grads, buffers, sizes)
        return
    for weight, gradient, *buffer in blocks(*params, *grads, *buffers):
        _update_together(group, [weight], [gradient], buffer, sizes)


def _update_fused(
    group: dict[str, Any], params: list[Tensor], grads: list[Tensor], buffers: list[Tensor], size: float
) -> None:
    """Update tensors on a CPU in one pass over memory; `size` is lr * ratio, one for all."""
    in_buffer = bool(buffers) and group["lr_in_buffer"]
    if group["weight_decay"] != 0 and group["decay"] == "decoupled":
        torch._foreach_mul_(params, 1 - float(group["lr"]) * group["weight_decay"])
    fused_sgd(
        params,
        grads,
        buffers,
        step_size=1.0 if in_buffer else size,
        gain=size if in_buffer else 1.0,
        momentum=group["momentum"],
        weight_decay=group["weight_decay"] if group["decay"] == "both" else 0.0,
        nesterov=group["nesterov"],
    )


@solvers.register("lars")
def lars(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    preset: str = "default",
    momentum: float | None = None,
    nesterov: bool | None = None,
    coefficient: float | None = None,
    lr_in_buffer: bool | None = None,
    decay: str | None = None,
    lower: float = 0.0,
    upper: float | None = None,
    exclude: str | None = None,
    decay_exclude: str | None = None,
    foreach: bool | None = None,
    fused: bool | None = None,
) -> torch.optim.Optimizer:
    """Return `LARS`: momentum with a trust ratio for each layer (You, Gitman and Ginsburg, 2017).

    By `preset` ('default', 'paper-author' or 'mlperf'), changed by the options that are given.

    Defaults of 'default': momentum 0.9, no Nesterov, coefficient 0.001, LR inside the momentum buffer, weight decay in
    the update and in the ratio ('both') of all parameters, no bounds, biases and norms with a ratio of 1.
    'paper-author': LR outside, decay in the ratio only, nothing excluded. 'mlperf': as 'default', and
    `decay_exclude='1d'`, no weight decay on biases and norms.
    """
    given = {
        "momentum": momentum,
        "nesterov": nesterov,
        "coefficient": coefficient,
        "lr_in_buffer": lr_in_buffer,
        "decay": decay,
        "exclude": exclude,
        "decay_exclude": decay_exclude,
    }
    options = resolve_preset(LARS_PRESETS, preset, given)
    groups = decay_groups(named_parameters, weight_decay, options.pop("decay_exclude"))
    return LARS(groups, lr=lr, lower=lower, upper=upper, foreach=foreach, fused=fused, **options)
