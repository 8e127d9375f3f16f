"""The fast layer against the two it stands for: values, gradients with ties, second derivatives, and who listens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from batchlimit.models.lenet5 import LeNet5
from batchlimit.models.pooled_convolution import max_pooled_convolution, strided, strided_by_phases


def layer(maps: int = 6, kernel: int = 5, *, channels: int = 1, padding: int = 2, bias: bool = True) -> nn.Conv2d:
    """Return a convolution in float64 with weights on a coarse grid, so that sums are exact and ties frequent."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(channels, maps, kernel, padding=padding, bias=bias).double()
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape).double() / 4)
    return convolution


def grid(*shape: int) -> Tensor:
    """Return images of a few grey levels, black for the most part, as digits are."""
    torch.manual_seed(1)
    return torch.randint(0, 3, shape).double() / 2 * (torch.rand(shape) < 0.3)


def plain(images: Tensor, convolution: nn.Conv2d) -> Tensor:
    return F.max_pool2d(convolution(images), 2)


@settings(deadline=None)
@given(
    maps=st.integers(1, 7),
    kernel=st.integers(1, 5),
    channels=st.integers(1, 3),
    padding=st.integers(0, 2),
    side=st.integers(6, 11),
    bias=st.booleans(),
)
def test_values_and_gradients_are_those_of_the_two_layers_ties_included(
    maps: int, kernel: int, channels: int, padding: int, side: int, bias: bool
) -> None:
    convolution = layer(maps, kernel, channels=channels, padding=padding, bias=bias)
    images = grid(3, channels, side, side).requires_grad_()
    found, expected = max_pooled_convolution(images, convolution), plain(images, convolution)
    assert torch.equal(found, expected)
    slope = torch.randint(-3, 4, found.shape).double()
    wanted = [images, *convolution.parameters()]
    for one, other in zip(
        torch.autograd.grad(found, wanted, slope), torch.autograd.grad(expected, wanted, slope), strict=True
    ):
        assert torch.equal(one, other)


@settings(deadline=None)
@given(
    channels=st.integers(1, 3),
    kernel=st.tuples(st.sampled_from([2, 4, 6]), st.sampled_from([2, 4, 6])),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    height=st.integers(6, 11),
    width=st.integers(6, 11),
)
def test_phases_as_channels_stand_for_the_stride(
    channels: int, kernel: tuple[int, int], padding: tuple[int, int], height: int, width: int
) -> None:
    images, weight, bias = grid(2, channels, height, width), grid(3, channels, *kernel), grid(3)
    expected = strided(images, weight, bias, padding)
    assert torch.equal(strided_by_phases(images, weight, bias, padding), expected)


@pytest.mark.parametrize("kernel", [2, 5])
def test_in_bf16_values_and_gradients_are_those_of_the_two_layers(kernel: int) -> None:
    convolution, images = layer(kernel=kernel).float(), grid(3, 1, 12, 12).float()
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = max_pooled_convolution(images, convolution), plain(images, convolution)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)
    slopes = [torch.autograd.grad(maps.sum(), convolution.weight)[0] for maps in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=0.01, atol=0.05)


def test_second_derivatives_are_those_of_the_two_layers() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 4, 3).double()
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    weights = list(convolution.parameters())
    directions = [torch.randn_like(weight) for weight in weights]

    def hessian_times_directions(pooled: Tensor) -> tuple[Tensor, ...]:
        slopes = torch.autograd.grad(pooled.pow(3).sum(), weights, create_graph=True)
        return torch.autograd.grad(slopes, weights, directions)

    found = hessian_times_directions(max_pooled_convolution(images, convolution))
    torch.testing.assert_close(found, hessian_times_directions(plain(images, convolution)))


def test_hooks_see_the_convolution_itself() -> None:
    convolution, seen = layer(), list[torch.Size]()
    images = grid(2, 1, 28, 28)
    expected = plain(images, convolution)
    with convolution.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape)):
        assert torch.equal(max_pooled_convolution(images, convolution), expected)
    assert seen == [(2, 6, 28, 28)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_lenet5_is_the_stack_of_its_layers(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    model = LeNet5().double().to(memory_format=memory_format)
    images = torch.rand(4, 1, 28, 28, dtype=torch.float64).contiguous(memory_format=memory_format)
    stacked = nn.Sequential(model.features, nn.Flatten(), model.classifier)
    torch.testing.assert_close(model(images), stacked(images))
    ours = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
    theirs = torch.autograd.grad(stacked(images).square().sum(), list(model.parameters()))
    torch.testing.assert_close(ours, theirs)
