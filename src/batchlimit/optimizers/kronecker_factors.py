"""The Kronecker factors of a layer's Fisher matrix, gathered by hooks during the passes that a step takes anyway."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Layer = nn.Linear | nn.Conv2d


def is_factored(module: nn.Module) -> bool:
    """Return whether a layer has Kronecker factors here: linear layers and ungrouped 2-D convolutions."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def input_rows(layer: Layer, inputs: Tensor) -> Tensor:
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
    return F.pad(rows, (0, 1), value=1.0) if layer.bias is not None else rows


def output_rows(layer: Layer, gradient: Tensor) -> Tensor:
    """Return the gradient at the layer's output as (n, positions, out)."""
    if isinstance(layer, nn.Conv2d):
        return gradient.flatten(2).mT
    return gradient.reshape(len(gradient), -1, gradient.shape[-1])


class FactorStatistics:
    """Sums over the micro-batches of one step from which one layer's factors A and G follow.

    A is the mean over examples of the sum over positions of a a^T, G the mean over examples and positions of g g^T,
    with a the rows of `input_rows` and g the gradients of each example's own loss. Only the first `examples` of every
    pass enter. The loss must be the mean over all examples of the step, so that an example's own gradient is what
    arrives times their number.

    Source: Martens and Grosse, 2015 (arXiv 1503.05671), section 3; for convolutions Grosse and Martens, 2016 (arXiv
    1602.01407), equations 24 and 25. The labels are the data's: the 'empirical' Fisher, at no further backward pass.
    """

    def __init__(self, layer: Layer, examples: int) -> None:
        self.layer = layer
        self.examples = examples
        self.clear()
        self.handle: RemovableHandle = layer.register_forward_hook(self._forward)

    def clear(self) -> None:
        """Forget all sums."""
        self._seen = 0
        self._used = 0
        self._inputs: Tensor | None = None
        self._outputs: Tensor | None = None

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """Return (A, G) of the passes since the last `clear`, or None if there was no backward pass."""
        if self._inputs is None or self._outputs is None:
            return None
        return self._inputs / self._used, self._outputs * (self._seen**2 / self._used)

    def _forward(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if layer.training and output.requires_grad:
            activations = inputs[0].detach()
            output.register_hook(lambda gradient: self._backward(activations, gradient))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _backward(self, activations: Tensor, gradient: Tensor) -> None:
        if gradient.ndim == 1:
            activations, gradient = activations[None], gradient[None]
        self._seen += len(gradient)
        rows = input_rows(self.layer, activations[: self.examples].to(self.layer.weight.dtype))
        outputs = output_rows(self.layer, gradient[: self.examples].to(self.layer.weight.dtype))
        self._used += len(rows)
        positions = rows.shape[1]
        rows, outputs = rows.flatten(0, 1), outputs.flatten(0, 1)
        first = self._inputs is None
        if first:
            self._inputs = rows.mT @ rows
            self._outputs = outputs.mT @ outputs / positions
        else:
            assert self._inputs is not None
            assert self._outputs is not None
            self._inputs.addmm_(rows.mT, rows)
            self._outputs.addmm_(outputs.mT, outputs, alpha=1.0 / positions)
