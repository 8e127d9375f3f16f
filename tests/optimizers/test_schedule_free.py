"""Schedule-free against its float64 twin, and its two modes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from naive_post2020 import schedule_free_trajectory
from torch import nn

from batchlimit.errors import InputError
from batchlimit.optimizers.schedule_free import ScheduleFree, schedule_free

CURVATURE = np.array([1.0, 10.0, 0.1, 3.0])
START = np.array([1.0, -2.0, 3.0, 0.5])
LRS = [0.0, 0.02, 0.04, 0.04, 0.03, 0.04, 0.04]


def _train(weight: nn.Parameter, optimizer: ScheduleFree, lrs: list[float]):
    for lr in lrs:
        for group in optimizer.param_groups:
            group["lr"] = lr
        weight.grad = torch.from_numpy(CURVATURE).to(weight.dtype) * weight.detach()
        optimizer.step()
        yield weight.detach().clone()


@pytest.mark.parametrize("base", ["sgd", "adamw"])
@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("beta", [0.9, 0.3])
def test_both_modes_agree_with_the_twin(base, decay, beta) -> None:
    weight = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = ScheduleFree([weight], lr=0.04, base=base, beta=beta, weight_decay=decay)
    points, answers = schedule_free_trajectory(START, lambda y: CURVATURE * y, LRS, base=base, decay=decay, beta=beta)
    for seen, point, answer in zip(_train(weight, optimizer, LRS), points, answers, strict=True):
        np.testing.assert_allclose(seen.numpy(), point, rtol=1e-9, atol=1e-12)
        optimizer.eval()
        np.testing.assert_allclose(weight.detach().numpy(), answer, rtol=1e-9, atol=1e-12)
        optimizer.train()


def test_modes_are_idempotent_and_steps_need_training() -> None:
    weight = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = ScheduleFree([weight], lr=0.04)
    *_, trained = _train(weight, optimizer, LRS)
    optimizer.train()
    assert torch.equal(weight, trained)
    optimizer.eval()
    averaged = weight.detach().clone()
    assert not torch.allclose(averaged, trained)
    optimizer.eval()
    assert torch.equal(weight, averaged)
    with pytest.raises(RuntimeError, match="train"):
        optimizer.step()
    optimizer.train()
    torch.testing.assert_close(weight.detach(), trained, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_it_needs_no_decay_to_settle(base) -> None:
    """Under noise and a constant learning rate, the loss at x is far below that of the gradient's own sequence z."""
    generator = torch.Generator().manual_seed(0)
    curvature = torch.from_numpy(CURVATURE)
    weight = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = ScheduleFree([weight], lr=0.05, base=base)
    losses = []
    for _ in range(2000):
        weight.grad = curvature * weight.detach() + torch.randn(4, generator=generator).double()
        optimizer.step()
        losses.append((curvature * optimizer.state[weight]["z"] ** 2).sum())
    optimizer.eval()
    assert (curvature * weight.detach() ** 2).sum() < 0.3 * torch.stack(losses[1000:]).mean()


@pytest.mark.parametrize("in_eval", [False, True])
def test_state_dict_round_trip_keeps_the_mode(in_eval) -> None:
    weights = [nn.Parameter(torch.from_numpy(START.copy())) for _ in range(2)]
    whole, first = (ScheduleFree([weight], lr=0.04) for weight in weights)
    for _ in _train(weights[0], whole, LRS[:4]), _train(weights[1], first, LRS[:4]):
        list(_)
    if in_eval:
        whole.eval()
        first.eval()
    second = ScheduleFree([weights[1]], lr=1.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    whole.train()
    second.train()
    assert torch.equal(list(_train(weights[0], whole, LRS[4:]))[-1], list(_train(weights[1], second, LRS[4:]))[-1])


def test_parameters_without_gradients_stay_through_both_modes() -> None:
    model = nn.Linear(3, 2)
    begin = copy.deepcopy(model)
    optimizer = schedule_free(model.named_parameters(), lr=0.1, weight_decay=0.5)
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    optimizer.eval()  # type: ignore[attr-defined]
    assert torch.equal(model.bias, begin.bias)
    assert not torch.equal(model.weight, begin.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "adam"}, "Did you mean 'adamw'"),
        ({"beta": 0.0}, "beta is 0. Valid: between"),
        ({"beta": 1.0}, "beta is 1. Valid: between"),
        ({"beta2": -1.0}, "beta2 is -1"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(InputError, match=message):
        schedule_free(nn.Linear(2, 2).named_parameters(), lr=0.1, weight_decay=0.0, **options)
