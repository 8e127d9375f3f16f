"""Initial weights: as TensorFlow sets them, and, for any model, as a recipe asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from batchlimit.config import Initialization
from batchlimit.errors import InputError

_Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
_WEIGHTS: Mapping[Initialization, Callable[[Tensor], Tensor]] = {
    "glorot-uniform": nn.init.xavier_uniform_,
    "glorot-normal": nn.init.xavier_normal_,
    "he-uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "he-normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}


def glorot_uniform(module: nn.Module) -> None:
    """Set the weights of a convolution or dense layer uniform in +-sqrt(6 / (fan_in + fan_out)) and its bias to 0.

    For use with `nn.Module.apply`; other modules are left alone. Source: Glorot and Bengio, 2010, equation 16.
    """
    if isinstance(module, _Layer):
        _set(module, "glorot-uniform")


def initialize(model: nn.Module, name: Initialization) -> None:
    """Draw the weights of all trained convolutions and dense layers anew, from torch's generator.

    'torch' is each layer's own `reset_parameters`: weights and biases uniform in +-1/sqrt(fan_in). All others set
    biases to 0; 'he-uniform' and 'he-normal' have the gain of ReLU. Transposed convolutions, embeddings, norms and
    recurrent layers stay as the model set them, and so do weights that are not trained.

    Raises:
        InputError: there is no such layer, or one whose weights are computed of others (`weight_norm` and the like).
    """
    layers = [module for module in model.modules() if isinstance(module, _Layer)]
    computed = next((layer for layer in layers if not isinstance(layer.weight, nn.Parameter)), None)
    if computed is not None:
        raise InputError(
            f"recipe.initialization '{name}' cannot set a layer of {type(model).__name__} whose weights are computed "
            f"of others ({computed}). Valid: no recipe.initialization, or plain weights."
        )
    trained = [layer for layer in layers if layer.weight.requires_grad]
    if not trained:
        raise InputError(
            f"recipe.initialization is '{name}', and the model {type(model).__name__} has no trained convolution or "
            "dense layer. Valid: no recipe.initialization."
        )
    for layer in trained:
        _set(layer, name)


def differs_from_torchs(model: nn.Module) -> bool:
    """Return whether `initialize(model, 'torch')` is possible and draws other weights than a fresh `model` has.

    Told by the spread: torch's are uniform in +-1/sqrt(fan_in), biases too.
    """
    layers = [module for module in model.modules() if isinstance(module, _Layer)]
    if any(not isinstance(layer.weight, nn.Parameter) for layer in layers):
        return False
    return any(not _as_torchs(layer) for layer in layers if layer.weight.requires_grad)


def _as_torchs(layer: _Layer) -> bool:
    bound = (len(layer.weight) / layer.weight.numel()) ** 0.5
    inside = layer.weight.abs().max() <= bound * 1.001
    spread = layer.weight.square().mean().sqrt() * 3**0.5 / bound
    drawn = layer.bias is None or 0 < layer.bias.abs().max() <= bound * 1.001
    # The standard error of the spread of n uniform numbers is 0.45 / sqrt(n).
    return bool(inside and drawn and abs(spread - 1) < 2.5 / layer.weight.numel() ** 0.5)


def _set(layer: _Layer, name: Initialization) -> None:
    if name == "torch":
        layer.reset_parameters()
        return
    _WEIGHTS[name](layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
