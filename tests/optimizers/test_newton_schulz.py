"""Newton-Schulz orthogonalization against its definition."""

from __future__ import annotations

import pytest
import torch
from naive_muon import newton_schulz

from batchlimit.optimizers.newton_schulz import _direct, _through_gram, orthogonalize

SHAPES = [(6, 6), (4, 40), (40, 4), (1, 9), (9, 1), (64, 200), (30, 25)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [0, 1, 5, 7])
def test_agrees_with_the_twin(shape, steps) -> None:
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.from_numpy(newton_schulz(matrix.numpy(), steps))
    torch.testing.assert_close(orthogonalize(matrix, steps=steps), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(orthogonalize(matrix.float(), steps=steps).double(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_1_and_the_vectors_stay(shape) -> None:
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalize(matrix)
    core = u.T @ result @ vh.T
    assert torch.linalg.norm(core - torch.diag(core.diagonal())) < 1e-9
    steep_enough = s / torch.linalg.norm(s) > 0.01
    assert steep_enough.any()
    assert ((core.diagonal()[steep_enough] > 0.65) & (core.diagonal()[steep_enough] < 1.25)).all()


def test_both_ways_are_one_polynomial() -> None:
    wide = torch.randn(8, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    wide /= wide.norm()
    for steps in (1, 2, 5, 6, 12):
        torch.testing.assert_close(_through_gram(wide, steps), _direct(wide, steps), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("steps", [5, 12])
def test_the_gram_matrix_is_good_enough_in_fp32_when_the_rank_is_low(steps) -> None:
    generator = torch.Generator().manual_seed(4)
    low = torch.randn(64, 5, generator=generator).double() @ torch.randn(5, 800, generator=generator).double()
    low /= low.norm()
    result = _through_gram(low.float(), steps).double()
    u, _, vh = (part[..., :5] if index < 2 else part[:5] for index, part in enumerate(torch.linalg.svd(low)))
    torch.testing.assert_close(u.T @ result @ vh.T, u.T @ _direct(low, steps) @ vh.T, rtol=0, atol=1e-3)
    assert torch.linalg.matrix_norm(result, 2) < 1.3  # rounding in the null space grows, but stays orthogonalized


@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_is_its_members(shape) -> None:
    batch = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    batch[1] *= 1e6
    together = orthogonalize(batch)
    for member, result in zip(batch, together, strict=True):
        torch.testing.assert_close(result, orthogonalize(member), rtol=1e-10, atol=1e-12)


def test_scale_does_not_matter_and_zero_stays_zero() -> None:
    matrix = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(orthogonalize(1e-3 * matrix), orthogonalize(1e5 * matrix))
    assert (orthogonalize(torch.zeros(5, 7)) == 0).all()
