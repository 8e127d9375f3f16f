"""Batch norm of the union of several shards, forward and backward, written out in float64 feature by feature."""

from __future__ import annotations

import numpy as np


def naive_group_batch_norm(
    shards: list[np.ndarray], gradients: list[np.ndarray], weight: np.ndarray, bias: np.ndarray, *, eps: float
) -> dict[str, list[np.ndarray]]:
    """Return outputs, input gradients, and weight and bias gradients of each shard, and the span's [mean, variance].

    Shards and the gradients of their outputs are (n, features, ...). The input gradient is equation (2) of Ioffe and
    Szegedy (2015), solved for x: dx = w / s (dy - mean(dy) - z mean(dy z)), with z the normalized values.
    """
    found: dict[str, list[np.ndarray]] = {
        "outputs": [np.zeros(shard.shape) for shard in shards],
        "inputs": [np.zeros(shard.shape) for shard in shards],
        "weight": [np.zeros(len(weight)) for _ in shards],
        "bias": [np.zeros(len(weight)) for _ in shards],
        "running": [np.zeros(len(weight)), np.zeros(len(weight))],
    }
    for feature in range(len(weight)):
        values = np.concatenate([shard[:, feature].astype(np.float64).ravel() for shard in shards])
        slopes = np.concatenate([gradient[:, feature].astype(np.float64).ravel() for gradient in gradients])
        mean = values.sum() / len(values)
        squares = ((values - mean) ** 2).sum()
        deviation = np.sqrt(squares / len(values) + eps)
        mean_slope = slopes.sum() / len(values)
        mean_product = (slopes * (values - mean) / deviation).sum() / len(values)
        found["running"][0][feature], found["running"][1][feature] = mean, squares / (len(values) - 1)
        for place, (shard, gradient) in enumerate(zip(shards, gradients, strict=True)):
            z = (shard[:, feature] - mean) / deviation
            found["outputs"][place][:, feature] = z * weight[feature] + bias[feature]
            slope = gradient[:, feature] - mean_slope - z * mean_product
            found["inputs"][place][:, feature] = weight[feature] / deviation * slope
            found["weight"][place][feature] = (gradient[:, feature] * z).sum()
            found["bias"][place][feature] = gradient[:, feature].sum()
    return found
