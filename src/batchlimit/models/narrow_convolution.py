"""A convolution of few input maps whose gradient for them is computed two rows at a time.

On a CPU the gradient for the input of a convolution is bound by its vectors: they run over the input's maps, and 6 of
them fill 6 of 16 numbers. That gradient is itself a convolution, of the output's gradient with the kernel turned
round; computed with a stride of 2 and the kernel shifted by a row, as twice the maps at half the rows, it fills its
vectors for (k + 1) / k of the arithmetic. Measured on one core (Intel Xeon, fp32, 256 examples, 5x5 from 6 to 16 maps):
1.5 ms for 3.9 ms, and a step of LeNet-5 takes 0.88 of the time. In bf16 torch's own gradient is the faster one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from batchlimit.models.pooled_convolution import listened_to


def narrow_convolution(images: Tensor, activation: nn.Module, convolution: nn.Conv2d) -> Tensor:
    """Return `convolution(activation(images))` of images (n, c, h, w) with few maps c: (n, maps, h', w').

    Its gradients are equal up to rounding. The convolution must have stride 1, dilation 1, one group, and padding by
    a number of zeros less than its kernel's sides. Where the other way is no faster (elsewhere than on a CPU, in bf16,
    for an odd number of rows), or hooks listen to the convolution, the convolution itself is what is computed.
    """
    if images.device.type != "cpu":
        return convolution(activation(images))  # type: ignore[no-any-return]
    # Channels last is fastest, forward and for the weights. The activation takes the layout its gradient comes in.
    full = images.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    if not full or images.shape[2] % 2 or listened_to(convolution):
        return convolution(activation(_channels_last(images)))  # type: ignore[no-any-return]
    arguments = _channels_last(activation(images)), convolution.weight, convolution.bias, convolution.padding
    return _PairedRows.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


class _PairedRows(torch.autograd.Function):
    """The convolution, with the gradient for its input by `_input_slope`; differentiable again, as that is."""

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        return F.conv2d(images, weight, bias, padding=padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, tuple[int, int]], output: Tensor) -> None:
        images, weight, _, ctx.padding = inputs
        ctx.save_for_backward(images, weight)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        for_images, for_weight, for_bias, _ = ctx.needs_input_grad
        return (
            _input_slope(slope, weight, ctx.padding, images.shape) if for_images else None,
            _weight_slope(slope, images, ctx.padding, weight.shape) if for_weight else None,
            slope.sum((0, 2, 3)) if for_bias else None,
            None,
        )


def _weight_slope(slope: Tensor, images: Tensor, padding: tuple[int, int], shape: torch.Size) -> Tensor:
    return conv2d_weight(images, shape, slope, padding=padding)  # type: ignore[no-any-return, no-untyped-call]


def _input_slope(slope: Tensor, weight: Tensor, padding: tuple[int, int], shape: torch.Size) -> Tensor:
    """Return the gradient (n, c, h, w) for the input, from that for the output: even rows, odd rows, put together."""
    turned = weight.flip(2, 3).transpose(0, 1)
    kernels = torch.cat([F.pad(turned, (0, 0, 0, 1)), F.pad(turned, (0, 0, 1, 0))])
    margin = [side - 1 - pad for side, pad in zip(weight.shape[2:], padding, strict=True)]
    rows = F.conv2d(slope.contiguous(), kernels.contiguous(), padding=margin, stride=(2, 1))
    count, maps, height, width = shape
    return rows.view(count, 2, maps, height // 2, width).permute(0, 2, 3, 1, 4).reshape(shape)
