"""The estimates of gradient noise: against brute force, and against populations whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from naive_gradient_noise import estimates, population, signal_and_noise

from batchlimit.probes.gradient_noise import moments, variance_factor


def products_of(parts: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    means, sizes = [part.mean(0) for part in parts], [len(part) for part in parts]
    g = np.concatenate(parts).mean(0)
    rows = np.stack([*(mean - g for mean in means), g])
    return rows @ rows.T, [0, *itertools.accumulate(sizes)]


def test_moments_agree_with_sums_written_out() -> None:
    random = np.random.default_rng(0)
    for sizes in ([5, 5, 5, 5], [3, 7, 4, 4, 6], [1] * 8):
        parts = [1.0 + random.normal(size=(size, 12)) for size in sizes]
        found = moments(*products_of(parts), offset=0, dataset_size=1000)
        expected = estimates(parts, dataset_size=1000)
        mine = (found.gradient_sq, found.variance, found.signal, found.noise)
        np.testing.assert_allclose(mine, expected, rtol=1e-9)


def test_a_known_gaussian_is_found_without_bias() -> None:
    """|G|^2, tr(Sigma), signal and noise of anisotropic noise, over many batches, within five standard errors."""
    random = np.random.default_rng(1)
    truth, scales = np.array([0.6, -0.3, 0.2] + [0.1] * 17), np.linspace(3.0, 0.2, 20)
    batch, seen = 256, []
    for _ in range(1500):
        draws = truth + scales * random.normal(size=(batch, 20))
        found = moments(*products_of(np.split(draws, 8)), offset=0, dataset_size=10**9)
        assert found.signal is not None
        assert found.noise is not None
        seen.append((found.gradient_sq, found.variance, found.signal, found.noise))
    squared = (truth**2).sum()
    along = (truth**2 * scales**2).sum() / squared
    variance = (scales**2).sum()
    expected = (squared, variance, squared + along / batch, (variance - along) / batch)
    error = np.std(seen, axis=0) / np.sqrt(len(seen))
    assert (np.abs(np.mean(seen, axis=0) - expected) < 5 * error).all()
    assert (error / expected < 0.02).all()
    # The variance along G belongs to the signal, as the paper has it: counting it as noise would be seen.
    assert along / batch > 10 * error[3]


@pytest.mark.parametrize(("offset", "batch"), [(0, 24), (8, 24), (0, 40), (24, 40)])
def test_batches_without_replacement_are_unbiased(offset: int, batch: int) -> None:
    """Batches of a stream of permutations of 40 examples: within an epoch, the whole of it, and across its end."""
    random = np.random.default_rng(2)
    gradients = random.normal(size=(40, 10)) + 0.8
    squared, variance, _ = population(gradients)
    cuts = [0, *(round(batch * k / 4) for k in range(1, 5))]
    seen = []
    for _ in range(4000):
        line = np.concatenate([random.permutation(40), random.permutation(40)])[offset : offset + batch]
        parts = [gradients[line[a:b]] for a, b in itertools.pairwise(cuts)]
        found = moments(*products_of(parts), offset=offset, dataset_size=40)
        seen.append((found.gradient_sq, found.variance))
    error = np.std(seen, axis=0) / np.sqrt(len(seen)) + 1e-9 * squared
    assert (np.abs(np.mean(seen, axis=0) - (squared, variance)) < 5 * error).all()


def test_signal_and_noise_without_replacement_are_the_papers() -> None:
    random = np.random.default_rng(3)
    gradients = random.normal(size=(60, 8)) * np.linspace(1.5, 0.3, 8) + 0.8
    truth, seen = [], []
    for _ in range(3000):
        batch = random.permutation(60)[:40]
        truth.append(signal_and_noise(gradients, batch))
        found = moments(*products_of(np.split(gradients[batch], 5)), offset=0, dataset_size=60)
        seen.append((found.signal, found.noise))
    np.testing.assert_allclose(np.mean(seen, axis=0), np.mean(truth, axis=0), rtol=0.02)


def test_variance_factor() -> None:
    assert variance_factor(0, 10, 40) == pytest.approx(1 / 10 - 1 / 40)
    assert variance_factor(40, 80, 40) == 0.0
    assert variance_factor(35, 45, 40) == pytest.approx(1 / 10 - (25 + 25) / (100 * 40))


def test_too_few_parts_have_no_signal_and_a_full_batch_no_noise() -> None:
    parts = [np.random.default_rng(4).normal(size=(5, 3)) + 2 for _ in range(4)]
    few = moments(*products_of(parts[:3]), offset=0, dataset_size=100)
    assert (few.signal, few.noise) == (None, None)
    full = moments(*products_of(parts), offset=20, dataset_size=20)
    assert full.noise == 0.0
    assert full.signal == full.gradient_sq == pytest.approx((np.concatenate(parts).mean(0) ** 2).sum())
