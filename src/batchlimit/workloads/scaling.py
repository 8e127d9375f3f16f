"""Mapping stored bytes to what models take."""

from __future__ import annotations

from torch import Tensor


def to_unit_interval(images: Tensor) -> Tensor:
    """Return images of bytes 0..255 as floats in [0, 1]."""
    return images.float().div_(255.0)
