"""State that moves by small shares, kept in fp32 where the parameters are in half precision.

A moment with beta = 0.999 moves by a thousandth of a difference, which bf16 (eight bits) and fp16 round away: it would
grow with large gradients and never decay again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


def zero_moment(parameter: Tensor) -> Tensor:
    """Return zeros of the parameter's shape and layout, in its type but at least fp32."""
    return torch.zeros_like(parameter, dtype=wide(parameter.dtype), memory_format=torch.preserve_format)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the type itself, fp32 for a half-precision one."""
    return torch.float32 if dtype in HALF else dtype


def in_types_of(tensors: Iterable[Tensor], like: Iterable[Tensor]) -> list[Tensor]:
    """Return each of `tensors` in the type of its partner in `like`: itself where it has it."""
    return [one if one.dtype == other.dtype else one.to(other.dtype) for one, other in zip(tensors, like, strict=True)]


class WideStateOptimizer(torch.optim.Optimizer):
    """Base of solvers whose state of the names `WIDE` stays fp32 beside half-precision parameters.

    torch's own `load_state_dict` rounds all state to the parameter's type; this one brings back what was saved.
    """

    WIDE: ClassVar[tuple[str, ...]] = ()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned; half-precision state of older checkpoints becomes fp32."""
        loaded = state_dict

        def see(optimizer: torch.optim.Optimizer, changed: dict[str, Any]) -> None:
            nonlocal loaded
            loaded = changed

        last = self.register_load_state_dict_pre_hook(see)  # after users' own, which may change what is loaded
        try:
            super().load_state_dict(state_dict)
        finally:
            last.remove()
        numbers, parameters = (
            chain.from_iterable(group["params"] for group in groups)
            for groups in (loaded["param_groups"], self.param_groups)
        )
        for number, parameter in zip(numbers, parameters, strict=True):
            if parameter.dtype in HALF:
                saved = loaded["state"].get(number, {})
                for name in saved.keys() & set(self.WIDE):
                    self.state[parameter][name] = saved[name].to(parameter.device, torch.float32, copy=True)
