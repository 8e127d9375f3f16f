"""Which implementation of a solver is fast for given tensors, and whether torch's private kernels can be used."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from batchlimit.errors import InputError

Kernel = Literal["fused", "foreach", "loop"]

# Numbers in a block, by measurement: small enough that what was just used is still in the second-level cache,
# large enough that a call costs less than its memory.
BLOCK = 1 << 18

# Numbers that a private kernel is tried on: more than any processor handles at once, and not a multiple of that.
_TRIED = 77
# What a private kernel raises that is gone, takes other arguments, or does not take these tensors.
_UNKNOWN = (AttributeError, TypeError, RuntimeError)

# A step count at which Adam's bias corrections are 1 to the last bit.
UNCORRECTED = torch.tensor(1e30)


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


def check_fused(solver: str, parameters: Iterable[Tensor], fused: bool | None) -> None:
    """Raise an `InputError` where `fused=True` is asked of our own solvers for parameters that are not on a CPU.

    They are fused there alone. The loop that could stand in for it waits for the device at each tensor.
    """
    away = [parameter.device.type for parameter in parameters if parameter.device.type != "cpu"] if fused else []
    if away:
        raise InputError(
            f"fused = True for the solver '{solver}', with parameters on the device '{away[0]}'. "
            "Valid: on a CPU alone; elsewhere foreach = True, which is what it does without either."
        )


def choose_kernel(solver: str, parameters: Sequence[Tensor], *, foreach: bool | None, fused: bool | None) -> Kernel:
    """Return how our own solvers update `parameters`, from torch's customary `foreach=` and `fused=` arguments.

    With neither given: 'fused' on a CPU, 'foreach' on an accelerator, and 'foreach' while `torch.compile` traces (it
    fuses by itself). 'fused' quietly becomes 'loop' where torch's private kernels are not what we know them to be.

    Raises:
        InputError: `fused` is True and a parameter is not on a CPU.
    """
    if foreach or torch.compiler.is_compiling():
        return "foreach"
    check_fused(solver, parameters, fused)  # parameters can have moved since they were given to the solver
    on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
    if fused is None and foreach is None and not on_cpu:
        return "foreach"
    return "fused" if fused is not False and on_cpu and fused_kernels_work() else "loop"


def is_dense(tensor: Tensor) -> bool:
    """Return whether `tensor` fills its memory without holes, in the usual or the channels-last order."""
    return tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def flattened(tensor: Tensor) -> Tensor:
    """Return a dense tensor's elements in their order in memory, shape (numel,), sharing that memory."""
    plain = tensor.detach()
    return plain.view(-1) if plain.is_contiguous() else plain.as_strided((plain.numel(),), (1,))


def blocks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Return dense tensors of one layout cut into flat blocks, one tuple of views a block; small ones stay whole.

    What is done to a block while it is in the cache costs no pass over memory.
    """
    if tensors[0].numel() <= BLOCK:
        return [tensors]
    return list(zip(*(torch.split(flattened(tensor), BLOCK) for tensor in tensors), strict=True))


class Scratch:
    """Memory that one tensor after another uses, so that it stays in the cache and is not asked for again."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def __reduce__(self) -> tuple[type[Scratch], tuple[()]]:
        """Let a copy begin without memory."""
        return Scratch, ()

    def like(self, tensor: Tensor) -> Tensor:
        """Return memory of a dense CPU tensor's type and layout, its contents undefined, valid until the next call."""
        if self._memory.dtype != tensor.dtype or self._memory.numel() < tensor.numel():
            self._memory = torch.empty(tensor.numel(), dtype=tensor.dtype)
        return self._memory.as_strided(tensor.shape, tensor.stride())


def same_layout(*tensors: Tensor) -> bool:
    """Return whether a kernel that walks memory may pair the elements of `tensors`: same type, same order, no holes.

    The fused CPU kernels do not look at strides: given a channels-last weight and a contiguous gradient they pair the
    wrong elements in silence.
    """
    first = tensors[0]
    strides, dtype = first.stride(), first.dtype
    return is_dense(first) and all(t.stride() == strides and t.dtype == dtype for t in tensors[1:])


def fused_kernels_work() -> bool:
    """Return whether torch's private `_fused_sgd_` and `_fused_adam_` do on a CPU what LARS and LAMB need of them.

    They are tried once, on a few numbers: no private kernel is relied on because of its name alone.
    """
    return fused_sgd_works(torch.float64) and fused_adam_works()


@functools.cache
def fused_sgd_works(dtype: torch.dtype) -> bool:
    """Return whether torch's private `_fused_sgd_` is right on a CPU for tensors of `dtype`, tried on more than a lane.

    That of torch 2.13 skips whole vectors of bf16 and fp16 and spoils the momentum (pytorch/pytorch issue 191763).
    """
    weight, gradient, buffer = (torch.full((_TRIED,), value, dtype=dtype) for value in (2.0, 3.0, 5.0))
    options = {"step_size": 1.0, "gain": 0.25, "momentum": 0.5, "weight_decay": 0.5}
    try:
        fused_sgd([weight], [gradient], [buffer], **options, nesterov=False)
    except _UNKNOWN:
        return False
    expected = 0.5 * 5.0 + 0.25 * (3.0 + 0.5 * 2.0)
    return all(bool((t == v).all()) for t, v in ((buffer, expected), (weight, 2.0 - expected), (gradient, 3.0)))


@functools.cache
def fused_adam_works() -> bool:
    """Return whether torch's private `_fused_adam_` does on a CPU what LAMB needs of it."""
    start = (0.0, 3.0, 1.0, 4.0)
    scratch, gradient, mean, square = (torch.full((_TRIED,), value, dtype=torch.float64) for value in start)
    lists = [scratch], [gradient], [mean], [square], [UNCORRECTED]
    try:
        fused_adam(*lists, step_size=1.0, betas=(0.5, 0.5), eps=1.0)
    except _UNKNOWN:
        return False
    expected = -2.0 / (6.5**0.5 + 1.0)
    return bool(((scratch - expected).abs() < 1e-12).all() and (mean == 2.0).all() and (square == 6.5).all())


def fused_sgd(
    weights: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    *,
    step_size: float,
    gain: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Do v = momentum * v + gain * d and w -= step_size * v with d = g + weight_decay * w, in one pass over memory.

    With `nesterov`, w -= step_size * (d + momentum * v) instead. `gain` goes in as torch's dampening, 1 - gain, which
    unlike its `grad_scale` leaves the gradient untouched. `buffers` are v, or empty with `momentum` 0 (and `gain` 1).
    """
    torch._fused_sgd_(
        weights,
        gradients,
        buffers,
        weight_decay=weight_decay,
        momentum=momentum,
        lr=step_size,
        dampening=1.0 - gain,
        nesterov=nesterov,
        maximize=False,
        is_first_step=False,
    )


def fused_adam(
    weights: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    *,
    step_size: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Update Adam's moments and do w -= step_size * m / (sqrt(v) + eps), bias-corrected for `steps`, in one pass."""
    torch._fused_adam_(
        weights,
        gradients,
        means,
        squares,
        [],
        steps,
        lr=step_size,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=0.0,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )
