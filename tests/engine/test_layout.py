"""Channels-last changes the speed and not the result, and models that cannot take it stay as they were."""

from __future__ import annotations

import torch
from small_training import (
    CLASSES,
    CPU,
    FEATURES,
    config,
    convolutional,
    distance,
    gradient,
    halved,
    images,
    prepared,
    workload,
)
from torch import Tensor, nn

from batchlimit.engine import Execution, run
from batchlimit.engine.layout import Layout, choose_layout


class Viewing(nn.Module):
    """A convolution whose maps are viewed as rows, which channels-last tensors refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, 4, 3)
        self.last = nn.Linear(4 * 36, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(self.maps(pixels).view(len(pixels), -1))


def is_channels_last(model: nn.Module) -> bool:
    """Whether the (only or last) convolution of several input channels, or of one, lies in channels-last."""
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return layers[-1].weight.is_contiguous(memory_format=torch.channels_last)


def test_channels_last_is_chosen_and_gives_the_same_gradient() -> None:
    training = prepared(config(batch_size=60), workload(convolutional), 60)
    assert training.layout.memory_format == torch.channels_last
    assert is_channels_last(training.model)
    batch = training.stream.batch(0)
    found = gradient(training.accumulate, 0, batch)

    plain = convolutional()
    plain.load_state_dict(training.model.state_dict())
    plain.to(memory_format=torch.contiguous_format)
    inputs, targets = training.examples.train.gather(batch)
    nn.functional.cross_entropy(plain.train()(halved(inputs)), targets).backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None])
    assert distance(found, expected) < 1e-5


def test_a_model_that_views_its_maps_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = Viewing().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layout = choose_layout(model, workload(Viewing, pictures=True), images(10), CPU)
    assert layout.memory_format == torch.contiguous_format
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.is_contiguous()
    assert model(layout(images(10).inputs)).shape == (10, 4)


def test_choosing_moves_neither_statistics_nor_mode() -> None:
    model = convolutional().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    choose_layout(model, workload(convolutional), images(10), CPU)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_without_convolutions_and_other_inputs_pass_unchanged() -> None:
    training = prepared(config(), workload())
    assert training.layout.memory_format == torch.contiguous_format
    rows = torch.randn(5, 6)
    assert Layout(workload(), torch.channels_last)(rows) is rows


def test_inputs_are_prepared_then_laid_out() -> None:
    maps = torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8)
    laid = Layout(workload(convolutional), torch.channels_last)(maps)
    assert laid.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(laid, maps.float() / 255)


class Named(nn.Module):
    """A model whose inputs come by name."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(FEATURES, CLASSES)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.last(batch["points"])


def test_what_is_prepared_into_a_dictionary_reaches_the_model_as_it_is() -> None:
    named = workload(Named, prepare=lambda points: {"points": points})
    plain = workload(lambda: nn.Linear(FEATURES, CLASSES))
    by_name, by_place = (run(config(), workload=each, execution=Execution(device="cpu")) for each in (named, plain))
    assert (by_name.status, by_name.test) == ("complete", by_place.test)
