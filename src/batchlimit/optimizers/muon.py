"""Muon: momentum orthogonalized by Newton-Schulz, with an Adam companion for what is not a matrix."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from batchlimit.errors import InputError, unknown_name
from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_numbers
from batchlimit.optimizers.newton_schulz import orthogonalize
from batchlimit.optimizers.param_groups import check_exclusion, is_excluded
from batchlimit.optimizers.whitening import Whitening, unwhitened, whitened
from batchlimit.optimizers.wide_state import WideStateOptimizer, in_types_of, zero_moment

Layers = Literal["all", "hidden", "matrices", "convolutions"]
Scale = Literal["spectral", "rms", "none"]
BATCHED_ELEMENTS = 1 << 18
"""On a CPU, matrices of one shape up to this size go through Newton-Schulz together; larger ones fill it alone."""


@solvers.register("muon")
def muon(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    ns_precision: Literal["fp32", "bf16"] = "fp32",
    scale: Scale = "spectral",
    layers: Layers = "all",
    companion_lr_factor: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay_exclude: str = "1d",
    capturable: bool = False,
    whiten: bool = False,
    damping: float = 1.0,
    examples: int = 64,
    max_factor_dim: int = 4096,
) -> torch.optim.Optimizer:
    """Return a `Muon`: orthogonalized momentum for matrices and convolutions, Adam for the rest (Jordan et al., 2024).

    `layers` says what is orthogonalized: 'all' tensors of two dimensions or more, only the 'hidden' ones (neither the
    first nor the last of them in the model's order), only 'matrices' (2-D) or only 'convolutions' (3-D and more).
    With `whiten`, that happens in the basis in which a layer's inputs are white (`Whitening`: `damping`, `examples`,
    `max_factor_dim`), and who trains calls `optimizer.attach(model)` before the first pass. Fewer `examples` cost less:
    with 64 the moments of large convolutions can take longer than their gradients.

    Raises:
        InputError: no parameters, or an option out of its range.

    Source: Jordan et al., 2024 (kellerjordan.github.io/posts/muon).
    """
    if layers not in get_args(Layers):
        raise unknown_name("value of layers", str(layers), get_args(Layers))
    check_exclusion(decay_exclude, "decay_exclude")
    named = list(named_parameters)
    if not named:
        raise InputError("The model has no parameters to optimize. Valid: a model with at least one parameter.")
    chosen = {name for name, _ in _orthogonalized(named, layers)}
    buckets: dict[tuple[bool, bool], list[tuple[str, nn.Parameter]]] = defaultdict(list)
    for name, parameter in named:
        buckets[name in chosen, is_excluded(parameter, decay_exclude)].append((name, parameter))
    groups = [
        {
            "params": members,
            "orthogonal": orthogonal,
            "rate_factor": 1.0 if orthogonal else companion_lr_factor,
            "weight_decay": 0.0 if exempt else weight_decay,
        }
        for (orthogonal, exempt), members in buckets.items()
    ]
    return Muon(
        groups,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        ns_steps=ns_steps,
        ns_precision=ns_precision,
        scale=scale,
        betas=(beta1, beta2),
        eps=eps,
        capturable=capturable,
        whitening=Whitening(damping=damping, examples=examples, max_dim=max_factor_dim) if whiten else None,
    )


def _orthogonalized(named: list[tuple[str, nn.Parameter]], layers: Layers) -> list[tuple[str, nn.Parameter]]:
    tensors = [(name, parameter) for name, parameter in named if parameter.ndim >= 2]
    if layers == "hidden":
        return tensors[1:-1]
    if layers == "matrices":
        return [(name, parameter) for name, parameter in tensors if parameter.ndim == 2]
    if layers == "convolutions":
        return [(name, parameter) for name, parameter in tensors if parameter.ndim > 2]
    return tensors


def update_scale(shape: torch.Size, scale: Scale) -> float:
    """Return the factor on an orthogonalized update of a tensor of `shape`, flattened to (shape[0], the rest).

    'spectral': sqrt(max(1, rows / columns)) (Jordan et al., 2024); 'rms': 0.2 sqrt(max(rows, columns)), so that the
    update is as large as Adam's usual one (Liu et al., 2025, arXiv 2502.16982, section 2.2); 'none': 1.
    """
    rows, columns = shape[0], math.prod(shape[1:])
    if scale == "spectral":
        return math.sqrt(max(1.0, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns)) if scale == "rms" else 1.0


class Muon(WideStateOptimizer):
    """Muon and its companion AdamW in one optimizer, so that a schedule that sets every group's `lr` scales both.

    Groups with `orthogonal` True: M <- momentum M + G; U = G + momentum M (Nesterov) or M; with e = lr * rate_factor,
    W <- (1 - e wd) W - e scale(W) NewtonSchulz(U). Writing the buffer as an average, as others do, only scales U, which
    Newton-Schulz takes out again. Other groups: AdamW at lr * rate_factor. Weight decay is decoupled in both.

    The Newton-Schulz steps run in fp32 (fp64 for fp64 parameters), or bf16 with `ns_precision='bf16'`. torch 2.13's own
    `torch.optim.Muon` is not used: it takes 2-D parameters only, runs in bf16 only and has no companion; the tests
    compare with it. With `capturable` the step can be recorded in a CUDA graph; off the CPU `lr` may be a tensor only
    then, as with torch's Adam. The companion's moments are fp32 at least, the momentum buffer of the parameter's type.

    With `whitening`, a layer's direction is NewtonSchulz(U L^-T) L^-1, L L^T = A its inputs' second moment in the step:
    `lr` is then about the root mean square by which a step moves each of its outputs, less with damping. Call
    `attach(model)` before the first pass; the hooks count examples on the host, so that no CUDA graph can hold them.

    Raises:
        InputError: an option out of its range.

    Source: Jordan et al., 2024 (kellerjordan.github.io/posts/muon); AdamW: Loshchilov and Hutter, 2019.
    """

    WIDE = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 0.02,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        ns_precision: Literal["fp32", "bf16"] = "fp32",
        scale: Scale = "spectral",
        weight_decay: float = 0.0,
        rate_factor: float = 1.0,
        orthogonal: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        capturable: bool = False,
        whitening: Whitening | None = None,
    ) -> None:
        check_numbers("muon", lr=lr, eps=eps, weight_decay=weight_decay)
        for name, decay in (("momentum", momentum), ("beta1", betas[0]), ("beta2", betas[1])):
            if not 0.0 <= decay < 1.0:
                raise InputError(f"muon's {name} is {decay:g}. Valid: 0 to 1, 1 excluded.")
        if not 0 <= ns_steps <= 50:
            raise InputError(f"muon's ns_steps is {ns_steps}. Valid: 0 to 50.")
        if ns_precision not in ("fp32", "bf16"):
            raise unknown_name("value of ns_precision", str(ns_precision), ("fp32", "bf16"))
        if scale not in get_args(Scale):
            raise unknown_name("value of scale", str(scale), get_args(Scale))
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "ns_precision": ns_precision,
            "scale": scale,
            "weight_decay": weight_decay,
            "rate_factor": rate_factor,
            "orthogonal": orthogonal,
            "betas": betas,
            "eps": eps,
            "capturable": capturable,
        }
        if whitening is not None and capturable:
            raise InputError(
                "muon cannot be capturable with whiten, whose hooks run on the host. Valid: one of the two."
            )
        super().__init__(params, defaults)
        self._whitening = whitening
        for group in self.param_groups:
            if group["rate_factor"] < 0:
                raise InputError(f"muon's companion_lr_factor is {group['rate_factor']:g}. Valid: 0 or more.")
            if group["orthogonal"] and any(parameter.ndim < 2 for parameter in group["params"]):
                raise InputError(
                    "muon orthogonalizes tensors of two dimensions or more. Valid: the rest in a companion."
                )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs besides groups and state: the layers whose inputs it looks at."""
        return {**super().__getstate__(), "_whitening": self._whitening}

    def attach(self, model: nn.Module) -> None:
        """Look at the inputs of the model's layers from now on, where they are to be whitened.

        Raises:
            InputError: none can be.
        """
        if self._whitening is not None:
            weights = (p for group in self.param_groups if group["orthogonal"] for p in group["params"])
            self._whitening.attach(model, weights)

    def detach(self) -> None:
        """Take the hooks off the model."""
        if self._whitening is not None:
            self._whitening.detach()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one weight update from the parameters' gradients; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None and p.numel() > 0]
            if parameters and group["orthogonal"]:
                self._orthogonal_step(parameters, group)
            elif parameters:
                self._companion_step(parameters, group)
        return loss

    def _orthogonal_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        lr = group["lr"] * group["rate_factor"]
        for alike in _alike(parameters):
            updates = [self._momentum(parameter, group) for parameter in alike]
            roots = [self._whitening.root(parameter) if self._whitening is not None else None for parameter in alike]
            updates = [u if root is None else whitened(u, root) for u, root in zip(updates, roots, strict=True)]
            stacked = updates[0] if len(updates) == 1 else torch.stack(updates)
            if group["ns_precision"] == "bf16":
                stacked = stacked.bfloat16()
            directions = orthogonalize(stacked, steps=group["ns_steps"])
            for parameter, root, direction in zip(
                alike, roots, [directions] if len(alike) == 1 else directions, strict=True
            ):
                if root is not None:
                    direction = unwhitened(direction.to(root.dtype), root)
                if group["weight_decay"]:
                    parameter.mul_(1.0 - lr * group["weight_decay"])
                _descend(
                    parameter, direction.reshape(parameter.shape), lr * update_scale(parameter.shape, group["scale"])
                )

    def _momentum(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Advance the momentum buffer and return the direction as a matrix, in fp32 at least."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        update = torch.add(gradient, buffer, alpha=group["momentum"]) if group["nesterov"] else buffer
        update = update.reshape(parameter.shape[0], -1)
        return update if update.dtype == torch.float64 else update.float()

    def _companion_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                place = None if on_cpu or not group["capturable"] else parameter.device
                state["step"] = torch.zeros((), dtype=torch.float32, device=place)
                state["exp_avg"] = zero_moment(parameter)
                state["exp_avg_sq"] = zero_moment(parameter)
        means = [self.state[parameter]["exp_avg"] for parameter in parameters]
        adamw(
            parameters,
            in_types_of([parameter.grad for parameter in parameters if parameter.grad is not None], means),
            means,
            [self.state[parameter]["exp_avg_sq"] for parameter in parameters],
            [],
            [self.state[parameter]["step"] for parameter in parameters],
            foreach=not on_cpu,
            fused=None,
            capturable=group["capturable"] and not on_cpu,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"] * group["rate_factor"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _alike(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Group parameters that may go through Newton-Schulz as one batch: same matrix shape, type and device."""
    groups: dict[Any, list[Tensor]] = defaultdict(list)
    for index, parameter in enumerate(parameters):
        alone = parameter.device.type == "cpu" and parameter.numel() > BATCHED_ELEMENTS
        shape = (parameter.shape[0], parameter.numel() // max(1, parameter.shape[0]))
        groups[index if alone else (shape, parameter.dtype, parameter.device)].append(parameter)
    return list(groups.values())


def _descend(parameter: Tensor, direction: Tensor, size: float | Tensor) -> None:
    """Subtract size * direction; a `size` that is a tensor stays on its device."""
    if isinstance(size, Tensor):
        parameter.sub_(direction * size)
    else:
        parameter.add_(direction, alpha=-size)
