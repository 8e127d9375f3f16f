"""Masks that depend on the place in the batch alone, and are otherwise as random as a generator's."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from batchlimit.models import randomness
from batchlimit.models.keyed_dropout import ConvertedDropout, KeyedDropout, convert_dropout

SEED = 11


def mask(start: int, stop: int, *, features: int = 16, step: int = 5, seed: int = SEED, p: float = 0.4) -> Tensor:
    with randomness.at(seed=seed, step=step, start=start, stop=stop):
        return KeyedDropout(p)(torch.ones(stop - start, features))


@given(cuts=st.lists(st.integers(1, 149), max_size=6, unique=True))
@settings(max_examples=25, deadline=None)
def test_any_cut_of_a_batch_draws_the_same_masks(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 150]
    parts = [mask(start, stop) for start, stop in pairwise(edges)]
    assert torch.equal(torch.cat(parts), mask(0, 150))


def test_two_layers_of_a_model_and_their_gradients() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), KeyedDropout(0.5), nn.Linear(32, 32), KeyedDropout(0.2), nn.Linear(32, 1))
    model = model.double()
    inputs = torch.randn(40, 6, dtype=torch.float64)
    gradients = []
    for size in (40, 8, 1):
        model.zero_grad()
        for start in range(0, 40, size):
            with randomness.at(seed=1, step=0, start=start, stop=start + size):
                model(inputs[start : start + size]).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


def test_seed_step_call_and_position_each_change_the_mask() -> None:
    base = mask(0, 64)
    assert torch.equal(base, mask(0, 64))
    others = [mask(0, 64, seed=SEED + 1), mask(0, 64, step=6), mask(64, 128)]
    with randomness.at(seed=SEED, step=5, start=0, stop=64):
        first, second = (KeyedDropout(0.4)(torch.ones(64, 16)) for _ in range(2))
    assert torch.equal(first, base)
    for other in [*others, second]:
        # Independent masks agree in 0.6^2 + 0.4^2 = 52 % of 1024 places, give or take 1.6.
        assert (other == base).float().mean() == pytest.approx(0.52, abs=0.07)


@pytest.mark.parametrize("p", [0.1, 0.4, 0.9])
def test_frequencies_and_scale(p: float) -> None:
    drawn = mask(0, 2000, features=500, p=p)
    kept = drawn > 0
    # One million draws: five standard errors.
    assert kept.double().mean().item() == pytest.approx(1 - p, abs=5 * (p * (1 - p) / 1e6) ** 0.5)
    torch.testing.assert_close(drawn[kept], torch.full_like(drawn[kept], 1 / (1 - p)))
    rows, columns = kept.double().mean(1), kept.double().mean(0)
    assert rows.std().item() == pytest.approx((p * (1 - p) / 500) ** 0.5, rel=0.1)
    assert columns.std().item() == pytest.approx((p * (1 - p) / 2000) ** 0.5, rel=0.2)


def test_neighbours_are_uncorrelated() -> None:
    kept = (mask(0, 1000, features=1000, p=0.5) > 0).double() - 0.5
    for other in (kept.roll(1, 0), kept.roll(1, 1), kept.roll((1, -1), (0, 1)), kept.flip(0), kept.t()):
        assert abs((kept * other).mean().item() * 4) < 5e-3


def test_steps_are_uncorrelated_for_one_element() -> None:
    series = torch.stack([mask(3, 4, features=8, step=step, p=0.5)[0] > 0 for step in range(4000)]).double() - 0.5
    assert abs((series[1:] * series[:-1]).mean().item() * 4) < 0.03
    assert (series.mean(0) * 2).abs().max().item() < 0.09


def test_rows_of_one_example_stay_together() -> None:
    """A model that folds 3 rows of each example into dimension 0 still draws by example."""
    layer = KeyedDropout(0.5)
    with randomness.at(seed=1, step=0, start=0, stop=4):
        whole = layer(torch.ones(12, 5))
    with randomness.at(seed=1, step=0, start=2, stop=4):
        assert torch.equal(layer(torch.ones(6, 5)), whole[6:])
    with randomness.at(seed=1, step=0, start=0, stop=4), pytest.raises(ValueError, match="5 rows"):
        layer(torch.ones(5, 5))


def test_without_a_place_it_is_ordinary_dropout() -> None:
    inputs = torch.ones(100, 10)
    torch.manual_seed(3)
    ours = KeyedDropout(0.3)(inputs)
    torch.manual_seed(3)
    assert torch.equal(ours, nn.Dropout(0.3)(inputs))


def test_evaluation_and_the_ends_of_the_range() -> None:
    inputs = torch.ones(4, 3)
    with randomness.at(seed=1, step=0, start=0, stop=4):
        assert torch.equal(KeyedDropout(0.5).eval()(inputs), inputs)
        assert torch.equal(KeyedDropout(0.0)(inputs), inputs)
        assert torch.equal(KeyedDropout(1.0)(inputs), torch.zeros(4, 3))
        assert torch.equal(KeyedDropout(1e-12)(inputs), inputs)


def test_places_nest_and_end() -> None:
    outer = randomness.at(seed=1, step=0, start=0, stop=4)
    with outer:
        with randomness.at(seed=2, step=0, start=0, stop=2) as inner:
            assert randomness.current() is inner
        assert randomness.current() is outer
    assert randomness.current() is None


def test_half_precision_keeps_its_type() -> None:
    with randomness.at(seed=1, step=0, start=0, stop=4):
        assert KeyedDropout(0.5)(torch.ones(4, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_in_place_it_changes_its_input(p: float) -> None:
    layer, inputs = KeyedDropout(p, inplace=True), torch.ones(4, 3)
    assert torch.equal(layer.eval()(inputs), torch.ones(4, 3))
    with randomness.at(seed=1, step=0, start=0, stop=4):
        expected = KeyedDropout(p)(inputs)
    with randomness.at(seed=1, step=0, start=0, stop=4):
        assert layer.train()(inputs) is inputs
    assert torch.equal(inputs, expected)


def test_a_model_s_own_plain_dropout_becomes_keyed_and_no_other() -> None:
    class Own(nn.Dropout):
        pass

    shared, calls = nn.Dropout(0.4, inplace=True), []
    shared.register_forward_hook(lambda *call: calls.append(1))
    model = nn.Sequential(shared, nn.Sequential(shared, nn.Dropout2d()), Own(), nn.AlphaDropout(), KeyedDropout())
    assert convert_dropout(model) is model
    assert [type(module) for module in model.modules() if not isinstance(module, nn.Sequential)] == [
        ConvertedDropout,
        nn.Dropout2d,
        Own,
        nn.AlphaDropout,
        KeyedDropout,
    ]
    assert model[0] is model[1][0] is shared
    assert (shared.p, shared.inplace) == (0.4, True)
    with randomness.at(seed=SEED, step=5, start=0, stop=64):
        assert torch.equal(shared(torch.ones(64, 16)), mask(0, 64))
    assert calls == [1]
    assert isinstance(convert_dropout(nn.Dropout(0.5)), KeyedDropout)


def test_a_converted_one_takes_rows_that_are_not_the_examples_as_torch_does() -> None:
    layer, inputs = convert_dropout(nn.Dropout(0.3)), torch.ones(5, 4, 10)  # time steps first
    with randomness.at(seed=1, step=0, start=0, stop=4):
        torch.manual_seed(3)
        found = layer(inputs)
    torch.manual_seed(3)
    assert torch.equal(found, nn.Dropout(0.3)(inputs))
