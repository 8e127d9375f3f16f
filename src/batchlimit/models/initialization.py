"""Initial weights as TensorFlow sets them."""

from __future__ import annotations

from torch import nn


def glorot_uniform(module: nn.Module) -> None:
    """Set the weights of a convolution or dense layer uniform in +-sqrt(6 / (fan_in + fan_out)) and its bias to 0.

    For use with `nn.Module.apply`; other modules are left alone. Source: Glorot and Bengio, 2010, equation 16.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
