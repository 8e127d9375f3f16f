"""`LayerWise`: a trust ratio on top of any optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from batchlimit.errors import InputError
from batchlimit.optimizers.checks import check_bounds, check_numbers
from batchlimit.optimizers.kernels import Scratch, fused_sgd_works, is_dense
from batchlimit.optimizers.param_groups import check_exclusion, is_excluded
from batchlimit.optimizers.pending_update import PendingUpdate, has_pending_update
from batchlimit.optimizers.trust_ratio import (
    TrustRatioRecord,
    norms,
    ratio_of_sums,
    representable,
    squared_norm,
    trust_ratio,
)

# torch's solvers in which no tensor's update depends on another tensor.
TENSOR_BY_TENSOR = (
    torch.optim.SGD,
    torch.optim.Adagrad,
    torch.optim.RMSprop,
    torch.optim.Adam,
    torch.optim.AdamW,
)


class LayerWise(torch.optim.Optimizer):
    """Rescales, tensor by tensor, the update that `base` takes.

    With w the weights before and w' those that `base` arrives at with the learning rate lr:

        r = clamp(coefficient * ||w|| / (||w' - w|| / lr), lower, upper);  w <- w + r * (w' - w)

    so that without bounds every tensor moves by coefficient * lr * ||w||. The ratio is 1 where a norm is 0 and, with
    `exclude='1d'`, for biases and norms. All else is `base`'s: its parameter groups, state and `state_dict` are this
    optimizer's own, so learning-rate schedulers and checkpoints work on either. `base` may be any optimizer whose
    update is proportional to its `lr`; w' - w is known to the resolution of the weights' type only, which shows in bf16
    and where gradients are a millionth of the weights: prefer `LARS` and `LAMB` there, which do not subtract (nor does
    this for torch's SGD on a CPU, after the first step). `base` may not be a solver that evaluates at other weights
    than it trains (schedule-free): these follow from state that is not rescaled. Under `torch.compile` it may not be
    one of torch's with fused=True, which torch does not trace. A CUDA graph can hold a step if it can hold the base's:
    torch's Adam with `capturable`; torch's SGD, whose learning rate must be a number there.

    Raises:
        InputError: an option out of its range, or such a `base`.

    Source: You et al., "The Limit of the Batch Size", 2020, section 3.1 and Table 3.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        lower: float = 0.0,
        upper: float | None = None,
        coefficient: float = 1.0,
        exclude: str = "1d",
    ) -> None:
        check_numbers("layer-wise", coefficient=coefficient)
        check_bounds("layer-wise", lower, upper)
        check_exclusion(exclude, "exclude")
        check_rescalable(base, type(base).__name__)
        super().__init__(base.param_groups, dict(base.defaults))
        self.base = base
        self.lower = lower
        self.upper = upper
        self.coefficient = coefficient
        self.exclude = exclude
        self._record = TrustRatioRecord()
        # torch's decorators of `step` (hooks, profiler) break graphs when they are called from compiled code.
        self._plain_step = inspect.unwrap(type(base).step)
        self._kept = Scratch()
        self._share()

    def _share(self) -> None:
        """Make the groups and the state those of the base, which replaces its own when it loads a checkpoint."""
        self.param_groups = self.base.param_groups
        self.state = self.base.state

    def __getattr__(self, name: str) -> Any:
        """Pass on what only the base has, as a curvature solver's `attach`."""
        if name.startswith("_") or "base" not in self.__dict__:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(self.base, name)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs besides the base's own, which torch's optimizers would leave out."""
        names = ("base", "lower", "upper", "coefficient", "exclude", "_record", "_kept")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the copy that `__getstate__` describes."""
        super().__setstate__(state)
        self._plain_step = inspect.unwrap(type(self.base).step)
        self._share()

    def trust_ratios(self) -> dict[str, Tensor]:
        """Return name -> trust ratio of the last step (0-d tensors; empty before the first or after a compiled one)."""
        return self._record.by_name(self.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """Return the base's state, all there is."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this optimizer or of a bare base."""
        self.base.load_state_dict(state_dict)
        self._share()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base."""
        if hasattr(self, "base"):
            self.base.add_param_group(param_group)
            self._share()
        else:
            super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Let the base do one weight update, and rescale it; a `closure` goes to the base where its `step` takes one.

        So a base may evaluate the loss more than once (sharpness-aware ones, LBFGS); what it returns is returned.
        """
        self._share()
        self._record.clear()
        alone = type(self.base) in TENSOR_BY_TENSOR and self._base_is_plain()
        loss = None
        if closure is not None:
            evaluated = torch.enable_grad()(closure)
            if not (alone or torch.compiler.is_compiling()) and _takes_closure(self.base):
                return self._step_together(evaluated)
            loss = evaluated()
        if alone and not torch.compiler.is_compiling():
            self._step_one_by_one()
        else:
            self._step_together(None)
        return loss

    def _step_together(self, closure: Callable[[], Any] | None) -> Any:
        """Keep all weights, let the base do its step, rescale: right for any base, and the way to few launches."""
        # Before a closure is called there are no gradients to tell which weights will move.
        before = [
            [(p, p.detach().clone()) for p in self._adapted(group) if closure or p.grad is not None]
            for group in self.param_groups
        ]
        if torch.compiler.is_compiling():
            loss = self._plain_step(self.base)
        else:
            loss = self.base.step(closure) if closure else self.base.step()
        for group, kept in zip(self.param_groups, before, strict=True):
            pairs = [(parameter, old) for parameter, old in kept if parameter.grad is not None]
            if pairs:
                self._rescale(group, [parameter for parameter, _ in pairs], [old for _, old in pairs])
        return loss

    def _base_is_plain(self) -> bool:
        """Return whether all is on a CPU and nobody watches the base's steps."""
        hooks = self.base._optimizer_step_pre_hooks or self.base._optimizer_step_post_hooks
        return not hooks and all(p.device.type == "cpu" for group in self.param_groups for p in group["params"])

    def _step_one_by_one(self) -> None:
        """Give the base one tensor at a time, so that old and new weights meet in the cache, in memory used again."""
        whole = [group["params"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                group["params"] = []
            for group, params in zip(self.param_groups, whole, strict=True):
                group["params"] = [p for p in params if is_excluded(p, self.exclude)]
                self.base.step()
                for parameter in params:
                    if parameter.grad is not None and not is_excluded(parameter, self.exclude):
                        group["params"] = [parameter]
                        self._step_one(group, parameter)
                group["params"] = []
        finally:
            for group, params in zip(self.param_groups, whole, strict=True):
                group["params"] = params

    def _step_one(self, group: dict[str, Any], parameter: Tensor) -> None:
        lr = float(group["lr"])
        if lr != 0 and has_pending_update(self.base, group, parameter):
            update = PendingUpdate(self.base, group, parameter, self._kept)
            weight_sum, update_sum = update.take()
            ratio = self._ratio_of_sums(weight_sum, update_sum * (update.scale / lr) ** 2)
            parameter.add_(update.direction, alpha=representable(update.scale * ratio))
        else:
            kept = self._kept.like(parameter) if is_dense(parameter) else torch.empty_like(parameter)
            kept.copy_(parameter)
            weight_sum = squared_norm(kept)
            self.base.step()
            difference = kept.sub_(parameter)  # minus the update
            ratio = self._ratio_of_sums(weight_sum, squared_norm(difference) / lr**2 if lr else 0.0)
            parameter.add_(difference, alpha=representable(1 - ratio))
        self._record.add([parameter], [ratio])

    def _ratio_of_sums(self, weight_sum: float, update_sum: float) -> float:
        return ratio_of_sums(weight_sum, update_sum, coefficient=self.coefficient, lower=self.lower, upper=self.upper)

    def _ratio(self, weight_norms: Tensor, update_norms: Tensor, group: dict[str, Any]) -> Tensor:
        return trust_ratio(
            weight_norms,
            update_norms / group["lr"],
            coefficient=self.coefficient,
            lower=self.lower,
            upper=self.upper,
        )

    def _adapted(self, group: dict[str, Any]) -> list[Tensor]:
        return [p for p in group["params"] if not is_excluded(p, self.exclude)]

    def _rescale(self, group: dict[str, Any], params: list[Tensor], before: list[Tensor]) -> None:
        updates = list(torch._foreach_sub(params, before))
        ratios = self._ratio(norms(before), norms(updates), group)
        torch._foreach_mul_(updates, list(ratios.unbind()))
        torch._foreach_add_(before, updates)
        torch._foreach_copy_(params, before)
        if not torch.compiler.is_compiling():
            self._record.add(params, ratios)


def _takes_closure(base: torch.optim.Optimizer) -> bool:
    return len(inspect.signature(type(base).step).parameters) > 1


def check_rescalable(base: torch.optim.Optimizer, name: str) -> None:
    """Check that the weights of `base`, called `name`, are all that its update moves them by.

    Raises:
        InputError: it has an `eval`, with which it evaluates at weights that its state decides, or is torch's fused SGD
            for weights that this leaves as they are.
    """
    if callable(getattr(base, "eval", None)):
        raise InputError(
            f"The solver '{name}' evaluates at other weights than it trains, which layer-wise scaling would not "
            "rescale. Valid: no recipe.layerwise with it."
        )
    if isinstance(base, torch.optim.SGD):
        fused = [p for group in base.param_groups if group["fused"] for p in group["params"] if p.device.type == "cpu"]
        for dtype in {parameter.dtype for parameter in fused}:
            if not fused_sgd_works(dtype):
                raise InputError(f"{name} with fused=True leaves weights of {dtype} as they are. Valid: fused=False.")
