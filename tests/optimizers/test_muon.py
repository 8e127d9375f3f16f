"""Muon against its float64 twin, torch's own where that applies, and what the engine relies on."""

from __future__ import annotations

import copy

import pytest
import torch
from naive_muon import NaiveMuon
from torch import nn

from batchlimit.errors import InputError
from batchlimit.optimizers.muon import Muon, muon, update_scale
from batchlimit.schedules.as_torch import lr_scheduler

SHAPES = {"conv.weight": (6, 2, 3, 3), "conv.bias": (6,), "first": (40, 12), "second": (12, 40), "same": (40, 12)}


def _model(dtype=torch.float64) -> nn.ParameterDict:
    generator = torch.Generator().manual_seed(0)
    return nn.ParameterDict(
        [
            (name.replace(".", "_"), nn.Parameter(torch.randn(shape, generator=generator).to(dtype)))
            for name, shape in SHAPES.items()
        ]
    )


def _gradients(count: int, dtype=torch.float64) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [[torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES.values()] for _ in range(count)]


def _train(model, optimizer, gradients) -> None:
    for step in gradients:
        for parameter, gradient in zip(model.parameters(), step, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_trajectory_agrees_with_the_twin(nesterov, decay) -> None:
    model = _model()
    twin = NaiveMuon(
        [p.detach().numpy() for p in model.parameters()], lr=0.1, momentum=0.9, nesterov=nesterov, decay=decay
    )
    optimizer = muon(model.named_parameters(), lr=0.1, weight_decay=decay, momentum=0.9, nesterov=nesterov)
    gradients = _gradients(8)
    _train(model, optimizer, gradients)
    for step in gradients:
        twin.step([gradient.numpy() for gradient in step])
    for parameter, expected in zip(model.parameters(), twin.weights, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.from_numpy(expected), rtol=1e-8, atol=1e-10)


def test_fp32_follows_the_twin() -> None:
    model = _model(torch.float32)
    twin = NaiveMuon([p.detach().numpy() for p in model.parameters()], lr=0.1)
    gradients = _gradients(8, torch.float32)
    _train(model, muon(model.named_parameters(), lr=0.1, weight_decay=0.0), gradients)
    for step in gradients:
        twin.step([gradient.numpy() for gradient in step])
    for parameter, expected in zip(model.parameters(), twin.weights, strict=True):
        torch.testing.assert_close(parameter.detach().double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


def test_agrees_with_torch_where_torch_has_it() -> None:
    """torch.optim.Muon averages its buffer and runs in bf16: the same direction to bf16's precision."""
    ours, theirs = (nn.Linear(20, 50, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    begin = ours.weight.detach().clone()
    mine = muon(ours.named_parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
    other = torch.optim.Muon(theirs.parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        gradient = torch.randn(50, 20, generator=generator)
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        mine.step()
        other.step()
    moved = torch.linalg.norm(ours.weight - begin)
    assert moved > 1.0
    assert torch.linalg.norm(ours.weight - theirs.weight) < 0.02 * moved


def test_which_layers_are_orthogonalized() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 3))
    expected = {
        "all": {"0.weight", "2.weight", "4.weight"},
        "hidden": {"2.weight"},
        "matrices": {"4.weight"},
        "convolutions": {"0.weight", "2.weight"},
    }
    for layers, names in expected.items():
        optimizer = muon(model.named_parameters(), lr=0.1, weight_decay=0.1, layers=layers)
        seen = {n for g in optimizer.param_groups if g["orthogonal"] for n in g["param_names"]}
        assert seen == names
        assert sum(len(group["params"]) for group in optimizer.param_groups) == 8
        spared = {n for g in optimizer.param_groups if g["weight_decay"] == 0 for n in g["param_names"]}
        assert spared == {"0.bias", "1.weight", "1.bias", "2.bias", "4.bias"}


def test_one_learning_rate_scales_both_parts() -> None:
    model = _model()
    optimizer = muon(model.named_parameters(), lr=0.0, weight_decay=0.0, companion_lr_factor=0.05)
    begin = copy.deepcopy(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.2 * group.get("lr_factor", 1.0)  # as the engine sets it: the factor must not count twice
    _train(model, optimizer, _gradients(1))
    moved = (model["conv_bias"] - begin["conv_bias"]).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.2 * 0.05), rtol=1e-6, atol=0)  # Adam's first step
    singular = torch.linalg.svdvals((model["second"] - begin["second"]).detach()) / 0.2
    assert singular.min() > 0.6
    assert singular.max() < 1.3


def test_a_torch_schedule_scales_all_groups() -> None:
    model = _model()
    optimizer = muon(model.named_parameters(), lr=0.1, weight_decay=0.0)
    scheduler = lr_scheduler(optimizer, "polynomial", 30, 2, power=0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.05}
    _train(model, optimizer, _gradients(1))
    scheduler.step()
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_state_dict_round_trip_is_exact(dtype) -> None:
    gradients = _gradients(6, dtype)
    whole = _model(dtype)
    _train(whole, muon(whole.named_parameters(), lr=0.1, weight_decay=0.1), gradients)
    model = _model(dtype)
    first = muon(model.named_parameters(), lr=0.1, weight_decay=0.1)
    _train(model, first, gradients[:3])
    second = muon(model.named_parameters(), lr=0.7, weight_decay=0.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    _train(model, second, gradients[3:])
    for parameter, expected in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(parameter, expected)


@pytest.mark.parametrize("capturable", [False, True])
def test_a_tensor_learning_rate_gives_the_same(capturable) -> None:
    plain, with_tensor = _model(), _model()
    _train(plain, muon(plain.named_parameters(), lr=0.1, weight_decay=0.2), _gradients(3))
    optimizer = muon(with_tensor.named_parameters(), lr=0.1, weight_decay=0.2, capturable=capturable)
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(0.1, dtype=torch.float64)
    _train(with_tensor, optimizer, _gradients(3))
    for parameter, expected in zip(with_tensor.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-9, atol=1e-12)


def test_channels_last_and_missing_gradients() -> None:
    plain, other = _model(), _model()
    other["conv_weight"].data = other["conv_weight"].data.to(memory_format=torch.channels_last)
    for model in (plain, other):
        optimizer = muon(model.named_parameters(), lr=0.1, weight_decay=0.0)
        gradients = _gradients(1)[0]
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        model["second"].grad = None
        optimizer.step()
    assert torch.equal(plain["second"], _model()["second"])
    torch.testing.assert_close(other["conv_weight"], plain["conv_weight"])


def test_bf16_newton_schulz_is_near() -> None:
    exact, rough = _model(torch.float32), _model(torch.float32)
    begin = _model(torch.float32)
    for model, precision in ((exact, "fp32"), (rough, "bf16")):
        optimizer = muon(model.named_parameters(), lr=0.1, weight_decay=0.0, ns_precision=precision)
        _train(model, optimizer, _gradients(1, torch.float32))
    assert not torch.equal(exact["first"], rough["first"])
    moved = torch.linalg.norm(exact["first"] - begin["first"])
    assert torch.linalg.norm(exact["first"] - rough["first"]) < 0.02 * moved


def test_scales() -> None:
    assert update_scale(torch.Size((32, 8)), "spectral") == 2.0
    assert update_scale(torch.Size((8, 32)), "spectral") == 1.0
    assert update_scale(torch.Size((64, 4, 2, 2)), "spectral") == 2.0
    assert update_scale(torch.Size((25, 100)), "rms") == pytest.approx(2.0)
    assert update_scale(torch.Size((32, 8)), "none") == 1.0


def test_the_closure_is_called_with_gradients_on() -> None:
    layer = nn.Linear(3, 3)
    optimizer = muon(layer.named_parameters(), lr=0.1, weight_decay=0.0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = layer(torch.ones(2, 3)).square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure).item() != first.item()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "momentum is 1. Valid: 0 to 1"),
        ({"ns_steps": -1}, "ns_steps is -1"),
        ({"ns_precision": "fp8"}, "Unknown value of ns_precision 'fp8'"),
        ({"scale": "spectrl"}, "Did you mean 'spectral'"),
        ({"layers": "some"}, "Unknown value of layers 'some'"),
        ({"companion_lr_factor": -0.1}, "companion_lr_factor is -0.1"),
        ({"decay_exclude": "2d"}, "decay_exclude"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(InputError, match=message):
        muon(_model().named_parameters(), lr=0.1, weight_decay=0.0, **options)


def test_vectors_cannot_be_orthogonalized_and_a_model_needs_parameters() -> None:
    with pytest.raises(InputError, match="two dimensions"):
        Muon([nn.Parameter(torch.zeros(3))])
    with pytest.raises(InputError, match="no parameters"):
        muon([], lr=0.1, weight_decay=0.0)
