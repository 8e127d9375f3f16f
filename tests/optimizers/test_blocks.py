"""Solvers that work block by block on a CPU: the same whatever a block's size, and whatever the order in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from batchlimit.optimizers import kernels, pending_update
from batchlimit.optimizers.lamb import LAMB
from batchlimit.optimizers.lars import LARS
from batchlimit.optimizers.layerwise import LayerWise

Params = list[nn.Parameter]
MAKERS: dict[str, Callable[[Params], torch.optim.Optimizer]] = {
    "lars": lambda p: LARS(p, 0.1, weight_decay=0.1),
    "lars nesterov": lambda p: LARS(p, 0.1, weight_decay=0.1, nesterov=True),
    "lars loop": lambda p: LARS(p, 0.1, weight_decay=0.1, fused=False),
    "lamb": lambda p: LAMB(p, 0.1, weight_decay=0.1),
    "lamb clipped": lambda p: LAMB(p, 0.1, weight_decay=0.1, clip_norm=0.5, bias_correction=False),
    "layer-wise sgd": lambda p: LayerWise(torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, dampening=0.3)),
    "layer-wise plain sgd": lambda p: LayerWise(torch.optim.SGD(p, 0.1, weight_decay=0.1, maximize=True)),
    "layer-wise ascent": lambda p: LayerWise(torch.optim.SGD(p, 0.1, momentum=0.9, maximize=True)),
    "layer-wise nesterov": lambda p: LayerWise(torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
    "layer-wise adam": lambda p: LayerWise(torch.optim.Adam(p, 0.1, weight_decay=0.1, amsgrad=True)),
    "layer-wise adamw": lambda p: LayerWise(torch.optim.AdamW(p, 0.1, weight_decay=0.1, maximize=True)),
}


def trajectory(make: Callable[[Params], torch.optim.Optimizer], channels_last: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    order = torch.channels_last if channels_last else torch.contiguous_format
    draws = [torch.randn(shape, generator=generator).double() for shape in ((6, 5, 3, 3), (5,))]
    draws[0] = draws[0].to(memory_format=order)
    params = [nn.Parameter(draw) for draw in draws]
    optimizer = make(params)
    for _ in range(4):
        for parameter in params:
            drawn = torch.randn(parameter.shape, generator=generator).double()
            parameter.grad = drawn.to(memory_format=order) if drawn.ndim == 4 else drawn
        optimizer.step()
    return [parameter.detach() for parameter in params]


@pytest.mark.parametrize("maker", MAKERS)
def test_the_size_of_a_block_and_the_order_in_memory_change_nothing(
    maker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trajectory(MAKERS[maker])
    monkeypatch.setattr(kernels, "BLOCK", 7)
    for channels_last in (False, True):
        torch.testing.assert_close(trajectory(MAKERS[maker], channels_last), whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("maker", [name for name in MAKERS if name.startswith("layer-wise")])
def test_a_known_base_gives_what_asking_it_gives(maker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    plain = pending_update.PendingUpdate.take
    monkeypatch.setattr(pending_update.PendingUpdate, "take", lambda self: (taken.append(1), plain(self))[1])
    known = trajectory(MAKERS[maker])
    assert len(taken) >= 3  # every step but perhaps the first, of the one tensor that is not excluded
    monkeypatch.setattr("batchlimit.optimizers.layerwise.has_pending_update", lambda *_: False)
    torch.testing.assert_close(known, trajectory(MAKERS[maker]), rtol=1e-10, atol=1e-12)


def test_a_tiny_gradient_is_not_taken_for_none() -> None:
    """Its squares are 0 in fp32, and a norm of 0 would mean a ratio of 1."""
    parameter = nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.full((4, 4), 1e-25)
    optimizer = LARS([parameter], lr=1.0, coefficient=0.01)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((4, 4), 0.99))
