"""SOAP against its float64 twin, and against Adam where it must be Adam."""

from __future__ import annotations

import copy

import pytest
import torch
from naive_soap import soap_trajectory
from torch import nn

from batchlimit.errors import InputError
from batchlimit.optimizers.soap import Soap, soap


def _gradients(shape, count: int) -> list[torch.Tensor]:
    """Gradients of full rank on both sides: the bases must be unique for two codes to agree."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).double() for _ in range(count)]


def _begin(shape) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)).double())


@pytest.mark.parametrize("shape", [(5, 5), (9,), (4, 2, 2, 1)])
@pytest.mark.parametrize(("every", "decay"), [(1, 0.0), (3, 0.4)])
def test_trajectory_agrees_with_the_twin(shape, every, decay) -> None:
    weight = _begin(shape)
    optimizer = Soap([weight], lr=0.01, weight_decay=decay, precondition_every=every)
    gradients = _gradients(shape, 12)
    expected = soap_trajectory(weight.detach().numpy(), [g.numpy() for g in gradients], 0.01, decay, every=every)
    for gradient, there in zip(gradients, expected, strict=True):
        weight.grad = gradient
        optimizer.step()
        torch.testing.assert_close(weight.detach(), torch.from_numpy(there), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("limit", [4, 7])
def test_a_long_side_is_left_alone(limit) -> None:
    weight = _begin((4, 8))
    optimizer = Soap([weight], lr=0.01, precondition_every=2, max_preconditioner_dim=limit)
    gradients = _gradients((4, 8), 6)
    expected = soap_trajectory(weight.detach().numpy(), [g.numpy() for g in gradients], 0.01, every=2, limit=limit)
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.from_numpy(expected[-1]), rtol=1e-6, atol=1e-8)
    assert {name for name in optimizer.state[weight] if name.startswith("basis")} == {"basis0"}


@pytest.mark.parametrize("options", [{"max_preconditioner_dim": 1}, {}])
def test_without_a_basis_it_is_adamw(options) -> None:
    shape = (5, 3) if options else (7,)
    ours, theirs = _begin(shape), _begin(shape)
    mine = Soap([ours], lr=0.01, weight_decay=0.3, **options)
    other = torch.optim.AdamW([theirs], lr=0.01, betas=(0.95, 0.95), weight_decay=0.3)
    for gradient in _gradients(shape, 8):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        other.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_rotation_of_the_gradients_rotates_the_path() -> None:
    """Past its first update SOAP has no favoured axes: rotated problems have rotated updates."""
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)).double()).Q
    plain, turned = nn.Parameter(torch.zeros(5, 5).double()), nn.Parameter(torch.zeros(5, 5).double())
    optimizers = [Soap([weight], lr=0.01, precondition_every=1) for weight in (plain, turned)]
    positions = []
    for gradient in _gradients((5, 5), 6):
        plain.grad, turned.grad = gradient.clone(), turn @ gradient
        for optimizer in optimizers:
            optimizer.step()
        positions.append((plain.detach().clone(), turned.detach().clone()))
    first, last = positions[0], positions[-1]
    torch.testing.assert_close(last[1] - first[1], turn @ (last[0] - first[0]), rtol=1e-6, atol=1e-8)
    assert not torch.allclose(first[1], turn @ first[0], atol=1e-3)


def test_it_ends_nearer_than_adam_on_rotated_axes() -> None:
    """An ill-conditioned quadratic with rotated axes, each solver at the better of two decaying learning rates."""
    generator = torch.Generator().manual_seed(5)
    left, right = (torch.linalg.qr(torch.randn(8, 8, generator=generator).double()).Q for _ in range(2))
    scales = torch.logspace(0, 2, 8).double()
    curvature = scales[:, None] * scales[None, :]

    def final_loss(name: str, lr: float) -> float:
        weight = nn.Parameter(torch.ones(8, 8).double())
        optimizer = (
            Soap([weight], lr=lr, precondition_every=1)
            if name == "soap"
            else torch.optim.Adam([weight], lr=lr, betas=(0.95, 0.95))
        )
        for step in range(300):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / 300)
            optimizer.zero_grad()
            loss = 0.5 * (curvature * (left @ weight @ right) ** 2).sum()
            loss.backward()
            optimizer.step()
        return loss.item()

    best = {name: min(final_loss(name, lr) for lr in (0.1, 0.3)) for name in ("soap", "adam")}
    assert best["soap"] < 0.5 * best["adam"]


def test_state_dict_round_trip_is_exact() -> None:
    gradients = [gradient.float() for gradient in _gradients((4, 3), 8)]
    weights = [nn.Parameter(_begin((4, 3)).detach().float()) for _ in range(2)]
    whole, first = (Soap([weight], lr=0.01, precondition_every=2) for weight in weights)
    second = Soap([weights[1]], lr=1.0)
    for index, gradient in enumerate(gradients):
        if index == 4:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
        weights[0].grad, weights[1].grad = gradient.clone(), gradient.clone()
        whole.step()
        (first if index < 4 else second).step()
    assert torch.equal(weights[0], weights[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta1": 1.0}, "beta1 is 1"),
        ({"beta2": -0.1}, "beta2 is -0.1"),
        ({"precondition_every": 0}, "precondition_every is 0"),
        ({"max_preconditioner_dim": 0}, "max_preconditioner_dim is 0"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(InputError, match=message):
        soap(nn.Linear(2, 2).named_parameters(), lr=0.1, weight_decay=0.0, **options)


def test_half_precision_is_refused() -> None:
    with pytest.raises(InputError, match="fp32 or fp64"):
        soap(nn.Linear(2, 2).bfloat16().named_parameters(), lr=0.1, weight_decay=0.0)
