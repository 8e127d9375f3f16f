"""K-FAC against loops and the whole Kronecker product, and what the engine relies on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from naive_kfac import convolution_factors, linear_factors, natural_gradient
from odd_network import OddNetwork
from torch import nn

from batchlimit.errors import InputError
from batchlimit.optimizers.kfac import Kfac, kfac
from batchlimit.optimizers.kronecker_factors import FactorStatistics, input_rows


def _data(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 5, generator=generator).double(), torch.randint(3, (count,), generator=generator)


def _perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 3)).double()


def _pass(model, inputs, targets, micro: int) -> None:
    """One exact step's passes: sums over micro-batches over the number of examples."""
    model.zero_grad()
    for begin in range(0, len(inputs), micro):
        part = slice(begin, begin + micro)
        (F.cross_entropy(model(inputs[part]), targets[part], reduction="sum") / len(inputs)).backward()


def test_linear_factors_agree_with_loops_however_the_batch_is_cut() -> None:
    inputs, targets = _data()
    layer = nn.Linear(5, 3).double()
    own = (layer(inputs).softmax(-1) - F.one_hot(targets, 3)).detach().numpy()
    expected = linear_factors(inputs.numpy(), own)
    for micro in (12, 5, 1):
        statistics = FactorStatistics(layer, examples=100)
        _pass(layer, inputs, targets, micro)
        for factor, there in zip(statistics.factors(), expected, strict=True):
            np.testing.assert_allclose(factor.numpy(), there, rtol=1e-10, atol=1e-14)
        statistics.handle.remove()


@pytest.mark.parametrize(
    ("options", "padding"),
    [
        ({"padding": 1, "stride": 2}, 1),
        ({"padding": "same"}, 1),
        ({"padding": "same", "dilation": 2}, 2),
        ({"padding": "valid"}, 0),
    ],
)
def test_convolution_factors_agree_with_loops(options, padding) -> None:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(4, 2, 6, 6, generator=generator).double()
    layer = nn.Conv2d(2, 3, 3, bias=False, **options).double()
    statistics = FactorStatistics(layer, examples=100)
    output = layer(inputs)
    weights = torch.randn(output.shape, generator=generator).double()
    ((output**2 * weights).sum() / 4).backward()
    own = (2 * output * weights).detach().numpy()
    stride, dilation = layer.stride[0], layer.dilation[0]
    expected = convolution_factors(inputs.numpy(), own, 3, padding, stride, dilation)
    for factor, there in zip(statistics.factors(), expected, strict=True):
        np.testing.assert_allclose(factor.numpy(), there, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same"},
        {"padding": "same", "dilation": (1, 3)},
        {"padding": (2, 1), "stride": (1, 2), "dilation": (2, 1)},
        {"padding": (2, 1), "padding_mode": "circular"},
    ],
)
def test_the_weight_times_the_patches_is_the_convolution_also_of_an_oblong_and_even_kernel(options) -> None:
    layer = nn.Conv2d(2, 3, (2, 4), **options).double()
    inputs = torch.randn(4, 2, 9, 8, generator=torch.Generator().manual_seed(3)).double()
    weight = torch.cat([layer.weight.flatten(1), layer.bias[:, None]], dim=1)
    torch.testing.assert_close(input_rows(layer, inputs) @ weight.mT, layer(inputs).flatten(2).mT)


@pytest.mark.parametrize("micro", [600, 300, 256, 100, 7])
def test_the_first_examples_of_every_block_enter_however_the_batch_is_cut(micro: int) -> None:
    inputs, targets = _data(600)
    layer = nn.Linear(5, 3).double()
    statistics = FactorStatistics(layer, examples=2)
    own = (layer(inputs).softmax(-1) - F.one_hot(targets, 3)).detach().numpy()
    chosen = [0, 1, 256, 257, 512, 513]
    expected = linear_factors(inputs.numpy()[chosen], own[chosen])
    for _ in range(2):  # the second step begins anew
        _pass(layer, inputs, targets, micro)
        for factor, there in zip(statistics.factors(), expected, strict=True):
            np.testing.assert_allclose(factor.numpy(), there, rtol=1e-10, atol=1e-14)
        statistics.clear()


