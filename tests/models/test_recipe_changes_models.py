"""What a recipe changes in any model: the initial weights of its layers and the probability of its dropout."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from batchlimit.config import Initialization
from batchlimit.errors import InputError
from batchlimit.models.dropout_rate import has_dropout, set_dropout
from batchlimit.models.initialization import differs_from_torchs, initialize
from batchlimit.models.keyed_dropout import KeyedDropout, convert_dropout

NAMES = get_args(Initialization)
# The standard deviation of the weights, of fan in, fan out and the number of rows.
STD = {
    "torch": lambda into, out, rows: 1 / math.sqrt(3 * into),
    "glorot-uniform": lambda into, out, rows: math.sqrt(2 / (into + out)),
    "glorot-normal": lambda into, out, rows: math.sqrt(2 / (into + out)),
    "he-uniform": lambda into, out, rows: math.sqrt(2 / into),
    "he-normal": lambda into, out, rows: math.sqrt(2 / into),
    "orthogonal": lambda into, out, rows: math.sqrt(1 / rows),  # orthonormal columns: all are higher than wide
}


def layers() -> dict[str, tuple[nn.Module, int, int]]:
    """Layers with their fan in and fan out."""
    return {
        "dense": (nn.Linear(80, 120), 80, 120),
        "1d": (nn.Conv1d(16, 90, 5), 80, 450),
        "2d": (nn.Conv2d(8, 96, 3), 72, 864),
        "3d": (nn.Conv3d(3, 100, 3), 81, 2700),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", list(layers()))
def test_spread_and_biases_of_each_initialization(name: Initialization, kind: str) -> None:
    torch.manual_seed(0)
    layer, into, out = layers()[kind]
    nn.init.constant_(layer.weight, 7.0)
    nn.init.constant_(layer.bias, 7.0)
    initialize(nn.Sequential(layer), name)
    expected = STD[name](into, out, len(layer.weight))
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert abs(layer.weight.mean().item()) < 0.05 * expected
    # A normal distribution of some 7,000 numbers reaches three standard deviations; a uniform ends at the root of 3.
    reach = layer.weight.abs().max().item() / layer.weight.std().item()
    assert reach < 1.8 if name in ("torch", "glorot-uniform", "he-uniform") else reach > 2.5
    largest = layer.bias.abs().max().item()
    assert 0.8 / math.sqrt(into) < largest <= 1 / math.sqrt(into) if name == "torch" else largest == 0


def test_orthogonal_is() -> None:
    layer = nn.Conv2d(4, 20, 2)
    initialize(layer, "orthogonal")
    matrix = layer.weight.detach().flatten(1)
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(16))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", list(layers()))
def test_whether_weights_are_torch_s_is_told_by_the_weights(name: Initialization, kind: str) -> None:
    layer, _, _ = layers()[kind]
    for bias in (True, False):
        if not bias:
            layer.bias = None
        initialize(layer, name)
        assert differs_from_torchs(layer) == (name != "torch")


def test_weights_that_are_not_a_recipe_s_to_set_do_not_differ() -> None:
    frozen = nn.Linear(20, 20)
    frozen.weight.requires_grad_(False).fill_(1.0)
    for model in (frozen, nn.LayerNorm(3), nn.Linear(2, 2), nn.utils.parametrizations.weight_norm(nn.Linear(20, 20))):
        assert not differs_from_torchs(model)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_draws_the_same_weights(name: Initialization) -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        initialize(model, name)
        drawn.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*drawn)
    assert drawn[0].abs().sum() > 0


def test_other_layers_and_frozen_weights_stay() -> None:
    others = [nn.Embedding(5, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.ConvTranspose2d(3, 4, 2), nn.LSTM(4, 4)]
    frozen = nn.Linear(4, 4)
    frozen.weight.requires_grad_(False)
    model = nn.ModuleList([*others, frozen, nn.Linear(4, 3)])
    before = [parameter.detach().clone() for parameter in model.parameters()]
    initialize(model, "he-normal")
    changed = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert changed == [False] * (len(before) - 2) + [True, True]


@pytest.mark.parametrize("computed", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_computed_weights_and_models_without_layers_are_refused(computed: object) -> None:
    with pytest.raises(InputError, match=r"weights are computed of others .*Linear"):
        initialize(nn.Sequential(nn.Linear(2, 2), computed(nn.Linear(3, 3))), "torch")  # type: ignore[operator]
    with pytest.raises(InputError, match="LayerNorm has no trained convolution or dense layer"):
        initialize(nn.LayerNorm(3), "torch")


@given(p=st.floats(0, 0.99))
@settings(max_examples=20, deadline=None)
def test_every_dropout_layer_gets_the_probability(p: float) -> None:
    kinds = [nn.Dropout(0.1), KeyedDropout(0.9), nn.Dropout1d(), nn.Dropout2d(0.3), nn.Dropout3d(), nn.AlphaDropout()]
    model = convert_dropout(nn.Sequential(*kinds, nn.Sequential(nn.FeatureAlphaDropout(), nn.Linear(2, 2))))
    set_dropout(model, p)
    assert {m.p for m in model.modules() if hasattr(m, "p")} == {p}
    assert has_dropout(model) == (p > 0)


def test_dropout_within_attention_and_recurrent_layers() -> None:
    block = nn.TransformerEncoderLayer(8, 2, dropout=0.3)
    recurrent = nn.LSTM(4, 4, num_layers=2, dropout=0.5)
    model = nn.ModuleList([block, recurrent, nn.GRU(4, 4)])
    assert has_dropout(block)
    assert has_dropout(recurrent)
    set_dropout(model, 0.0)
    assert (block.self_attn.dropout, block.dropout1.p, recurrent.dropout) == (0.0, 0.0, 0.0)
    assert not has_dropout(model)
    inputs = torch.randn(3, 5, 8)
    assert torch.equal(block(inputs), block(inputs))
    # With a single layer there is nothing between layers to drop.
    with pytest.raises(InputError, match="no dropout layer"):
        set_dropout(nn.GRU(4, 4), 0.2)


def test_a_model_without_dropout_is_refused() -> None:
    with pytest.raises(InputError, match=r"recipe\.dropout is 0\.2, and the model Linear has no dropout layer"):
        set_dropout(nn.Linear(2, 2), 0.2)
    assert not has_dropout(nn.Linear(2, 2))
