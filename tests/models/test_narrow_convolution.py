"""The convolution with its own gradient against torch's: values, gradients, second derivatives, and who listens."""

from __future__ import annotations

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from batchlimit.models.narrow_convolution import narrow_convolution


def on_a_grid(tensor: torch.Tensor) -> torch.Tensor:
    """Return numbers whose sums and products are exact in float64."""
    return torch.randint(-2, 3, tensor.shape).double() / 4


@settings(deadline=None)
@given(
    channels=st.integers(1, 8),
    maps=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    height=st.integers(5, 10),
    width=st.integers(5, 9),
    bias=st.booleans(),
)
def test_values_and_gradients_are_those_of_the_convolution(
    channels: int, maps: int, kernel: tuple[int, int], padding: tuple[int, int], height: int, width: int, bias: bool
) -> None:
    assume(padding[0] < kernel[0] and padding[1] < kernel[1])
    torch.manual_seed(0)
    convolution = nn.Conv2d(channels, maps, kernel, padding=padding, bias=bias).double()
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.copy_(on_a_grid(parameter))
    images = on_a_grid(torch.empty(3, channels, height, width)).requires_grad_()
    found, expected = narrow_convolution(images, nn.ReLU(), convolution), convolution(images.relu())
    assert torch.equal(found, expected)
    slope = on_a_grid(found)
    wanted = [images, *convolution.parameters()]
    for one, other in zip(
        torch.autograd.grad(found, wanted, slope), torch.autograd.grad(expected, wanted, slope), strict=True
    ):
        assert torch.equal(one, other)


def test_the_gradient_is_its_own_where_it_is_faster() -> None:
    convolution = nn.Conv2d(6, 16, 5)
    images = torch.rand(2, 6, 14, 14)

    def made_by(images: torch.Tensor) -> str:
        function = narrow_convolution(images, nn.Identity(), convolution).grad_fn
        assert function is not None
        return function.name()

    assert "PairedRows" in made_by(images)
    assert "PairedRows" not in made_by(images[:, :, :13])
    with torch.autocast("cpu", torch.bfloat16):
        assert "PairedRows" not in made_by(images)


def test_second_derivatives_are_those_of_the_convolution() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 3, 3, padding=1).double()
    images = torch.rand(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    wanted = [images, *convolution.parameters()]
    directions = [torch.randn_like(tensor) for tensor in wanted]

    def hessian_times_directions(maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        slopes = torch.autograd.grad(maps.pow(3).sum(), wanted, create_graph=True)
        return torch.autograd.grad(slopes, wanted, directions)

    found = hessian_times_directions(narrow_convolution(images, nn.Tanh(), convolution))
    torch.testing.assert_close(found, hessian_times_directions(convolution(images.tanh())))


def test_hooks_see_the_convolution_itself() -> None:
    convolution, seen = nn.Conv2d(6, 16, 5), list[torch.Size]()
    images = torch.rand(2, 6, 14, 14)
    with convolution.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape)):
        narrow_convolution(images, nn.ReLU(), convolution)
    assert seen == [(2, 16, 10, 10)]
