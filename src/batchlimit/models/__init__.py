"""Models: one file each, registered by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from batchlimit.registry import Registry

models: Registry[Callable[..., nn.Module]] = Registry("model", "batchlimit.models")
