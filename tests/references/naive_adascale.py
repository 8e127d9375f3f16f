"""AdaScale (Johnson et al., 2020, Algorithm 1) around the plain numpy training, its moments by their definitions."""

from __future__ import annotations

import numpy as np
from naive_training import gradient, learning_rate, order_of_epoch


def train(weights, inputs, labels, *, batch_size, reference, parts, steps, seed, lr, momentum, warmup, power):
    """Return the weights, and of every step its gain and learning rate; warmup in small-batch steps."""
    weights = {name: np.array(value, dtype=np.float64) for name, value in weights.items()}
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    scale = batch_size / reference
    total = round(steps * scale)
    epochs = -(-steps * batch_size // len(inputs))
    line = np.concatenate([order_of_epoch(seed, e, len(inputs)) for e in range(epochs)])
    progress, variance_mean, square_mean, seen = 0.0, 0.0, 0.0, []
    keep = max(0.0, 1 - scale / 1000)
    for step in range(steps):
        batch = line[step * batch_size : (step + 1) * batch_size]
        vectors = []
        for part in np.split(batch, parts):
            slopes = gradient(weights, inputs[part], labels[part], 0.0)
            vectors.append(np.concatenate([slopes[name].ravel() for name in weights]))
        mean = np.mean(vectors, axis=0)
        scatter = sum(((vector - mean) ** 2).sum() for vector in vectors) / (parts - 1)
        of_small = scatter * (batch_size / parts) / reference
        variance_mean = keep * variance_mean + (1 - keep) * of_small
        square_mean = keep * square_mean + (1 - keep) * ((mean**2).sum() - scatter / parts)
        gain = (variance_mean + square_mean) / (variance_mean / scale + square_mean)
        rate = gain * learning_rate(int(progress), total, lr, warmup, power)
        progress += gain
        slopes = gradient(weights, inputs[batch], labels[batch], 0.0)
        for name in weights:
            velocity[name] = momentum * velocity[name] + slopes[name]
            weights[name] = weights[name] - rate * velocity[name]
        seen.append((gain, rate))
    return weights, seen
