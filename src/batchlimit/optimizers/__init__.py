"""Solvers: one file, one registered factory each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from batchlimit.registry import Registry


class SolverFactory(Protocol):
    """Makes an optimizer: called with (named_parameters, *, lr: float, weight_decay: float, **options).

    `options` are the recipe's solver_options, explicit keyword arguments of each factory. (Typed loosely, because a
    protocol with both required and any further keyword arguments is one that no explicit signature fulfils.)
    """

    def __call__(
        self, named_parameters: Iterable[tuple[str, nn.Parameter]], *args: Any, **options: Any
    ) -> torch.optim.Optimizer: ...


solvers: Registry[SolverFactory] = Registry("solver", "batchlimit.optimizers")
