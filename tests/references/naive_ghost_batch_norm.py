"""Ghost batch norm, written out group by group in float64 (Hoffer, Hubara and Soudry, 2017, algorithm 1)."""

from __future__ import annotations

import numpy as np


def naive_ghost_batch_norm(
    inputs: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    *,
    size: int,
    eps: float,
    momentum: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the outputs and the new running mean and variance; inputs are (n, features, ...)."""
    inputs = inputs.astype(np.float64)
    outputs = np.empty_like(inputs)
    mean, var = running_mean.astype(np.float64).copy(), running_var.astype(np.float64).copy()
    for start in range(0, len(inputs), size):
        group = inputs[start : start + size]
        for feature in range(inputs.shape[1]):
            values = group[:, feature].ravel()
            centre = values.sum() / len(values)
            squares = ((values - centre) ** 2).sum()
            scaled = (group[:, feature] - centre) / np.sqrt(squares / len(values) + eps)
            outputs[start : start + size, feature] = scaled * weight[feature] + bias[feature]
            mean[feature] += momentum * (centre - mean[feature])
            var[feature] += momentum * (squares / (len(values) - 1) - var[feature])
    return outputs, mean, var
