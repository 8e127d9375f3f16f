"""Noise in its four places: how much, where, when, reproducible, and gone when it should be."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from batchlimit.errors import InputError
from batchlimit.models import randomness
from batchlimit.models.noise import (
    ActivationNoise,
    add_gradient_noise_,
    flipped_targets,
    noise_std,
    noisy_targets,
    normal_like,
    weight_noise,
)


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10))


def _images(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def _place(start: int, stop: int, step: int = 0, seed: int = 3) -> randomness.at:
    return randomness.at(seed=seed, step=step, start=start, stop=stop)


def test_decay() -> None:
    assert [noise_std(2.0, step, 10) for step in (0, 9)] == [2.0, 2.0]
    assert [noise_std(2.0, step, 10, decay="linear") for step in (0, 5, 10, 12)] == [2.0, 1.0, 0.0, 0.0]
    assert noise_std(2.0, 0, 10, decay="power") == 2.0
    assert noise_std(2.0, 15, 99, decay="power", power=1.0) == pytest.approx(0.5)
    assert noise_std(1.0, 7, 99, decay="power") ** 2 == pytest.approx(1 / 8**0.55)
    with pytest.raises(InputError, match="Did you mean 'linear'"):
        noise_std(1.0, 0, 1, decay="linea")


def test_normal_numbers_are_normal() -> None:
    with _place(0, 400):
        values = normal_like(torch.empty(400, 500)).double()
    assert stats.kstest(values.flatten().numpy(), "norm").pvalue > 1e-3
    assert values.isfinite().all()
    rows, columns = values.mean(1), values.mean(0)
    assert rows.std() == pytest.approx(500**-0.5, rel=0.15)
    assert columns.std() == pytest.approx(400**-0.5, rel=0.15)


def test_normal_numbers_depend_on_the_place_alone() -> None:
    with _place(0, 8):
        whole = [normal_like(torch.empty(8, 5)), normal_like(torch.empty(8, 5))]
    with _place(3, 8):
        part = [normal_like(torch.empty(5, 5)), normal_like(torch.empty(5, 5))]
    assert torch.equal(whole[0][3:], part[0])
    assert torch.equal(whole[1][3:], part[1])
    assert not torch.equal(whole[0], whole[1])
    for other in (_place(0, 8, step=1), _place(0, 8, seed=4)):
        with other:
            assert not torch.equal(normal_like(torch.empty(8, 5)), whole[0])
    torch.manual_seed(5)
    outside = normal_like(torch.empty(4))
    torch.manual_seed(5)
    assert torch.equal(outside, torch.randn(4))


def test_activation_noise_has_its_size_on_every_layer() -> None:
    model = _model()
    clean, noisy = {}, {}
    images = _images(400)
    with ActivationNoise(model, 0.5), _place(0, 400):  # its hooks come first, so these see what they return
        seen = noisy
        handles = [model[i].register_forward_hook(lambda _, __, out, i=i: seen.update({i: out})) for i in (0, 3)]
        model(images)
    seen = clean
    model(images)
    for handle in handles:
        handle.remove()
    first = (noisy[0] - clean[0]).flatten()
    assert first.std().item() == pytest.approx(0.5, rel=0.02)
    assert first.mean().item() == pytest.approx(0.0, abs=0.01)
    own = noisy[3] - F.linear(F.relu(noisy[0]).flatten(1), model[3].weight, model[3].bias)
    assert own.std().item() == pytest.approx(0.5, rel=0.05)


def test_activation_noise_is_the_same_through_micro_batches() -> None:
    model, images = _model(), _images()
    with ActivationNoise(model, 0.3):
        with _place(0, 6):
            whole = model(images)
        parts = []
        for start, stop in ((0, 2), (2, 3), (3, 6)):
            with _place(start, stop):
                parts.append(model(images[start:stop]))
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not torch.allclose(whole, model(images))


def test_activations_whose_rows_are_no_examples_have_noise_of_torch_s_generator() -> None:
    layer, steps_first = nn.Linear(4, 4), torch.randn(6, 5, 4)
    with ActivationNoise(layer, 0.1), _place(0, 5):
        torch.manual_seed(2)
        noisy = layer(steps_first)
        torch.manual_seed(2)
        assert torch.equal(layer(steps_first), noisy)
        assert not torch.equal(layer(steps_first), noisy)
    assert (noisy - layer(steps_first)).std().item() == pytest.approx(0.1, rel=0.3)


def test_activation_noise_is_for_training_only_and_can_be_turned_off() -> None:
    model, images = _model(), _images()
    clean = model(images)
    noise = ActivationNoise(model, 1.0)
    assert not torch.equal(model(images), clean)
    assert torch.equal(model.eval()(images), clean)
    model.train()
    noise.std = 0.0
    assert torch.equal(model(images), clean)
    noise.std = 1.0
    noise.remove()
    assert torch.equal(model(images), clean)
    with pytest.raises(InputError, match="no layer"):
        ActivationNoise(nn.ReLU(), 1.0)


def test_weight_noise_is_put_back_exactly() -> None:
    model = _model()
    before = copy.deepcopy(model.state_dict())
    places = [parameter.data_ptr() for parameter in model.parameters()]
    with weight_noise(model.parameters(), 0.1, seed=1, step=2):
        difference = torch.cat([(p - before[name]).flatten() for name, p in model.named_parameters()]).detach()
        model(_images()).sum().backward()
    assert difference.std().item() == pytest.approx(0.1, rel=0.05)
    assert difference.mean().item() == pytest.approx(0.0, abs=0.01)
    for (name, parameter), place in zip(model.named_parameters(), places, strict=True):
        assert torch.equal(parameter, before[name])
        assert parameter.data_ptr() == place


def test_the_gradient_is_that_at_the_disturbed_weights() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    with weight_noise([weight], 0.3, seed=1, step=0):
        disturbed = weight.detach().clone()
        (0.5 * weight.square()).sum().backward()
    assert torch.equal(weight.grad, disturbed)
    assert not torch.equal(disturbed, weight.detach())


def test_weight_noise_is_put_back_after_an_error_and_frozen_weights_stay() -> None:
    free, frozen = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3), requires_grad=False)

    def fails() -> None:
        with weight_noise([free, frozen], 1.0, seed=0, step=0):
            assert (frozen == 0).all()
            assert (free != 0).all()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert (free == 0).all()


def _disturbance(seed: int, step: int) -> torch.Tensor:
    weight = nn.Parameter(torch.zeros(50))
    with weight_noise([weight], 1.0, seed=seed, step=step):
        return weight.detach().clone()


def test_noise_on_weights_is_seeded() -> None:
    assert torch.equal(_disturbance(1, 2), _disturbance(1, 2))
    others = [_disturbance(1, 2), _disturbance(1, 3), _disturbance(2, 2), _disturbance(2, 1)]
    for index, one in enumerate(others):
        assert not any(torch.equal(one, other) for other in others[:index])


def test_gradient_noise() -> None:
    parameters = [nn.Parameter(torch.zeros(100, 100)), nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(50))]
    parameters[0].grad, parameters[2].grad = torch.ones(100, 100), torch.ones(50)
    twins = copy.deepcopy(parameters)
    for twin, parameter in zip(twins, parameters, strict=True):
        twin.grad = None if parameter.grad is None else parameter.grad.clone()
    add_gradient_noise_(parameters, 0.2, seed=1, step=5)
    add_gradient_noise_(twins, 0.2, seed=1, step=5)
    assert parameters[0].grad.mean().item() == pytest.approx(1.0, abs=0.01)
    assert parameters[0].grad.std().item() == pytest.approx(0.2, rel=0.05)
    assert parameters[1].grad is None
    assert torch.equal(parameters[2].grad, twins[2].grad)
    before = parameters[2].grad.clone()
    add_gradient_noise_(parameters, 0.0, seed=1, step=6)
    assert torch.equal(parameters[2].grad, before)
    add_gradient_noise_(parameters, 0.2, seed=1, step=6)
    assert not torch.equal(parameters[2].grad, before)


def test_noisy_class_labels() -> None:
    targets = torch.arange(4000) % 10
    with _place(0, 4000):
        noisy = noisy_targets(targets, 0.3, 10)
    noise = noisy - F.one_hot(targets, 10)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)
    assert F.cross_entropy(torch.randn(4000, 10), noisy).isfinite()
    exact = noisy_targets(targets, 0.0, 10)
    logits = torch.randn(4000, 10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(F.cross_entropy(logits, exact), F.cross_entropy(logits, targets))
    with _place(7, 20):
        assert torch.equal(noisy_targets(targets[7:20], 0.3, 10), noisy[7:20])
    with pytest.raises(InputError, match="number of classes"):
        noisy_targets(targets, 0.3)


def test_noisy_real_targets_keep_their_shape() -> None:
    targets = torch.ones(2000, 3)
    noisy = noisy_targets(targets, 0.5)
    assert noisy.shape == targets.shape
    assert (noisy - targets).std().item() == pytest.approx(0.5, rel=0.05)
    assert (targets == 1).all()


@pytest.mark.parametrize("keyed", [False, True])
def test_flipped_labels(keyed) -> None:
    targets = torch.full((20000,), 3)
    torch.manual_seed(0)
    if keyed:
        with _place(0, 20000):
            flipped = flipped_targets(targets, 0.3, 5)
        with _place(5, 105):
            assert torch.equal(flipped_targets(targets[5:105], 0.3, 5), flipped[5:105])
    else:
        flipped = flipped_targets(targets, 0.3, 5)
    counts = torch.bincount(flipped, minlength=5).double() / 20000
    assert counts[3].item() == pytest.approx(0.7, abs=0.01)
    for other in (0, 1, 2, 4):
        assert counts[other].item() == pytest.approx(0.075, abs=0.01)
    assert torch.equal(flipped_targets(targets, 0.0, 5), targets)
    assert (flipped_targets(targets, 1.0, 5) != 3).all()


@pytest.mark.parametrize("std", [-0.1, math.inf, math.nan])
def test_bad_sizes_are_named(std) -> None:
    with pytest.raises(InputError, match="standard deviation"):
        noise_std(std, 0, 10)
    with pytest.raises(InputError, match="standard deviation"):
        ActivationNoise(_model(), std)
    with pytest.raises(InputError, match="standard deviation"):
        add_gradient_noise_([], std, seed=0, step=0)
    with pytest.raises(InputError, match="standard deviation"):
        noisy_targets(torch.zeros(3), std)
    with pytest.raises(InputError, match="standard deviation"), weight_noise([], std, seed=0, step=0):
        pass


def test_bad_flips_are_named() -> None:
    with pytest.raises(InputError, match=r"flipped label is 1\.5"):
        flipped_targets(torch.zeros(3, dtype=torch.long), 1.5, 10)
    with pytest.raises(InputError, match="cannot flip"):
        flipped_targets(torch.zeros(3, dtype=torch.long), 0.5, 1)
