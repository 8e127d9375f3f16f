"""Gaussian noise on activations, weights, gradients and labels: the four places the paper tried."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batchlimit.errors import InputError, unknown_name
from batchlimit.models import randomness

Decay = Literal["none", "linear", "power"]


def noise_std(std: float, step: int, total_steps: int, *, decay: Decay = "none", power: float = 0.55) -> float:
    """Return the standard deviation of the noise at weight update `step` (0-based) of `total_steps`.

    'none': `std` throughout; 'linear': std * (1 - step / total); 'power': std / (1 + step)^(power / 2), so that the
    variance falls as (1 + step)^-power.

    Raises:
        InputError: an unknown decay, or a negative or infinite `std`.

    Source: You et al., 2020, section 6.3; 'power' with 0.55: Neelakantan et al., 2015 (arXiv 1511.06807), equation 1.
    """
    _check_std(std)
    if decay not in get_args(Decay):
        raise unknown_name("decay of the noise", str(decay), get_args(Decay))
    if decay == "linear":
        return std * max(0.0, 1.0 - step / total_steps)
    return float(std / (1.0 + step) ** (power / 2.0)) if decay == "power" else std


def normal_like(like: Tensor) -> Tensor:
    """Return standard normal numbers of the shape, type and device of `like`, whose dimension 0 are examples.

    Within `randomness.at` they are a function of (seed, step, draw, position in the batch) alone, so micro-batches of
    any size see the same noise; elsewhere, and where dimension 0 cannot be the examples (time steps come first, say),
    they come from torch's own generator.
    """
    place = randomness.current()
    if place is None or not randomness.fits(place, like.shape):
        return torch.randn_like(like)
    # 24 of the 32 bits, as odd multiples of 2^-24 between -1 and 1: exact in fp32, never an end point.
    uniform = (randomness.bits(place, like.shape, like.device) >> 8).to(torch.float32).add_(0.5).mul_(2.0**-23)
    return uniform.erfinv_().mul_(math.sqrt(2.0)).to(like.dtype)


class ActivationNoise:
    """Adds noise to the output of every layer of a model (linear and convolutional, the last one too) in training.

    `std` may be set anew before each step; at 0 nothing is drawn. The gradient passes through as it is. `remove()`
    takes the hooks off, as does leaving a `with` block.

    Raises:
        InputError: a negative or infinite `std`, or a model without such layers.

    Source: You et al., 2020, section 6.3, 'outputs of each layer'.
    """

    def __init__(self, model: nn.Module, std: float) -> None:
        _check_std(std)
        self.std = std
        kinds = (nn.Linear, nn.modules.conv._ConvNd)
        layers = [module for module in model.modules() if isinstance(module, kinds)]
        if not layers:
            raise InputError("The model has no layer for noise on activations. Valid: linear or convolutional layers.")
        self._handles = [layer.register_forward_hook(self._add) for layer in layers]

    def _add(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if not layer.training or self.std == 0.0:
            return output
        return output + normal_like(output.detach()).mul_(self.std)

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> ActivationNoise:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


@contextmanager
def weight_noise(parameters: Iterable[nn.Parameter], std: float, *, seed: int, step: int) -> Iterator[None]:
    """Add noise to the weights inside the `with` block and put the very same weights back after it.

    Take a step's whole forward and backward passes inside and the weight update outside: the gradient is then that at
    the disturbed weights. The noise depends on (seed, step) and the kind of device. Costs one copy of the weights.

    Raises:
        InputError: a negative or infinite `std`.

    Source: You et al., 2020, section 6.3.
    """
    _check_std(std)
    disturbed = [parameter for parameter in parameters if parameter.requires_grad] if std else []
    kept = [parameter.detach().clone() for parameter in disturbed]
    with torch.no_grad():
        for parameter, noise in zip(disturbed, _noises(disturbed, seed, step), strict=True):
            parameter.add_(noise, alpha=std)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(disturbed, kept, strict=True):
                parameter.copy_(before)


@torch.no_grad()
def add_gradient_noise_(parameters: Iterable[nn.Parameter], std: float, *, seed: int, step: int) -> None:
    """Add noise to the gradients in place, after the last backward pass of a step; parameters without one are left out.

    The noise depends on (seed, step) and the kind of device, so every replica adds the same.

    Raises:
        InputError: a negative or infinite `std`.

    Source: You et al., 2020, section 6.3; Neelakantan et al., 2015 (arXiv 1511.06807), section 3.
    """
    _check_std(std)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None] if std else []
    for gradient, noise in zip(gradients, _noises(gradients, seed, step), strict=True):
        gradient.add_(noise, alpha=std)


def noisy_targets(targets: Tensor, std: float, classes: int | None = None) -> Tensor:
    """Return targets with Gaussian noise, drawn anew at every step.

    Class indices (n,) become one-hot rows (n, classes) plus noise, which cross entropy takes as target probabilities
    (it is linear in them: they need neither be positive nor sum to 1, and the noise has mean 0 in the gradient). Real
    targets keep their shape. This is our reading of the paper's Gaussian noise on labels; `flipped_targets` is the
    discrete one.

    Raises:
        InputError: class indices without the number of classes, or a negative or infinite `std`.

    Source: You et al., 2020, section 6.3, 'the labels or target variables'.
    """
    _check_std(std)
    if not targets.is_floating_point():
        if classes is None:
            raise InputError("Noise on class labels needs the number of classes. Valid: classes=10, say.")
        targets = F.one_hot(targets.long(), classes).to(torch.float32)
    return targets + normal_like(targets).mul_(std) if std else targets


def flipped_targets(targets: Tensor, probability: float, classes: int) -> Tensor:
    """Return class indices (n,) each replaced, with `probability`, by another class, all others being as likely.

    Raises:
        InputError: a probability outside [0, 1], or fewer than two classes.
    """
    if not 0.0 <= probability <= 1.0:
        raise InputError(f"The probability of a flipped label is {probability:g}. Valid: 0 to 1.")
    if classes < 2:
        raise InputError(f"Labels of {classes} class(es) cannot flip. Valid: 2 classes or more.")
    place = randomness.current()
    if place is None:
        flip = torch.rand(targets.shape, device=targets.device) < probability
        shift = torch.randint(1, classes, targets.shape, device=targets.device)
    else:
        flip = randomness.keep(place, targets.shape, probability, targets.device)
        shift = 1 + randomness.bits(place, targets.shape, targets.device).long().remainder(classes - 1)
    return torch.where(flip, (targets + shift.to(targets.dtype)) % classes, targets)


def _check_std(std: float) -> None:
    if not (math.isfinite(std) and std >= 0.0):
        raise InputError(f"The noise's standard deviation is {std:g}. Valid: 0 or more.")


def _noises(tensors: list[Any], seed: int, step: int) -> Iterator[Tensor]:
    """Yield standard normal noise for each tensor, from one generator per kind of device seeded by (seed, step)."""
    generators: dict[torch.device, torch.Generator] = {}
    for tensor in tensors:
        if tensor.device not in generators:
            mixed = torch.Generator(tensor.device)
            mixed.manual_seed((seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) % 2**63)
            generators[tensor.device] = mixed
        yield torch.randn(tensor.shape, dtype=tensor.dtype, device=tensor.device, generator=generators[tensor.device])
