"""The trust ratio: how far a tensor may move for its size. One function, shared by LARS, LAMB and `LayerWise`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from batchlimit.optimizers.kernels import blocks, flattened, is_dense
from batchlimit.optimizers.param_groups import is_excluded

_LARGEST = torch.finfo(torch.float32).max


def trust_ratio(
    weight_norm: Tensor,
    update_norm: Tensor,
    *,
    coefficient: float = 1.0,
    decay: float | Tensor = 0.0,
    lower: float = 0.0,
    upper: float | None = None,
) -> Tensor:
    """Return clamp(coefficient * ||w|| / (||u|| + decay * ||w||), lower, upper), and exactly 1 where a norm is 0.

    `weight_norm` and `update_norm` are norms of the same tensors, any shape (one element a tensor); the result has it
    too. `update_norm` is the gradient's for LARS, with `decay` the weight decay, and the solver's own update's, without
    the LR, for LAMB and `LayerWise`. A tensor with a zero norm is not rescaled, whatever the bounds. No host sync.

    Source: You, Gitman and Ginsburg, 2017, equation 6 (LARS); You et al., ICLR 2020, algorithm 2 (LAMB); You et al.,
    "The Limit of the Batch Size", 2020, section 3.1 and Table 3 (layer-wise, bounded).
    """
    ratio = coefficient * weight_norm / (update_norm + decay * weight_norm)
    ratio = ratio.clamp(min=lower, max=upper)
    return torch.where((weight_norm > 0) & (update_norm > 0), ratio, torch.ones_like(ratio))


def norms(tensors: list[Tensor]) -> Tensor:
    """Return the Euclidean norms of `tensors` of one device, shape (len(tensors),), in fp32 or wider.

    On a CPU by `squared_norm`, right at any scale. Elsewhere, and while `torch.compile` traces, by torch's own norm,
    whose fp32 squares become 0 or infinite where a norm is not between about 1e-19 and 1e19.
    """
    if tensors[0].device.type == "cpu" and not torch.compiler.is_compiling():
        roots = [math.sqrt(squared_norm(tensor)) for tensor in tensors]
        return torch.tensor(roots, dtype=_wide(tensors[0]))
    return torch.stack(torch._foreach_norm(tensors, 2, dtype=_wide(tensors[0])))


def squared_norm(tensor: Tensor) -> float:
    """Return the sum of the squares of a CPU tensor, of any type and scale.

    By BLAS's dot product, block by block and the blocks added in fp64: as fast as memory can be read, and with 10
    times less rounding error than torch's norm on two million numbers (7e-6 at most against 6e-5, on the CPUs tried).
    """
    if not is_dense(tensor):
        return _exact_square(tensor)
    return sum(_square(flattened(block)) for (block,) in blocks(tensor))


def _square(flat: Tensor) -> float:
    wide = flat if flat.dtype == torch.float32 else flat.to(_wide(flat))
    total = torch.dot(wide, wide).item()
    # Squares of fp32 numbers leave its range long before the numbers do.
    return total if 1e-30 < total < 1e38 else _exact_square(flat)


def _exact_square(tensor: Tensor) -> float:
    norm = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    return norm * norm  # not `** 2`, which raises where this is infinite


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def ratio_of_sums(
    weight_sum: float,
    update_sum: float,
    *,
    coefficient: float = 1.0,
    decay: float = 0.0,
    lower: float = 0.0,
    upper: float | None = None,
) -> float:
    """Return `trust_ratio` of one tensor from the squares of its two norms: the same in numbers, 100 times cheaper."""
    if weight_sum == 0 or update_sum == 0:
        return 1.0
    weight_norm = math.sqrt(weight_sum)
    ratio = max(coefficient * weight_norm / (math.sqrt(update_sum) + decay * weight_norm), lower)
    return ratio if upper is None else min(ratio, upper)


def representable(number: float) -> float:
    """Return the number, infinite where it leaves the range of fp32: torch refuses a scalar it would have to round so.

    A training that comes here has diverged, and its weights shall say so.
    """
    return number if abs(number) <= _LARGEST else math.copysign(math.inf, number)


def trust_ratios(params: list[Tensor], updates: list[Tensor], exclude: str, **options: Any) -> Tensor:
    """Return the trust ratio of each parameter, 1 for those that the rule `exclude` exempts, shape (len(params),).

    `updates` are the gradients for LARS and the updates for LAMB; `options` are those of `trust_ratio`.
    """
    one = torch.ones((), dtype=_wide(params[0]), device=params[0].device)
    adapted = [index for index, parameter in enumerate(params) if not is_excluded(parameter, exclude)]
    if not adapted:
        return one.repeat(len(params))
    weight_norms, update_norms = (norms([tensors[index] for index in adapted]) for tensors in (params, updates))
    ratios = trust_ratio(weight_norms, update_norms, **options)
    if len(adapted) == len(params):
        return ratios
    by_index = dict(zip(adapted, ratios.unbind(), strict=True))
    return torch.stack([by_index.get(index, one) for index in range(len(params))])


class TrustRatioRecord:
    """The trust ratios of an optimizer's last step, kept by reference: no cost until asked for.

    Ratios stay where they were computed (on an accelerator, in the memory that a CUDA graph rewrites at each replay).
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Sequence[Tensor], Tensor | Sequence[float]]] = []

    def clear(self) -> None:
        """Forget the last step."""
        self._steps = []

    def add(self, parameters: Sequence[Tensor], ratios: Tensor | Sequence[float]) -> None:
        """Keep one ratio for each of `parameters`."""
        self._steps.append((parameters, ratios))

    def by_name(self, param_groups: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return name -> ratio (0-d tensor) of the parameters that had a gradient and are not excluded.

        Names are the groups' `param_names`, or "<group>.<index>" where the optimizer was given none.
        """
        names = {}
        for number, group in enumerate(param_groups):
            given = group.get("param_names") or [f"{number}.{index}" for index in range(len(group["params"]))]
            names.update({id(parameter): name for name, parameter in zip(given, group["params"], strict=True)})
        return {
            names[id(parameter)]: torch.as_tensor(ratio)
            for parameters, ratios in self._steps
            for parameter, ratio in zip(parameters, ratios, strict=True)
        }
