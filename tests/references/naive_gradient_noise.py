"""Gradient statistics by their definitions in float64: every example's own gradient, every sum written out."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch


def example_gradients(model, loss, inputs, targets):
    """Return the gradient (n, parameters) of each example's own loss, one backward pass an example."""
    rows = []
    for x, y in zip(inputs, targets, strict=True):
        parts = torch.autograd.grad(loss(model(x[None]), y[None]), list(model.parameters()))
        rows.append(torch.cat([part.flatten() for part in parts]).double().numpy())
    return np.stack(rows)


def population(gradients):
    """Return |G|^2, tr(Sigma) with divisor N - 1, and the variance along G, of a whole training set."""
    mean = gradients.mean(0)
    variance = ((gradients - mean) ** 2).sum() / (len(gradients) - 1)
    direction = mean / np.linalg.norm(mean)
    return (mean**2).sum(), variance, ((gradients - mean) @ direction).var(ddof=1)


def signal_and_noise(gradients, batch):
    """Return ||g_par||^2 and ||g_perp||^2 of the mean gradient of the examples `batch`."""
    true, g = gradients.mean(0), gradients[batch].mean(0)
    along = (g @ true) / (true @ true) * true
    return (along**2).sum(), ((g - along) ** 2).sum()


def estimates(parts, offset=0, dataset_size=None):
    """Return |G|^2, tr(Sigma), signal and noise from lists of example gradients, one list a part, without tricks."""
    means = [np.mean(part, axis=0) for part in parts]
    sizes = [len(part) for part in parts]
    total, k = sum(sizes), len(parts)
    g = sum(n * mean for n, mean in zip(sizes, means, strict=True)) / total
    variance = sum(n * ((mean - g) ** 2).sum() for n, mean in zip(sizes, means, strict=True)) / (k - 1)
    shrink = 1 / total - (1 / dataset_size if dataset_size else 0)
    squared = (g**2).sum() - variance * shrink
    along, count = 0.0, 0
    for i, j, a, b in permutations(range(k), 4):
        d = means[i] - means[j]
        along += (d @ means[a]) * (d @ means[b]) / (1 / sizes[i] + 1 / sizes[j])
        count += 1
    signal = squared + shrink * (along / count) / squared
    return squared, variance, signal, (g**2).sum() - signal
