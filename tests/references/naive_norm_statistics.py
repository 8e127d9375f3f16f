"""Batch-norm statistics of a small perceptron, span by span in float64 and averaged."""

from __future__ import annotations

from typing import Any

import numpy as np


def naive_norm_statistics(
    inputs: np.ndarray, layers: list[tuple[str, dict[str, Any]]], *, span: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (mean, unbiased variance) of each 'norm' layer, the plain averages over all spans of `inputs` (n, in).

    Layers are ('linear', weight, bias), ('norm', weight, bias, eps) and ('tanh', nothing).
    """
    seen: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for start in range(0, len(inputs), span):
        values = inputs[start : start + span].astype(np.float64)
        for place, (kind, own) in enumerate(layers):
            if kind == "linear":
                values = values @ own["weight"].astype(np.float64).T + own["bias"].astype(np.float64)
            elif kind == "tanh":
                values = np.tanh(values)
            else:
                mean = values.sum(0) / len(values)
                squares = ((values - mean) ** 2).sum(0)
                seen.setdefault(place, []).append((mean, squares / (len(values) - 1)))
                values = (values - mean) / np.sqrt(squares / len(values) + own["eps"]) * own["weight"] + own["bias"]
    return [(np.mean([m for m, _ in pairs], 0), np.mean([v for _, v in pairs], 0)) for pairs in seen.values()]
