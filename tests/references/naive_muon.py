"""Muon and its companion, written out in float64 numpy from the sources (Jordan et al., 2024; AdamW)."""

from __future__ import annotations

import numpy as np


def newton_schulz(matrix, steps=5):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = np.asarray(matrix, dtype=np.float64)
    x = x / max(np.sqrt((x * x).sum()), 1e-7)
    for _ in range(steps):
        x = a * x + b * (x @ x.T @ x) + c * (x @ x.T @ x @ x.T @ x)
    return x


class NaiveMuon:
    """Matrices and flattened convolutions by Muon, vectors by AdamW at `companion` times the learning rate."""

    def __init__(self, weights, lr, momentum=0.95, nesterov=True, decay=0.0, companion=0.1, b1=0.9, b2=0.999):
        self.weights = [np.array(weight, dtype=np.float64) for weight in weights]
        self.lr, self.momentum, self.nesterov, self.decay, self.companion = lr, momentum, nesterov, decay, companion
        self.b1, self.b2 = b1, b2
        self.first = [np.zeros_like(weight) for weight in self.weights]
        self.second = [np.zeros_like(weight) for weight in self.weights]
        self.count = 0

    def step(self, gradients):
        self.count += 1
        for index, gradient in enumerate(np.array(g, dtype=np.float64) for g in gradients):
            weight = self.weights[index]
            if weight.ndim >= 2:
                self.first[index] = self.momentum * self.first[index] + gradient
                direction = self.first[index]
                if self.nesterov:
                    direction = gradient + self.momentum * self.first[index]
                flat = direction.reshape(weight.shape[0], -1)
                size = self.lr * np.sqrt(max(1.0, flat.shape[0] / flat.shape[1]))
                self.weights[index] = (1 - self.lr * self.decay) * weight - size * newton_schulz(flat).reshape(
                    weight.shape
                )
            else:
                self.first[index] = self.b1 * self.first[index] + (1 - self.b1) * gradient
                self.second[index] = self.b2 * self.second[index] + (1 - self.b2) * gradient**2
                mean = self.first[index] / (1 - self.b1**self.count)
                spread = np.sqrt(self.second[index] / (1 - self.b2**self.count))
                self.weights[index] = weight - self.lr * self.companion * mean / (spread + 1e-8)


def whitened_direction(gradient, inputs, damping):
    """Newton-Schulz of G A^(-1/2), times A^(-1/2): A from loops over inputs, its root from its eigenvectors."""
    a = 0.0
    for row in inputs:
        a = a + np.outer(row, row) / len(inputs)
    a = a + damping * a.diagonal().mean() * np.eye(len(a))
    values, vectors = np.linalg.eigh(a)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    return newton_schulz(gradient @ root) @ root
