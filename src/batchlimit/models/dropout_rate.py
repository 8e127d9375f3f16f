"""The probability of a model's dropout, whatever model it is."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from batchlimit.errors import InputError

_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set the probability of all dropout in `model`: of dropout layers, and within attention and recurrent layers.

    Dropout that a model calls as a function stays. A recurrent layer drops between its own layers, if it has several.

    Raises:
        InputError: the model has none of these.
    """
    places = list(_places(model))
    if not places:
        raise InputError(
            f"recipe.dropout is {probability:g}, and the model {type(model).__name__} has no dropout layer to set. "
            "Valid: no recipe.dropout, or a model with dropout layers."
        )
    for module, name in places:
        setattr(module, name, probability)


def has_dropout(model: nn.Module) -> bool:
    """Return whether a layer of `model` drops anything in training."""
    return any(getattr(module, name) > 0 for module, name in _places(model))


def _places(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield the modules that drop, each with the name of its probability."""
    for module in model.modules():
        if isinstance(module, _LAYERS):
            yield module, "p"
        elif isinstance(module, nn.MultiheadAttention) or (isinstance(module, nn.RNNBase) and module.num_layers > 1):
            yield module, "dropout"
