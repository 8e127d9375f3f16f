"""The probability of a model's dropout layers, whatever model it is."""

from __future__ import annotations

from torch import nn

from batchlimit.errors import InputError

_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set the probability of every dropout layer of `model`.

    Layers are modules: dropout that a model calls as a function, or that lies within an attention layer, stays.

    Raises:
        InputError: the model has no dropout layer.
    """
    layers = [module for module in model.modules() if isinstance(module, _LAYERS)]
    if not layers:
        raise InputError(
            f"recipe.dropout is {probability:g}, and the model {type(model).__name__} has no dropout layer to set. "
            "Valid: no recipe.dropout, or a model with dropout layers."
        )
    for layer in layers:
        layer.p = probability


def has_dropout(model: nn.Module) -> bool:
    """Return whether a dropout layer of `model` drops anything in training."""
    return any(module.p > 0 for module in model.modules() if isinstance(module, _LAYERS))