@pytest.mark.parametrize("micro", [12, 5, 1])
def test_a_layer_used_twice_counts_each_example_at_one_place(micro: int) -> None:
    """One pass over the batch and many: the same factors, though hooks run twice in each."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(12, 3, generator=generator).double()
    torch.manual_seed(0)
    layer = nn.Linear(3, 3).double()
    found = []
    for size in (12, micro):
        statistics = FactorStatistics(layer, examples=4)
        layer.zero_grad()
        for begin in range(0, 12, size):
            (layer(layer(inputs[begin : begin + size]).tanh()).square().sum() / 12).backward()
        found.append(statistics.factors())
        statistics.handle.remove()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_a_step_begun_again_forgets_the_passes_before() -> None:
    inputs, targets = _data()
    layer = nn.Linear(5, 3).double()
    statistics = FactorStatistics(layer, examples=100)
    _pass(layer, inputs, targets, 4)
    expected = statistics.factors()
    layer.zero_grad()
    (F.cross_entropy(layer(inputs[:6]), targets[:6], reduction="sum") / 12).backward()
    _pass(layer, inputs, targets, 4)
    for one, other in zip(statistics.factors(), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_trajectory_agrees_with_the_twin() -> None:
    """Three updates of softmax regression with momentum and decay, A and G averaged as the paper has it."""
    inputs, targets = _data()
    layer = nn.Linear(5, 3).double()
    weight = np.concatenate([layer.weight.detach().numpy(), layer.bias.detach().numpy()[:, None]], axis=1)
    optimizer = Kfac(
        layer.parameters(), lr=0.3, momentum=0.8, weight_decay=0.1, damping=0.02, invert_every=1, kl_clip=0.004
    )
    optimizer.attach(layer)
    rows = np.concatenate([inputs.numpy(), np.ones((12, 1))], axis=1)
    buffer, a, g, bound = 0.0, 0.0, 0.0, []
    for count in range(1, 4):
        logits = rows @ weight.T
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        own = chances - np.eye(3)[targets.numpy()]
        gradient = own.T @ rows / 12
        a_now, g_now = linear_factors(inputs.numpy(), own)
        keep = min(1 - 1 / count, 0.95)
        a, g = keep * a + (1 - keep) * a_now, keep * g + (1 - keep) * g_now
        natural = natural_gradient(gradient, a, g, 0.02)
        bound.append(min(1.0, np.sqrt(0.004 / (0.3**2 * (natural * gradient).sum()))))
        buffer = 0.8 * buffer + bound[-1] * natural
        weight = (1 - 0.3 * 0.1) * weight - 0.3 * buffer
        _pass(layer, inputs, targets, 7)
        optimizer.step()
        np.testing.assert_allclose(layer.weight.detach().numpy(), weight[:, :-1], rtol=1e-8)
        np.testing.assert_allclose(layer.bias.detach().numpy(), weight[:, -1], rtol=1e-8)
    assert bound[0] < 1  # the bound was at work


def test_layers_without_factors_take_plain_momentum() -> None:
    model, plain = _perceptron(), _perceptron()
    inputs, targets = _data()
    optimizer = kfac(model.named_parameters(), lr=0.1, weight_decay=0.0)
    optimizer.attach(model)  # type: ignore[attr-defined]
    other = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for net, solver in ((model, optimizer), (plain, other)):
        _pass(net, inputs, targets, 12)
        solver.step()
    torch.testing.assert_close(model[2].weight, plain[2].weight, rtol=1e-12, atol=0)
    assert not torch.allclose(model[0].weight, plain[0].weight)


def test_a_linear_change_of_the_inputs_hardly_matters() -> None:
    """With little damping the natural gradient sees through badly scaled inputs; plain gradients do not."""
    inputs, targets = _data(40)
    scales = torch.tensor([100.0, 1.0, 0.1, 3.0, 1.0]).double()

    def losses(factor: torch.Tensor, solver: str) -> float:
        layer = nn.Linear(5, 3).double()
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        options = {"momentum": 0.0, "damping": 1e-10, "kl_clip": 0.0, "invert_every": 1}
        optimizer = (
            Kfac(layer.parameters(), lr=0.3, **options)
            if solver == "kfac"
            else torch.optim.SGD(layer.parameters(), lr=0.3)
        )
        if isinstance(optimizer, Kfac):
            optimizer.attach(layer)
        for _ in range(10):
            _pass(layer, inputs * factor, targets, 40)
            optimizer.step()
        return F.cross_entropy(layer(inputs * factor), targets).item()

    one = torch.ones(5).double()
    assert losses(scales, "kfac") == pytest.approx(losses(one, "kfac"), rel=1e-3)
    assert abs(losses(scales, "sgd") - losses(one, "sgd")) > 0.1
    assert losses(one, "kfac") < losses(one, "sgd")


def test_evaluation_passes_do_not_count() -> None:
    model = _perceptron()
    inputs, targets = _data()
    optimizer = Kfac(model.parameters(), lr=0.1)
    optimizer.attach(model)
    twin = copy.deepcopy(model)
    other = Kfac(twin.parameters(), lr=0.1)
    other.attach(twin)
    model.eval()
    _pass(model, 10 * inputs, targets, 12)
    model.train()
    with torch.no_grad():
        model(10 * inputs)
    for net, solver in ((model, optimizer), (twin, other)):
        _pass(net, inputs, targets, 12)
        solver.step()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_state_dict_round_trip_is_exact() -> None:
    inputs, targets = _data()
    models = [_perceptron().float(), _perceptron().float()]
    whole, first, second = (Kfac(model.parameters(), lr=0.1, invert_every=3) for model in [*models, models[1]])
    whole.attach(models[0])
    first.attach(models[1])
    for index in range(7):
        if index == 4:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
            first.detach()
            second.attach(models[1])
        for model, solver in ((models[0], whole), (models[1], first if index < 4 else second)):
            _pass(model, inputs.float(), targets, 12)
            solver.step()
    for mine, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_layers_that_share_a_weight_take_plain_momentum() -> None:
    net = OddNetwork()
    optimizer = Kfac(net.parameters(), lr=0.05)
    optimizer.attach(net)
    net.train_with(optimizer, 3)
    assert "inputs" not in optimizer.state[net.first.weight]
    assert optimizer.state[net.named.weight]["updates"] == 3


def test_a_bias_that_is_not_given_to_the_solver_stays() -> None:
    net = OddNetwork()
    before = net.named.bias.detach().clone()
    optimizer = Kfac([net.named.weight, net.last.weight], lr=0.05)
    optimizer.attach(net)
    losses = net.train_with(optimizer, 5)
    assert losses[-1] < losses[0]
    assert torch.equal(net.named.bias, before)


def test_large_layers_are_left_out_and_detach_removes_the_hooks() -> None:
    model = _perceptron()
    optimizer = Kfac(model.parameters(), lr=0.1, max_factor_dim=5)
    optimizer.attach(model)
    assert not model[0]._forward_hooks  # 5 inputs and a bias are 6
    assert len(model[3]._forward_hooks) == 1
    optimizer.detach()
    assert not model[3]._forward_hooks
    with pytest.raises(RuntimeError, match="attach"):
        optimizer.step()
    with pytest.raises(InputError, match="no layer"):
        Kfac(model.parameters(), lr=0.1, max_factor_dim=1).attach(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "momentum is 1"),
        ({"factor_decay": -1.0}, "factor_decay is -1"),
        ({"damping": 0.0}, "damping is 0"),
        ({"kl_clip": -1.0}, "kl_clip is -1"),
        ({"invert_every": 0}, "invert_every is 0"),
        ({"examples": 0}, "examples is 0"),
        ({"max_factor_dim": 0}, "max_factor_dim is 0"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(InputError, match=message):
        kfac(_perceptron().named_parameters(), lr=0.1, weight_decay=0.0, **options)


def test_half_precision_is_refused() -> None:
    with pytest.raises(InputError, match="fp32 or fp64"):
        kfac(_perceptron().bfloat16().named_parameters(), lr=0.1, weight_decay=0.0)
