"""Newton-Schulz orthogonalization: all singular values of a matrix moved to about 1, by matrix products alone."""

from __future__ import annotations

import torch
from torch import Tensor

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients a, b, c of s -> a s + b s^3 + c s^5, steep at 0: five steps bring singular values to 0.7..1.2."""
GRAM_STEPS = 5
"""Steps on one Gram matrix: each multiplies the rounding error in its null space by a^2 = 12, a sixth starts anew."""


def orthogonalize(matrices: Tensor, *, steps: int = 5, eps: float = 1e-7) -> Tensor:
    """Return U S' V^T for `matrices` = U S V^T, S' near 1, after `steps` Newton-Schulz steps.

    `matrices` is (..., rows, columns) and each is treated alone; the arithmetic is in its dtype. They are first divided
    by their Frobenius norm (at least `eps`), so above that the result does not depend on their scale; `steps` = 0
    returns that. The iteration runs on the small side. Where one side is more than about twice the other it runs on the
    Gram matrix X X^T of the small side and touches the large one twice only, which is the same polynomial for fewer
    operations.

    Source: Jordan et al., 2024 (kellerjordan.github.io/posts/muon), 'Newton-Schulz'; Bernstein and Newhouse, 2024
    (arXiv 2409.20325), section 3.
    """
    rows, columns = matrices.shape[-2:]
    wide = matrices.mT if rows > columns else matrices
    wide = wide / torch.linalg.vector_norm(wide, dim=(-2, -1), keepdim=True).clamp(min=eps)
    if steps > 0:
        small, large = wide.shape[-2:]
        # Products of n x n: direct 2 steps (2 m/n + 1), through the Gram matrix 4 m/n + 8 steps - 6 (both times n^3)
        cheaper_by_gram = 4 * large + (8 * steps - 6) * small < steps * (4 * large + 2 * small)
        exact_enough = matrices.dtype in (torch.float32, torch.float64)  # a Gram matrix squares the condition number
        wide = _through_gram(wide, steps) if cheaper_by_gram and exact_enough else _direct(wide, steps)
    return wide.mT if rows > columns else wide


def _direct(wide: Tensor, steps: int) -> Tensor:
    a, b, c = QUINTIC
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = _plus_product(a, wide, 1.0, _plus_product(b, gram, c, gram, gram), wide)
    return wide


def _through_gram(wide: Tensor, steps: int) -> Tensor:
    """Take the same steps with X_k = Q_k X_0: Q_k is a product of P = a + b A + c A^2 that commutes with A = X X^T."""
    a, b, c = QUINTIC
    while steps > 0:
        gram = wide @ wide.mT
        product: Tensor | None = None
        for left in range(min(steps, GRAM_STEPS), 0, -1):
            factor = _plus_product(b, gram, c, gram, gram)
            factor.diagonal(dim1=-2, dim2=-1).add_(a)
            product = factor if product is None else factor @ product
            if left > 1:
                gram = factor @ gram @ factor
        assert product is not None
        wide = product @ wide
        steps -= GRAM_STEPS
    return wide


def _plus_product(beta: float, addend: Tensor, alpha: float, left: Tensor, right: Tensor) -> Tensor:
    """Return beta * addend + alpha * left @ right, in one pass for one matrix or a batch of them."""
    if addend.ndim == 2:
        return torch.addmm(addend, left, right, beta=beta, alpha=alpha)
    if addend.ndim == 3:
        return torch.baddbmm(addend, left, right, beta=beta, alpha=alpha)
    return beta * addend + alpha * (left @ right)
