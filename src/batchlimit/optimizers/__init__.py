"""Solvers: one file, one registered factory each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from batchlimit.registry import Registry


class SolverFactory(Protocol):
    """Makes an optimizer for named parameters; `options` are the recipe's solver_options."""

    def __call__(
        self, named_parameters: Iterable[tuple[str, nn.Parameter]], *, lr: float, weight_decay: float, **options: Any
    ) -> torch.optim.Optimizer: ...


solvers: Registry[SolverFactory] = Registry("solver", "batchlimit.optimizers")
