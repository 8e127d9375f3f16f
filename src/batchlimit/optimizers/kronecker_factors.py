"""The Kronecker factors of a layer's Fisher matrix, gathered by hooks during the passes that a step takes anyway."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Layer = nn.Linear | nn.Conv2d


def factored_layers(model: nn.Module, weights: Iterable[Tensor]) -> list[Layer]:
    """Return the linear layers and ungrouped 2-D convolutions of `model`, which have factors, with one of `weights`.

    Without those that share a parameter with another module: its gradient is of both, and one layer's factors are not.
    """
    mine = set(weights)
    owned = [parameter for module in model.modules() for parameter in module.parameters(recurse=False)]
    shared = {parameter for parameter, owners in Counter(owned).items() if owners > 1}
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        if layer.weight in mine and shared.isdisjoint(layer.parameters(recurse=False))
    ]


def input_rows(layer: Layer, inputs: Tensor, *, with_bias: bool = True) -> Tensor:
    """Return what the layer's weight matrix multiplies, (n, positions, in); a last column of ones goes with a bias.

    A linear layer's extra dimensions and a convolution's places are positions; a convolution's `in` is one patch, in
    the order of its flattened weight.
    """
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        if layer.padding == "same":
            totals = [layer.dilation[0] * (height - 1), layer.dilation[1] * (width - 1)]
            border = [totals[1] // 2, totals[1] - totals[1] // 2, totals[0] // 2, totals[0] - totals[0] // 2]
        elif isinstance(layer.padding, str):
            border = [0, 0, 0, 0]
        else:
            border = [layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0]]
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = F.pad(inputs, border, mode=mode)
        rows = F.unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride).mT
    else:
        rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    return F.pad(rows, (0, 1), value=1.0) if with_bias and layer.bias is not None else rows


def output_rows(layer: Layer, gradient: Tensor) -> Tensor:
    """Return the gradient at the layer's output as (n, positions, out)."""
    if isinstance(layer, nn.Conv2d):
        return gradient.flatten(2).mT
    return gradient.reshape(len(gradient), -1, gradient.shape[-1])


def cholesky(matrix: Tensor) -> Tensor:
    """Return lower triangular L with L L^T = matrix; not a number where rounding leaves none, and no wait for it."""
    root: Tensor
    root, failed = torch.linalg.cholesky_ex(matrix)
    root.masked_fill_(failed.bool(), torch.nan)
    return root


def with_gram(total: Tensor | None, rows: Tensor, *, parts: int = 1) -> Tensor:
    """Return rows^T rows / `parts` of rows (n, in), added to `total` in place where there is one."""
    return rows.mT @ rows / parts if total is None else total.addmm_(rows.mT, rows, alpha=1.0 / parts)


BLOCK = 256


class PassStatistics(ABC):
    """What is gathered of one layer's inputs and output gradients over the micro-batches of one step.

    Of every 256 examples of the step, by their place in its batch, only the first `examples` enter: the same however
    the step is cut into passes. Passes count in training mode only, once they have gone back. The first dimension of a
    layer's inputs is taken to count examples; a layer that is called twice in a pass sees twice as many.
    """

    def __init__(self, layer: Layer, examples: int) -> None:
        self.layer = layer
        self.examples = examples
        self.clear()
        self.handle: RemovableHandle = layer.register_forward_hook(self._forward, with_kwargs=True)

    def clear(self) -> None:
        """Forget all passes."""
        self._start = 0  # examples of the step before this pass
        self._size = 0  # examples of this pass
        self._went_back = False

    @abstractmethod
    def _add(self, activations: Tensor, gradient: Tensor) -> None:
        """Take in the chosen examples' inputs (n, ...) and output gradients (n, ...) of one pass."""

    def _forward(self, layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
        if not (layer.training and output.requires_grad):
            return
        if layer.weight.grad is None:
            self.clear()  # a step begins, or begins again after memory ran out
        elif self._went_back:
            self._start += self._size
            self._went_back = False
        activations = (inputs[0] if inputs else named["input"]).detach()
        single = activations.ndim == (1 if isinstance(layer, nn.Linear) else 3)
        if single:
            activations = activations[None]
        self._size = len(activations)
        start = self._start

        def back(gradient: Tensor) -> None:
            self._backward(activations, gradient[None] if single else gradient, start)

        output.register_hook(back)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _backward(self, activations: Tensor, gradient: Tensor, start: int) -> None:
        self._went_back = True
        if self.examples < BLOCK:
            # By arithmetic: a mask's elements would have to be counted, which waits for the device.
            first, after = (self._chosen_before(place) for place in (start, start + len(gradient)))
            numbers = torch.arange(first, after, device=gradient.device)
            chosen = numbers // self.examples * BLOCK + numbers % self.examples - start
            activations, gradient = activations[chosen], gradient[chosen]
        if len(gradient):
            self._add(activations, gradient)

    def _chosen_before(self, place: int) -> int:
        """Return how many of the step's first `place` examples enter."""
        whole, rest = divmod(place, BLOCK)
        return whole * self.examples + min(rest, self.examples)


class FactorStatistics(PassStatistics):
    """Sums over the micro-batches of one step from which one layer's factors A and G follow.

    A is the mean over examples of the sum over positions of a a^T, G the mean over examples and positions of g g^T,
    with a the rows of `input_rows` and g the gradients of each example's own loss. The loss must be the mean over all
    examples of the step, so that an example's own gradient is what arrives times their number.

    Source: Martens and Grosse, 2015 (arXiv 1503.05671), section 3; for convolutions Grosse and Martens, 2016 (arXiv
    1602.01407), equations 24 and 25. The labels are the data's: the 'empirical' Fisher, at no further backward pass.
    """

    def clear(self) -> None:
        """Forget all sums."""
        super().clear()
        self._used = 0
        self._inputs: Tensor | None = None
        self._outputs: Tensor | None = None

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """Return (A, G) of the passes since the last `clear`, or None if there was no backward pass."""
        if self._inputs is None or self._outputs is None:
            return None
        return self._inputs / self._used, self._outputs * ((self._start + self._size) ** 2 / self._used)

    def _add(self, activations: Tensor, gradient: Tensor) -> None:
        rows = input_rows(self.layer, activations.to(self.layer.weight.dtype))
        outputs = output_rows(self.layer, gradient.to(self.layer.weight.dtype))
        self._used += len(rows)
        self._inputs = with_gram(self._inputs, rows.flatten(0, 1))
        self._outputs = with_gram(self._outputs, outputs.flatten(0, 1), parts=rows.shape[1])
