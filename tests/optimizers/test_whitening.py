"""Muon on whitened inputs: against its float64 twin, what it is invariant to, and what the engine relies on."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from naive_muon import whitened_direction
from odd_network import OddNetwork
from torch import nn

from batchlimit.config import LayerWise, Recipe
from batchlimit.errors import InputError
from batchlimit.optimizers.build import build_optimizer
from batchlimit.optimizers.muon import muon
from batchlimit.optimizers.whitening import InputMoment, unwhitened, whitened


def _data(count: int = 40, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mean = 2.0 + torch.rand(size, generator=generator)
    return (torch.randn(count, size, generator=generator) + mean).double(), torch.randint(
        3, (count,), generator=generator
    )


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 1)), nn.Conv2d(1, 4, (3, 1), padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)
    ).double()


def _whitened(model, **options) -> torch.optim.Optimizer:
    optimizer = muon(model.named_parameters(), **{"lr": 0.1, "weight_decay": 0.0, "whiten": True, **options})
    optimizer.attach(model)
    return optimizer


def _step(model, optimizer, data, micro: int = 1000) -> float:
    inputs, targets = data
    optimizer.zero_grad()
    total = 0.0
    for start in range(0, len(inputs), micro):
        outputs = model(inputs[start : start + micro])
        loss = F.cross_entropy(outputs, targets[start : start + micro], reduction="sum") / len(inputs)
        loss.backward()
        total += float(loss.detach())
    optimizer.step()
    return total


@pytest.mark.parametrize("damping", [1e-3, 1.0, 30.0])
def test_a_step_agrees_with_the_twin(damping) -> None:
    inputs, targets = _data()
    layer = nn.Linear(6, 3).double()
    begin = layer.weight.detach().clone()
    optimizer = _whitened(layer, damping=damping, momentum=0.0, weight_decay=0.3, examples=1000)
    _step(layer, optimizer, (inputs, targets))
    expected = whitened_direction(layer.weight.grad.numpy(), inputs.numpy(), damping)
    np.testing.assert_allclose(
        layer.weight.detach().numpy(), (1 - 0.03) * begin.numpy() - 0.1 * expected, rtol=1e-8, atol=1e-10
    )


def test_a_convolution_s_rows_are_its_patches() -> None:
    inputs, targets = _data()
    model = _network()
    begin = model[1].weight.detach().clone()
    optimizer = _whitened(model, momentum=0.0, examples=1000)
    _step(model, optimizer, (inputs, targets))
    padded = F.pad(inputs, (1, 1)).numpy()
    patches = np.concatenate([padded[:, place : place + 3] for place in range(6)])
    expected = whitened_direction(model[1].weight.grad.flatten(1).numpy(), patches, 1.0) * np.sqrt(4 / 3)
    moved = (begin - model[1].weight.detach()).flatten(1) / 0.1
    np.testing.assert_allclose(moved.numpy(), expected, rtol=1e-8, atol=1e-10)


@given(seed=st.integers(0, 1000))
def test_inputs_in_another_basis_give_the_same_training(seed: int) -> None:
    """Inputs M x with weights W M^-1 are the same function, and stay it: with nothing damped, to rounding."""
    inputs, targets = _data()
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator).double())[0]
    basis = basis * torch.logspace(-1, 1, 6).double()
    torch.manual_seed(0)
    plain, other = nn.Linear(6, 3).double(), nn.Linear(6, 3).double()
    with torch.no_grad():
        other.weight.copy_(torch.linalg.solve(basis.mT, plain.weight.mT).mT)
        other.bias.copy_(plain.bias)
    for layer, seen in ((plain, inputs), (other, inputs @ basis.mT)):
        optimizer = _whitened(layer, damping=1e-12, examples=1000)
        for _ in range(3):
            _step(layer, optimizer, (seen, targets))
    torch.testing.assert_close(other(inputs @ basis.mT), plain(inputs), rtol=1e-5, atol=1e-6)


@given(damping=st.floats(0.01, 100.0))
def test_a_step_moves_the_outputs_by_the_learning_rate(damping: float) -> None:
    """The whitened direction's spectral norm is that of Newton-Schulz: about 1, whatever the inputs' size."""
    inputs, targets = _data()
    layer = nn.Linear(6, 3).double()
    begin = layer.weight.detach().clone()
    optimizer = _whitened(layer, damping=damping, momentum=0.0, examples=1000)
    _step(layer, optimizer, (100 * inputs, targets))
    moment = (100 * inputs).mT @ (100 * inputs) / len(inputs)
    moment = moment + damping * moment.diagonal().mean() * torch.eye(6).double()
    root = torch.linalg.cholesky(moment)
    singular = torch.linalg.svdvals((layer.weight.detach() - begin) @ root) / 0.1
    assert 0.5 < singular[0] < 1.3


def test_much_damping_is_plain_muon_at_another_learning_rate() -> None:
    data = _data()
    layer, other = nn.Linear(6, 3).double(), nn.Linear(6, 3).double()
    other.load_state_dict(layer.state_dict())
    size = float((1e8 * data[0].square().mean()).sqrt())
    _step(layer, _whitened(layer, damping=1e8, lr=0.1 * size, examples=1000, companion_lr_factor=0.0), data)
    _step(other, muon(other.named_parameters(), lr=0.1, weight_decay=0.0, companion_lr_factor=0.0), data)
    torch.testing.assert_close(layer.weight, other.weight, rtol=1e-6, atol=1e-8)


def test_whitening_and_back_are_inverse_transforms() -> None:
    inputs, _ = _data()
    root = torch.linalg.cholesky(inputs.mT @ inputs)
    matrix = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(whitened(matrix, root) @ root.mT, matrix)
    torch.testing.assert_close(unwhitened(matrix, root) @ root, matrix)


@pytest.mark.parametrize("micro", [600, 256, 100, 7])
def test_the_moment_does_not_depend_on_how_the_batch_is_cut(micro: int) -> None:
    inputs, targets = _data(600)
    layer = nn.Linear(6, 3).double()
    moment = InputMoment(layer, examples=2)
    chosen = inputs[[0, 1, 256, 257, 512, 513]]
    for start in range(0, 600, micro):
        part = slice(start, start + micro)
        (F.cross_entropy(layer(inputs[part]), targets[part], reduction="sum") / 600).backward()
    torch.testing.assert_close(moment.mean(), chosen.mT @ chosen / 6)
    moment.clear()
    assert moment.mean() is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_and_saved_states_go_on_bit_for_bit(copied) -> None:
    data, model = _data(), _network()
    optimizer = _whitened(model)
    for _ in range(2):
        _step(model, optimizer, data, micro=7)
    twin, follower = copied((model, optimizer))
    resumed = _network()
    resumed.load_state_dict(model.state_dict())
    loaded = _whitened(resumed, lr=0.7)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    paths = [
        [_step(*pair, data) for _ in range(3)] for pair in ((model, optimizer), (twin, follower), (resumed, loaded))
    ]
    assert paths[0] == paths[1] == paths[2]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_parameters_in_less_than_fp64(dtype, tolerance) -> None:
    inputs, targets = _data()
    paths = []
    for kind in (torch.float64, dtype):
        model = _network().to(kind)
        optimizer = _whitened(model)
        paths.append([_step(model, optimizer, (inputs.to(kind), targets)) for _ in range(8)])
    np.testing.assert_allclose(paths[1], paths[0], rtol=tolerance)
    assert paths[0][-1] < paths[0][0]


def test_layer_wise_scaling_of_it_trains() -> None:
    data, model = _data(), _network()
    recipe = Recipe(solver="muon", lr=0.1, solver_options={"whiten": True}, layerwise=LayerWise())
    optimizer = build_optimizer(recipe, model.named_parameters())
    optimizer.attach(model)
    losses = [_step(model, optimizer, data) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_without_passes_and_off_the_model_it_is_plain() -> None:
    """Gradients from elsewhere are orthogonalized as they are; a detached one says what is missing."""
    model, other = _network(), _network()
    optimizer = _whitened(model)
    for net, solver in ((model, optimizer), (other, muon(other.named_parameters(), lr=0.1, weight_decay=0.0))):
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        solver.step()
    for mine, its in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)
    optimizer.detach()
    with pytest.raises(RuntimeError, match="attach"):
        optimizer.step()


def test_layers_that_share_a_weight_are_not_whitened_and_no_hook_stays() -> None:
    """The weight's gradient is of both layers' inputs."""
    net = OddNetwork()
    optimizer = _whitened(net)
    assert [len(layer._forward_hooks) for layer in (net.first, net.twin, net.named, net.last)] == [0, 0, 1, 1]
    losses = net.train_with(optimizer, 20)
    assert losses[-1] < 0.5 * losses[0]
    optimizer.detach()
    assert not any(layer._forward_hooks for layer in net.modules())


def test_a_moment_that_rounding_leaves_without_a_root_is_seen() -> None:
    """Three directions of 200 in fp32 and next to no damping: the step is no number, not a large one."""
    layer = nn.Linear(200, 4)
    optimizer = _whitened(layer, damping=1e-9)
    inputs = 1e3 * torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) @ torch.randn(3, 200)
    layer(inputs).square().mean().backward()
    optimizer.step()
    assert not layer.weight.isfinite().any()


def test_attaching_does_nothing_where_nothing_is_whitened() -> None:
    model = _network()
    optimizer = muon(model.named_parameters(), lr=0.1, weight_decay=0.0)
    optimizer.attach(model)
    assert not any(layer._forward_hooks for layer in model.modules())
    optimizer.detach()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0.0}, "muon's damping is 0. Valid: above 0"),
        ({"damping": float("inf")}, "muon's damping is inf"),
        ({"examples": 0}, "muon's examples is 0. Valid: 1 or more"),
        ({"max_factor_dim": 0}, "muon's max_factor_dim is 0"),
        ({"capturable": True}, "capturable with whiten"),
        ({"max_factor_dim": 2}, "no layer whose inputs to whiten"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(InputError, match=message):
        _whitened(_network(), **options)
