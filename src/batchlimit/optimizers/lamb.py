"""LAMB: Adam with a trust ratio for each tensor.

torch 2.13 has no LAMB. `pytorch-optimizer`'s (4.1) was considered and not taken: it never corrects the second moment,
its first step is 1 / (1 - beta1) times too long unless told otherwise, and it caps ||w|| at 10. The tests pin that; in
the rest the two agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import (
    check_below_one,
    check_bounds,
    check_choice,
    check_dense,
    check_numbers,
    check_positive,
)
from batchlimit.optimizers.kernels import (
    UNCORRECTED,
    Scratch,
    blocks,
    check_fused,
    choose_kernel,
    fused_adam,
    same_layout,
)
from batchlimit.optimizers.param_groups import check_exclusion, decay_groups, is_excluded
from batchlimit.optimizers.presets import LAMB_PRESETS, resolve_preset
from batchlimit.optimizers.trust_ratio import (
    TrustRatioRecord,
    norms,
    ratio_of_sums,
    representable,
    squared_norm,
    trust_ratios,
)
from batchlimit.optimizers.wide_state import WideStateOptimizer, in_types_of, zero_moment

CLIPS = ("above", "always", "never")
_CLIPPING = ("clip_norm", "clip")


class LAMB(WideStateOptimizer):
    """LAMB with torch's conventions.

    With m and v Adam's moments (of the clipped gradient), u = m / (sqrt(v) + eps) + weight_decay * w, and the trust
    ratio r = ||w|| / ||u||, clamped to [lower, upper] and 1 where a norm is 0 or the parameter is excluded:

        w -= lr * r * u

    `bias_correction` divides m by 1 - beta1^t and v by 1 - beta2^t. `clip_norm` scales all gradients by one factor:
    with `clip='above'` to a global norm of at most `clip_norm`, with 'always' to exactly that (pre-normalization), with
    'never' not at all; the gradients themselves stay as they are. `exclude` says which parameters keep a ratio of 1:
    '1d' or 'nothing'. All but `clip_norm` and `clip` (the first group's count) can be set per parameter group. `lr` may
    be a 0-d tensor.
    State, of the parameter's type but at least fp32: `exp_avg`, `exp_avg_sq`; and `step`, an fp32 scalar, on the
    parameter's device if `capturable` (needed for CUDA graphs), else on the CPU.

    Raises:
        InputError: an option out of its range; `fused=True` for parameters that are not on a CPU.

    Source: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", ICLR 2020,
    algorithm 2.
    """

    WIDE = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        bias_correction: bool = True,
        lower: float = 0.0,
        upper: float | None = None,
        exclude: str = "1d",
        clip_norm: float | None = None,
        clip: str = "above",
        capturable: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "bias_correction": bias_correction,
            "lower": lower,
            "upper": upper,
            "exclude": exclude,
            "clip_norm": clip_norm,
            "clip": clip,
            "capturable": capturable,
            "foreach": foreach,
            "fused": fused,
        }
        super().__init__(params, defaults)
        self._record = TrustRatioRecord()
        self._scratch = Scratch()
        self._clipped = Scratch()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, its options checked as those of all."""
        options = {**self.defaults, **param_group}
        numbers = ("lr", "eps", "weight_decay")
        check_numbers("lamb", **{name: options[name] for name in numbers})
        check_positive("lamb", clip_norm=options["clip_norm"])
        check_below_one("lamb", beta1=options["betas"][0], beta2=options["betas"][1])
        check_choice("clip", options["clip"], CLIPS)
        check_bounds("lamb", options["lower"], options["upper"])
        check_exclusion(options["exclude"], "exclude")
        super().add_param_group(param_group)
        check_fused("lamb", self.param_groups[-1]["params"], options["fused"])

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs: torch's optimizers would leave out the record and the scratch memory."""
        names = ("_record", "_scratch", "_clipped")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a copy's or a checkpoint's state; older checkpoints do not say how gradients are clipped."""
        clipping = {name: self.param_groups[0][name] for name in _CLIPPING} if "param_groups" in self.__dict__ else {}
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in clipping.items():
                group.setdefault(name, value)

    @property
    def clip_norm(self) -> float | None:
        """The norm to which gradients are clipped; None for no clipping."""
        norm: float | None = self.param_groups[0]["clip_norm"]
        return norm

    @property
    def clip(self) -> str:
        """Which gradients are scaled to `clip_norm`: those 'above' it, 'always', or 'never'."""
        return str(self.param_groups[0]["clip"])

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
        factor = self._clip_factor()
        for group in self.param_groups:
            lists: tuple[list[Tensor], ...] = ([], [], [], [], [])
            self._init_group(group, *lists)
            if lists[0]:
                self._update(group, factor, *lists)
        return loss

    def _init_group(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            check_dense("lamb", parameter.grad)
            state = self.state[parameter]
            if not state:
                device = parameter.device if group["capturable"] else torch.device("cpu")
                state["step"] = torch.zeros((), dtype=torch.float32, device=device)
                state["exp_avg"] = zero_moment(parameter)
                state["exp_avg_sq"] = zero_moment(parameter)
            params.append(parameter)
            grads.append(parameter.grad)
            means.append(state["exp_avg"])
            squares.append(state["exp_avg_sq"])
            steps.append(state["step"])

    def _clip_factor(self) -> Tensor | None:
        """Return what all gradients are multiplied by, or None without clipping."""
        if self.clip_norm is None or self.clip == "never":
            return None
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not grads:
            return None
        norm = torch.linalg.vector_norm(norms(grads))
        factor = torch.where(norm > 0, self.clip_norm / norm, torch.ones_like(norm))
        return factor.clamp(max=1.0) if self.clip == "above" else factor

    def _update(
        self,
        group: dict[str, Any],
        factor: Tensor | None,
        params: list[Tensor],
        grads: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        kernel = choose_kernel("lamb", params, foreach=group["foreach"], fused=group["fused"])
        torch._foreach_add_(steps, 1)
        if kernel == "foreach":
            ratios = _update_together(group, factor, params, grads, means, squares, steps)
            if not torch.compiler.is_compiling():
                self._record.add(params, ratios)
            return
        gain = 1.0 if factor is None else float(factor)
        exempt: list[tuple[Tensor, ...]] = []
        for one in zip(params, grads, means, squares, steps, strict=True):
            if kernel != "fused" or not _fusable(*one[:4]):
                self._record.add([one[0]], _update_together(group, factor, *([tensor] for tensor in one)))
            elif is_excluded(one[0], group["exclude"]):
                exempt.append(one)
            else:
                self._record.add([one[0]], [self._update_adapted(group, gain, *one)])
        if exempt:
            _update_exempt(group, gain, *(list(tensors) for tensors in zip(*exempt, strict=True)))

    def _update_adapted(
        self,
        group: dict[str, Any],
        gain: float,
        parameter: Tensor,
        gradient: Tensor,
        mean: Tensor,
        square: Tensor,
        step: Tensor,
    ) -> float:
        """Update one tensor on a CPU; return its trust ratio.

        Adam's kernel run on -weight_decay * w leaves minus the update there. Block by block, so that what one
        operation leaves in the cache the next finds there.
        """
        weight_sum = update_sum = 0.0
        update = self._scratch.like(mean)
        for w, g, m, v, u in blocks(parameter, gradient, mean, square, update):
            weight_sum += squared_norm(w)
            clipped = g if gain == 1.0 and g.dtype == m.dtype else _scaled(g, gain, self._clipped.like(m))
            _scaled(w, -group["weight_decay"], u)
            _adam(group, [u], [clipped], [m], [v], [step])
            update_sum += squared_norm(u)
        ratio = ratio_of_sums(weight_sum, update_sum, lower=group["lower"], upper=group["upper"])
        parameter.add_(update, alpha=representable(float(group["lr"]) * ratio))
        return ratio


def _fusable(parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> bool:
    """Return whether a kernel that walks memory may pair these; the moments alone may be of a wider type."""
    alike = same_layout(parameter, gradient) and same_layout(mean, square)
    return alike and parameter.stride() == mean.stride()


def _scaled(tensor: Tensor, factor: float, out: Tensor) -> Tensor:
    """Return factor * tensor in `out`, rounded to the type of `out` alone."""
    return torch.mul(tensor, factor, out=out) if tensor.dtype == out.dtype else out.copy_(tensor).mul_(factor)


def _update_exempt(
    group: dict[str, Any],
    gain: float,
    params: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> None:
    """Update tensors without a trust ratio on a CPU: biases and norms, so many and so small that calls are the cost."""
    updates = list(torch._foreach_mul(in_types_of(params, means), -group["weight_decay"]))
    grads = in_types_of(grads, means)
    if gain != 1.0:
        grads = list(torch._foreach_mul(grads, gain))
    _adam(group, updates, grads, means, squares, steps)
    torch._foreach_add_(params, updates, alpha=float(group["lr"]))


def _adam(
    group: dict[str, Any],
    updates: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> None:
    """Advance the moments and subtract Adam's update, without weight decay and LR, from `updates`."""
    if not group["bias_correction"]:
        steps = [UNCORRECTED] * len(updates)
    fused_adam(updates, grads, means, squares, steps, step_size=1.0, betas=group["betas"], eps=group["eps"])


def _update_together(
    group: dict[str, Any],
    factor: Tensor | None,
    params: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> Tensor:
    """Update tensors with one `foreach` operation a line, nothing leaving the device; return the trust ratios."""
    beta1, beta2 = group["betas"]
    grads = in_types_of(grads, means)
    if factor is not None:
        grads = list(torch._foreach_mul(grads, factor))
    torch._foreach_lerp_(means, grads, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
    denominators = list(torch._foreach_sqrt(squares))
    updates = means
    if group["bias_correction"]:
        torch._foreach_mul_(denominators, _corrections(steps, beta2, params[0], power=-0.5))
        updates = list(torch._foreach_mul(means, _corrections(steps, beta1, params[0], power=-1.0)))
    torch._foreach_add_(denominators, group["eps"])
    updates = list(torch._foreach_div(updates, denominators))
    if group["weight_decay"] != 0:
        torch._foreach_add_(updates, params, alpha=group["weight_decay"])
    ratios = trust_ratios(params, updates, group["exclude"], lower=group["lower"], upper=group["upper"])
    torch._foreach_mul_(updates, list((group["lr"] * ratios).unbind()))
    torch._foreach_sub_(params, updates)
    return ratios


def _corrections(steps: list[Tensor], beta: float, like: Tensor, power: float) -> list[Tensor]:
    """Return (1 - beta^t)^power for each step count t, on the device of `like`.

    The parameters of a group may have joined at different steps, so each has its own. 1 - beta^t loses four digits in
    fp32, so it is computed in fp64 (which Apple's devices do not have).
    """
    counts = torch.stack(steps)
    if counts.device.type != "mps":
        counts = counts.double()
    factors = (1 - beta**counts) ** power
    return list(factors.to(like.device, torch.promote_types(like.dtype, torch.float32), non_blocking=True).unbind())


@solvers.register("lamb")
def lamb(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    preset: str = "default",
    beta1: float | None = None,
    beta2: float | None = None,
    eps: float | None = None,
    bias_correction: bool | None = None,
    lower: float = 0.0,
    upper: float | None = None,
    exclude: str | None = None,
    decay_exclude: str | None = None,
    clip_norm: float | None = None,
    clip: str | None = None,
    capturable: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
) -> torch.optim.Optimizer:
    """Return `LAMB`: Adam with a trust ratio for each layer (You et al., 2020).

    By `preset` ('default', 'paper-author' or 'mlperf'), changed by the options that are given.

    Defaults of 'default': betas 0.9 and 0.999, eps 1e-6, bias correction, weight decay on all parameters, no bounds,
    biases and norms with a ratio of 1, no clipping. 'paper-author': no bias correction, no weight decay on biases and
    norms (`decay_exclude='1d'`). 'mlperf': as 'default' with `decay_exclude='1d'` and gradients clipped to a norm of 1
    (`clip='never'`: not).
    """
    given = {
        "beta1": beta1,
        "beta2": beta2,
        "eps": eps,
        "bias_correction": bias_correction,
        "exclude": exclude,
        "decay_exclude": decay_exclude,
        "clip_norm": clip_norm,
        "clip": clip,
    }
    options = resolve_preset(LAMB_PRESETS, preset, given)
    groups = decay_groups(named_parameters, weight_decay, options.pop("decay_exclude"))
    betas = (options.pop("beta1"), options.pop("beta2"))
    bounds: dict[str, Any] = {"lower": lower, "upper": upper}
    return LAMB(groups, lr=lr, betas=betas, capturable=capturable, foreach=foreach, fused=fused, **bounds, **options)
