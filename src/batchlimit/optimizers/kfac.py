"""K-FAC: the natural gradient with Kronecker-factored curvature, which the paper suggests for huge batches.

Neither torch 2.13 nor `pytorch-optimizer` 4.1 has it. Considered: `asdfghjkl` (ASDL), an alpha release that does the
forward and backward passes itself; `curvlinops`, linear operators that pass over the data anew, and no optimizer;
gpauloski's `kfac-pytorch`, a second object to step before an optimizer, to be installed from its repository. Here the
engine takes the passes, in micro-batches, and a solver is one `torch.optim.Optimizer`: hence our own, with its float64
twin in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from batchlimit.errors import InputError
from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_counts, check_numbers
from batchlimit.optimizers.kronecker_factors import FactorStatistics, Layer, cholesky, factored_layers
from batchlimit.optimizers.param_groups import decay_groups


@solvers.register("kfac")
def kfac(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    damping: float = 0.01,
    factor_decay: float = 0.95,
    invert_every: int = 5,
    kl_clip: float = 0.001,
    examples: int = 64,
    max_factor_dim: int = 4096,
    decay_exclude: str = "1d",
) -> torch.optim.Optimizer:
    """Return a `Kfac`: curvature by Kronecker factors (Martens and Grosse, 2015).

    Who trains calls `optimizer.attach(model)` before the first pass.

    Raises:
        InputError: no parameters, parameters in less than fp32, or an option out of its range.

    Source: Martens and Grosse, 2015 (arXiv 1503.05671).
    """
    return Kfac(
        decay_groups(named_parameters, weight_decay, decay_exclude),
        lr=lr,
        momentum=momentum,
        damping=damping,
        factor_decay=factor_decay,
        invert_every=invert_every,
        kl_clip=kl_clip,
        examples=examples,
        max_factor_dim=max_factor_dim,
    )


class Kfac(torch.optim.Optimizer):
    """D = (G + sqrt(damping) / pi)^-1 dW (A + pi sqrt(damping))^-1; M <- momentum M + nu D; W <- W - lr (M + wd W).

    A and G are a layer's Kronecker factors (`FactorStatistics`), averaged over updates with decay
    min(1 - 1 / t, `factor_decay`) and inverted at the first update and every `invert_every`; pi^2 is the ratio of their
    mean diagonal entries. dW holds the weight's gradient and, as a last column, the bias's. nu <= 1 bounds
    lr^2 <D, dW> over all factored layers by `kl_clip` (0: no bound). Parameters of other layers, of layers that share
    one, and of layers with a side above `max_factor_dim`, take the plain gradient as D, with nu = 1. `examples` of
    every 256 of a batch enter A and G. The first dimension of a layer's inputs is taken to count examples.

    The optimizer sees activations through hooks on the model: `attach(model)` before the first pass, `detach()` to take
    them off. Passes count in training mode only, and the loss must be the mean over all examples of the step, through
    however many micro-batches. With several replicas every replica has factors of its own examples only.

    Raises:
        InputError: parameters in less than fp32, or an option out of its range.

    Source: Martens and Grosse, 2015 (arXiv 1503.05671), sections 3, 5 (decay) and 6.3 (pi); the bound: Ba, Grosse and
    Martens, 2017 (openreview SkkTMpjex), section 5.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 0.1,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        damping: float = 0.01,
        factor_decay: float = 0.95,
        invert_every: int = 5,
        kl_clip: float = 0.001,
        examples: int = 64,
        max_factor_dim: int = 4096,
    ) -> None:
        check_numbers("kfac", lr=lr, weight_decay=weight_decay)
        for name, decay in (("momentum", momentum), ("factor_decay", factor_decay)):
            if not 0.0 <= decay < 1.0:
                raise InputError(f"kfac's {name} is {decay:g}. Valid: 0 to 1, 1 excluded.")
        if not damping > 0.0:
            raise InputError(f"kfac's damping is {damping:g}. Valid: above 0.")
        if not kl_clip >= 0.0:
            raise InputError(f"kfac's kl_clip is {kl_clip:g}. Valid: 0 (no bound) or more.")
        check_counts("kfac", invert_every=invert_every, examples=examples, max_factor_dim=max_factor_dim)
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        if any(p.dtype not in (torch.float32, torch.float64) for group in self.param_groups for p in group["params"]):
            raise InputError("kfac inverts matrices. Valid: parameters in fp32 or fp64.")
        self.damping = damping
        self.factor_decay = factor_decay
        self.invert_every = invert_every
        self.kl_clip = kl_clip
        self.examples = examples
        self.max_factor_dim = max_factor_dim
        self._statistics: list[FactorStatistics] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs besides groups and state, among it the layers it is attached to."""
        own = ("damping", "factor_decay", "invert_every", "kl_clip", "examples", "max_factor_dim", "_statistics")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in own}}

    def attach(self, model: nn.Module) -> None:
        """Gather the factors of the model's layers from now on.

        Raises:
            InputError: no layer of the model has both Kronecker factors and a weight that this optimizer moves.
        """
        self.detach()
        layers = factored_layers(model, (parameter for group in self.param_groups for parameter in group["params"]))
        self._statistics = [FactorStatistics(layer, self.examples) for layer in layers if self._fits(layer)]
        if not self._statistics:
            raise InputError(
                "kfac found no layer to factor. Valid: a model with nn.Linear or ungrouped nn.Conv2d layers of at most "
                f"{self.max_factor_dim} inputs and outputs (max_factor_dim)."
            )

    def detach(self) -> None:
        """Take the hooks off the model."""
        for statistics in self._statistics or ():
            statistics.handle.remove()
        self._statistics = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one weight update from the gradients and the passes since the last one.

        Raises:
            RuntimeError: no model is attached.
        """
        if self._statistics is None:
            raise RuntimeError("kfac sees no model: call optimizer.attach(model) before the first pass.")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        directions: dict[Tensor, Tensor] = {}
        for statistics in self._statistics:
            directions.update(self._natural_gradient(statistics))
            statistics.clear()
        shrink = self._shrink(directions)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    direction = directions[parameter] * shrink if parameter in directions else parameter.grad
                    self._descend(parameter, direction, group)
        return loss

    def _fits(self, layer: Layer) -> bool:
        inputs = layer.weight[0].numel() + (layer.bias is not None)
        return max(len(layer.weight), inputs) <= self.max_factor_dim

    def _natural_gradient(self, statistics: FactorStatistics) -> dict[Tensor, Tensor]:
        """Return D for a layer's weight and bias; nothing where they have no gradient or no factors yet."""
        layer = statistics.layer
        self._take_in(statistics)
        state = self.state[layer.weight]
        if layer.weight.grad is None or "inverse_inputs" not in state:
            return {}
        matrix = layer.weight.grad.reshape(len(layer.weight), -1)
        if layer.bias is not None:
            bias = layer.bias.grad if layer.bias.grad is not None else torch.zeros_like(layer.bias)
            matrix = torch.cat([matrix, bias[:, None]], dim=1)
        natural = state["inverse_outputs"] @ matrix @ state["inverse_inputs"]
        if layer.bias is None:
            return {layer.weight: natural.reshape(layer.weight.shape)}
        return {layer.weight: natural[:, :-1].reshape(layer.weight.shape), layer.bias: natural[:, -1]}

    def _take_in(self, statistics: FactorStatistics) -> None:
        """Take the step's factors into the averages, and invert these when it is time."""
        present = statistics.factors()
        if present is None:
            return
        state = self.state[statistics.layer.weight]
        state["updates"] = state.get("updates", 0) + 1
        share = max(1.0 / state["updates"], 1.0 - self.factor_decay)
        for name, factor in zip(("inputs", "outputs"), present, strict=True):
            state[name] = factor if name not in state else state[name].lerp_(factor, share)
        if (state["updates"] - 1) % self.invert_every == 0:
            inputs, outputs = state["inputs"], state["outputs"]
            tiny = torch.finfo(inputs.dtype).tiny
            means = [factor.diagonal().mean().clamp(min=tiny) for factor in (inputs, outputs)]
            balance = (means[0] / means[1]).sqrt()
            state["inverse_inputs"] = _inverse(inputs, balance * self.damping**0.5)
            state["inverse_outputs"] = _inverse(outputs, self.damping**0.5 / balance)

    def _shrink(self, directions: dict[Tensor, Tensor]) -> Tensor | float:
        """Return nu = min(1, sqrt(kl_clip / (lr^2 <D, dW>)))."""
        if not self.kl_clip or not directions:
            return 1.0
        lr = {parameter: group["lr"] for group in self.param_groups for parameter in group["params"]}
        products = [
            lr[parameter] ** 2 * (direction * parameter.grad).sum()
            for parameter, direction in directions.items()
            if parameter in lr and parameter.grad is not None  # a layer's bias may be another optimizer's
        ]
        total = torch.stack(products).sum().clamp(min=torch.finfo(products[0].dtype).tiny)
        return (self.kl_clip / total).sqrt().clamp(max=1.0)

    def _descend(self, parameter: Tensor, direction: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(direction)
        lr = group["lr"]
        parameter.mul_(1.0 - lr * group["weight_decay"])
        if isinstance(lr, Tensor):
            parameter.sub_(buffer * lr)
        else:
            parameter.add_(buffer, alpha=-lr)


def _inverse(factor: Tensor, damping: Tensor) -> Tensor:
    """Return (factor + damping)^-1 of a symmetric positive factor."""
    damped = factor.clone()
    damped.diagonal().add_(damping)
    return torch.cholesky_inverse(cholesky(damped))
