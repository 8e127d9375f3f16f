"""The shipped models: their sizes, their initial weights, their outputs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from batchlimit.errors import InputError
from batchlimit.models import models
from batchlimit.models.digits_cnn import DigitsCNN
from batchlimit.models.initialization import glorot_uniform
from batchlimit.models.lenet import LeNet
from batchlimit.models.lenet5 import LeNet5


def count(model: nn.Module) -> tuple[int, int]:
    return sum(p.numel() for p in model.parameters()), len(list(model.parameters()))


@pytest.mark.parametrize(
    ("name", "options", "size", "side"),
    [
        ("lenet", {}, (3_274_634, 8), 28),
        ("lenet5", {}, (61_706, 10), 28),
        ("digits_cnn", {}, (5_450, 4), 8),
        ("digits_cnn", {"norm": True}, (5_482, 5), 8),
    ],
)
def test_sizes(name: str, options: dict[str, bool], size: tuple[int, int], side: int) -> None:
    model = models.get(name)(**options)
    assert count(model) == size
    assert model(torch.rand(3, 1, side, side)).shape == (3, 10)


def test_unknown_model() -> None:
    with pytest.raises(InputError, match="Did you mean 'lenet'"):
        models.get("lenet6")


@pytest.mark.parametrize("make", [LeNet, LeNet5, DigitsCNN])
def test_weights_are_glorot_uniform_and_biases_zero(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    for module in make().modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            receptive = module.weight[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
            bound = math.sqrt(6 / (receptive * (module.weight.shape[0] + module.weight.shape[1])))
            largest = module.weight.abs().max().item()
            assert 0.85 * bound < largest <= bound
            assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
            assert not module.bias.any()


def test_glorot_leaves_other_modules_alone() -> None:
    norm = nn.BatchNorm2d(3)
    glorot_uniform(norm)
    assert torch.equal(norm.weight, torch.ones(3))
    convolution = nn.Conv2d(1, 1, 3, bias=False)
    glorot_uniform(convolution)
    assert convolution.bias is None


def test_lenet_is_tensorflows_network_layer_by_layer() -> None:
    """ReLU before pooling, as TensorFlow's code has it, gives the same logits and the same gradients."""
    torch.manual_seed(0)
    model = LeNet().double().eval()
    weights = [p.detach().clone().requires_grad_() for p in model.parameters()]
    images, labels = torch.rand(4, 1, 28, 28, dtype=torch.float64), torch.tensor([1, 2, 3, 4])
    hidden = F.max_pool2d(F.relu(F.conv2d(images, weights[0], weights[1], padding="same")), 2, 2)
    hidden = F.max_pool2d(F.relu(F.conv2d(hidden, weights[2], weights[3], padding="same")), 2, 2)
    hidden = F.relu(F.linear(hidden.reshape(4, 7 * 7 * 64), weights[4], weights[5]))
    expected = F.linear(hidden, weights[6], weights[7])
    outputs = model(images)
    torch.testing.assert_close(outputs, expected)
    F.cross_entropy(outputs, labels).backward()
    F.cross_entropy(expected, labels).backward()
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        torch.testing.assert_close(parameter.grad, weight.grad)


def test_lenet_drops_out_before_the_last_layer_in_training_alone() -> None:
    torch.manual_seed(0)
    model = LeNet()
    images = torch.rand(2, 1, 28, 28)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
    assert model.classifier[2].p == 0.4
