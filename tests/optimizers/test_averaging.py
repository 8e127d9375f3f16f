"""Weight averages against numpy, and their swap."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

from batchlimit.errors import InputError
from batchlimit.optimizers.averaging import WeightAverage, decay_of_half_life


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def _walk(model: nn.Module, steps: int, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        model.train()(torch.randn(8, 3, generator=generator).double())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        yield {name: tensor.clone().numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize(("kind", "decay"), [("ema", 0.7), ("ema", 0.999), ("tail", 0.5)])
def test_the_average_is_the_weighted_mean_of_what_was_seen(kind, decay, start) -> None:
    model = _model()
    average = WeightAverage(model, kind, decay=decay, start=start)
    seen = []
    for state in _walk(model, 8):
        average.update()
        seen.append(state)
    kept = seen[start:]
    weights = np.array([decay ** (len(kept) - 1 - i) if kind == "ema" else 1.0 for i in range(len(kept))])
    weights /= weights.sum()
    with average.applied():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                assert tensor == 8
            else:
                expected = sum(w * state[name] for w, state in zip(weights, kept, strict=True))
                np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-10, atol=1e-12)
    for name, tensor in model.state_dict().items():
        assert np.array_equal(tensor.numpy(), seen[-1][name])


def test_the_weights_come_back_after_an_error_in_place() -> None:
    model = _model()
    average = WeightAverage(model, "tail")
    for _ in _walk(model, 3):
        average.update()
    before = [(tensor.data_ptr(), tensor.clone()) for tensor in model.parameters()]

    def evaluate() -> None:
        with average.applied():
            assert not torch.equal(next(model.parameters()), before[0][1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate()
    for tensor, (place, value) in zip(model.parameters(), before, strict=True):
        assert tensor.data_ptr() == place
        assert torch.equal(tensor, value)


def test_until_it_starts_it_is_the_last_weights() -> None:
    model = _model()
    average = WeightAverage(model, "ema", start=5)
    for _ in _walk(model, 3):
        average.update()
    last = next(model.parameters()).clone()
    with average.applied():
        assert torch.equal(next(model.parameters()), last)


def test_state_dict_round_trip() -> None:
    model, other = _model(), _model()
    whole, first = WeightAverage(model, decay=0.9), WeightAverage(other, decay=0.9)
    for _ in _walk(model, 6):
        whole.update()
    for index, _ in enumerate(_walk(other, 6)):
        if index == 3:
            file = io.BytesIO()
            torch.save(first.state_dict(), file)
            file.seek(0)
            first = WeightAverage(other, decay=0.9)
            first.load_state_dict(torch.load(file, weights_only=True))
        first.update()
    with whole.applied(), first.applied():
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_half_life() -> None:
    assert decay_of_half_life(7) ** 7 == pytest.approx(0.5)
    with pytest.raises(InputError, match="half-life of 0"):
        decay_of_half_life(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mean"}, "Unknown kind of average 'mean'"),
        ({"decay": 1.0}, "decay is 1"),
        ({"decay": 0.0}, "decay is 0"),
        ({"start": -1}, "start is -1"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(InputError, match=message):
        WeightAverage(_model(), **options)


def test_another_models_average_is_refused() -> None:
    saved = WeightAverage(nn.Linear(2, 2)).state_dict()
    with pytest.raises(InputError, match="another model"):
        WeightAverage(_model()).load_state_dict(saved)


@pytest.mark.parametrize(("kind", "expected"), [("ema", 1.634), ("tail", 1.5)])
def test_small_shares_of_bf16_weights_do_not_round_away(kind, expected) -> None:
    model = nn.Linear(2, 2).bfloat16()
    average = WeightAverage(model, kind, decay=0.999)
    for value in (1.0, 2.0):
        for _ in range(549):
            with torch.no_grad():
                model.weight.fill_(value)
            average.update()
    with average.applied():
        assert model.weight.dtype == torch.bfloat16
        torch.testing.assert_close(model.weight.float(), torch.full((2, 2), expected), rtol=0.005, atol=0)
