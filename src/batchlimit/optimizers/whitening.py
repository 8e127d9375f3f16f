"""Whitening by a layer's measured inputs: a step bounded by how far it moves the layer's outputs, not its weights.

With A = E[a a^T] of a layer's inputs a, a weight update D moves its outputs by E||D a||^2 = ||D A^(1/2)||_F^2. Of all D
with ||D A^(1/2)|| <= 1 in the spectral norm, D = -polar(G A^(-1/2)) A^(-1/2) lowers the linearized loss the most, as
D = -polar(G) does where ||D|| <= 1: orthogonalization, between two changes of basis. Where inputs share a large mean,
as images and the outputs of ReLUs do, plain orthogonalization spends its bound on that one direction.

Source: derived here, from steepest descent under operator norms (Bernstein and Newhouse, 2024, arXiv 2409.20325) with
the norm of the inputs as measured; gradients times A^-1: Benzing, 2022 (arXiv 2201.12250). Others whiten Muon by the
gradients' statistics, or equilibrate them (Chang et al., 2026, arXiv 2603.28254).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from batchlimit.errors import InputError
from batchlimit.optimizers.checks import check_counts
from batchlimit.optimizers.kronecker_factors import PassStatistics, cholesky, factored_layers, input_rows, with_gram
from batchlimit.optimizers.wide_state import wide


class Whitening:
    """Gathers A of a model's layers during a step's passes, and gives for each weight a root of it.

    `examples` of every 256 of a batch enter A. `damping` times the mean of A's diagonal is added to that; as it grows,
    whitening fades; below about 0.01, in fp32, rounding shows where inputs are fewer than the layer's width. Weights of
    layers with more than `max_dim` inputs, and those that are used in no linear layer or ungrouped 2-D convolution, or
    in several, have no root. Nothing outlives a step: A is that of its batch.

    Raises:
        InputError: an option out of its range.
    """

    def __init__(self, *, damping: float, examples: int, max_dim: int) -> None:
        if not 0.0 < damping < math.inf:
            raise InputError(f"muon's damping is {damping:g}. Valid: above 0.")
        check_counts("muon", examples=examples, max_factor_dim=max_dim)
        self.damping = damping
        self.examples = examples
        self.max_dim = max_dim
        self._moments: dict[Tensor, InputMoment] | None = None

    def attach(self, model: nn.Module, weights: Iterable[Tensor]) -> None:
        """Watch from now on the inputs of the layers of `model` that have one of `weights`.

        Raises:
            InputError: there is no such layer of at most `max_dim` inputs.
        """
        self.detach()
        small = [layer for layer in factored_layers(model, weights) if layer.weight[0].numel() <= self.max_dim]
        if not small:
            raise InputError(
                "muon found no layer whose inputs to whiten. Valid: a model with nn.Linear or ungrouped nn.Conv2d "
                f"layers of at most {self.max_dim} inputs (max_factor_dim), or whiten = false."
            )
        self._moments = {layer.weight: InputMoment(layer, self.examples) for layer in small}

    def detach(self) -> None:
        """Take the hooks off the model."""
        for moment in (self._moments or {}).values():
            moment.handle.remove()
        self._moments = None

    def root(self, weight: Tensor) -> Tensor | None:
        """Return lower triangular L (in, in), L L^T the damped A of the passes since the last call; None without any.

        Raises:
            RuntimeError: no model is attached.
        """
        if self._moments is None:
            raise RuntimeError("muon with whiten = true sees no model: call optimizer.attach(model) before the passes.")
        gathered = self._moments.get(weight)
        if gathered is None or (moment := gathered.mean()) is None:
            return None
        gathered.clear()
        mean = moment.diagonal().mean().clamp(min=torch.finfo(moment.dtype).tiny)
        moment.diagonal().add_(self.damping * mean)
        return cholesky(moment)


class InputMoment(PassStatistics):
    """The mean of a a^T over a step's examples and positions, a what the layer's weight multiplies: (in, in)."""

    def clear(self) -> None:
        """Forget the sum."""
        super().clear()
        self._rows = 0
        self._sum: Tensor | None = None

    def mean(self) -> Tensor | None:
        """Return A of the passes since the last `clear`, in fp32 at least; None if there was no backward pass."""
        return None if self._sum is None else self._sum / self._rows

    def _add(self, activations: Tensor, gradient: Tensor) -> None:
        kept = activations.to(wide(self.layer.weight.dtype))
        rows = input_rows(self.layer, kept, with_bias=False).flatten(0, 1)
        self._rows += len(rows)
        self._sum = with_gram(self._sum, rows)


def whitened(matrix: Tensor, root: Tensor) -> Tensor:
    """Return matrix L^-T for a gradient (out, in) and L = `root`: A^(-1/2) up to a rotation, which takes itself out."""
    found: Tensor = torch.linalg.solve_triangular(root.mT, matrix, upper=True, left=False)
    return found


def unwhitened(matrix: Tensor, root: Tensor) -> Tensor:
    """Return matrix L^-1 for a whitened direction (out, in) and L = `root`."""
    found: Tensor = torch.linalg.solve_triangular(root, matrix, upper=False, left=False)
    return found
