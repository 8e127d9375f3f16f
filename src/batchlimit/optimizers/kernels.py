"""Which implementation of a solver is fast for given tensors, and whether torch's private kernels can be used."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Kernel = Literal["fused", "foreach", "loop"]


def fastest(groups: Iterable[dict[str, Any]], *, has_fused: bool = True) -> dict[str, bool]:
    """Return the `fused=` and `foreach=` arguments of torch's fastest implementation of one of its own solvers.

    On a CPU the fused one (one pass over memory) where the solver has it, else the plain loop: `foreach` passes over
    all tensors once per operation and is the slow choice there. On an accelerator `foreach`: fewer launches.
    `groups` hold (name, parameter) pairs, as `decay_groups` makes them.
    """
    parameters = [parameter for group in groups for _, parameter in group["params"]]
    if any(parameter.device.type != "cpu" for parameter in parameters):
        return {"foreach": True}
    if has_fused and all(torch.is_floating_point(parameter) for parameter in parameters):
        return {"fused": True}
    return {"foreach": False}


def choose_kernel(parameters: Sequence[Tensor], *, foreach: bool | None, fused: bool | None) -> Kernel:
    """Return how our own solvers update `parameters`, from torch's customary `foreach=` and `fused=` arguments.

    With neither given: 'fused' on a CPU, 'foreach' on an accelerator, and 'foreach' while `torch.compile` traces (it
    fuses by itself). 'fused' quietly becomes 'loop' where torch's private kernels are not what we know them to be.
    """
    if foreach or torch.compiler.is_compiling():
        return "foreach"
    on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
    if fused is None and foreach is None and not on_cpu:
        return "foreach"
    return "fused" if fused is not False and on_cpu and fused_kernels_work() else "loop"


def same_layout(*tensors: Tensor) -> bool:
    """Return whether a kernel that walks memory may pair the elements of `tensors`: same type, strides, no holes.

    The fused CPU kernels do not look at strides: given a channels-last weight and a contiguous gradient they pair the
    wrong elements in silence.
    """
    first = tensors[0]
    return all(t.dtype == first.dtype and t.stride() == first.stride() for t in tensors) and (
        first.is_contiguous() or (first.ndim == 4 and first.is_contiguous(memory_format=torch.channels_last))
    )


@functools.cache
def fused_kernels_work() -> bool:
    """Return whether torch's private `_fused_sgd_` and `_fused_adam_` do on a CPU what LARS and LAMB need of them.

    They are tried once, on one number: no private kernel is relied on because of its name alone.
    """
    try:
        return _fused_sgd_works() and _fused_adam_works()
    except (AttributeError, TypeError, RuntimeError, NotImplementedError):
        return False


def _fused_sgd_works() -> bool:
    weight, gradient, buffer = (torch.full((1,), value, dtype=torch.float64) for value in (2.0, 3.0, 5.0))
    fused_sgd(weight, gradient, buffer, step_size=1.0, gain=0.25, momentum=0.5, weight_decay=0.5, nesterov=False)
    expected = 0.5 * 5.0 + 0.25 * (3.0 + 0.5 * 2.0)
    return bool(buffer == expected) and bool(weight == 2.0 - expected) and bool(gradient == 3.0)


def _fused_adam_works() -> bool:
    scratch, gradient, mean, square = (torch.full((1,), value, dtype=torch.float64) for value in (0.0, 3.0, 1.0, 4.0))
    step = torch.tensor(1e30)
    fused_adam(scratch, gradient, mean, square, step, beta1=0.5, beta2=0.5, eps=1.0)
    expected = -2.0 / (6.5**0.5 + 1.0)
    return bool((scratch - expected).abs() < 1e-12) and bool(mean == 2.0) and bool(square == 6.5)


def fused_sgd(
    weight: Tensor,
    gradient: Tensor,
    buffer: Tensor | None,
    *,
    step_size: float,
    gain: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Do v = momentum * v + gain * d and w -= step_size * v with d = g + weight_decay * w, in one pass over memory.

    With `nesterov`, w -= step_size * (d + momentum * v) instead. `gain` goes in as torch's dampening, 1 - gain, which
    unlike its `grad_scale` leaves the gradient untouched. `buffer` is v, or None with `momentum` 0 (and `gain` 1).
    """
    torch._fused_sgd_(
        [weight],
        [gradient],
        [] if buffer is None else [buffer],
        weight_decay=weight_decay,
        momentum=momentum,
        lr=step_size,
        dampening=1.0 - gain,
        nesterov=nesterov,
        maximize=False,
        is_first_step=False,
    )


def fused_adam(
    scratch: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    step: Tensor,
    *,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Update Adam's moments and subtract its update m / (sqrt(v) + eps), corrected for `step`, from `scratch`."""
    torch._fused_adam_(
        [scratch],
        [gradient],
        [mean],
        [square],
        [],
        [step],
        lr=1.0,
        beta1=beta1,
        beta2=beta2,
        weight_decay=0.0,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )
