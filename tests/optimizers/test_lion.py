"""Lion against its float64 twin."""

from __future__ import annotations

import copy

import pytest
import torch
from naive_post2020 import lion_trajectory
from torch import nn

from batchlimit.errors import InputError
from batchlimit.optimizers.lion import Lion, lion


def _gradients(count: int, dtype=torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(5, 3, generator=generator).to(dtype) for _ in range(count)]


def _begin(dtype=torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).to(dtype))


@pytest.mark.parametrize("lr", [0.01, torch.tensor(0.01, dtype=torch.float64)])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_trajectory_agrees_with_the_twin(lr, decay) -> None:
    weight = _begin()
    optimizer = Lion([weight], lr=lr, weight_decay=decay)
    expected = lion_trajectory(weight.detach().numpy(), [g.numpy() for g in _gradients(20)], 0.01, decay)
    for gradient, there in zip(_gradients(20), expected, strict=True):
        weight.grad = gradient
        optimizer.step()
        torch.testing.assert_close(weight.detach(), torch.from_numpy(there), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_dict_round_trip_is_exact(dtype) -> None:
    whole, split = _begin(dtype), _begin(dtype)
    first, second, third = Lion([whole], lr=0.01), Lion([split], lr=0.01), Lion([split], lr=9.0)
    for index, gradient in enumerate(_gradients(6, dtype)):
        if index == 3:
            third.load_state_dict(copy.deepcopy(second.state_dict()))
        whole.grad, split.grad = gradient.clone(), gradient.clone()
        first.step()
        (second if index < 3 else third).step()
    assert torch.equal(whole, split)


def test_weight_decay_spares_vectors_and_missing_gradients_spare_weights() -> None:
    model = nn.Linear(3, 2)
    begin = copy.deepcopy(model)
    optimizer = lion(model.named_parameters(), lr=0.1, weight_decay=1.0)
    optimizer.step()
    assert torch.equal(model.weight, begin.weight)
    model.weight.grad, model.bias.grad = torch.zeros_like(model.weight), torch.zeros_like(model.bias)
    optimizer.step()
    torch.testing.assert_close(model.weight, 0.9 * begin.weight)
    assert torch.equal(model.bias, begin.bias)


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_bad_betas_are_named(name) -> None:
    with pytest.raises(InputError, match=rf"{name} is 1\. Valid"):
        lion(nn.Linear(2, 2).named_parameters(), lr=0.1, weight_decay=0.0, **{name: 1.0})
