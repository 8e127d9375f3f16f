"""Float64 transcriptions of LARS, LAMB and the layer-wise rule, and of two habits of public codes that are wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def naive_ratio(w, u, coefficient=1.0, decay=0.0, lower=0.0, upper=None):
    """The trust ratio of one tensor."""
    weight_norm, update_norm = float(np.sqrt((w * w).sum())), float(np.sqrt((u * u).sum()))
    if weight_norm == 0 or update_norm == 0:
        return 1.0
    ratio = coefficient * weight_norm / (update_norm + decay * weight_norm)
    ratio = max(ratio, lower)
    return ratio if upper is None else min(ratio, upper)


@dataclass
class NaiveLARS:
    """LARS, one tensor after another."""

    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    coefficient: float = 0.001
    nesterov: bool = False
    lr_in_buffer: bool = True
    decay: str = "both"
    lower: float = 0.0
    upper: float | None = None
    exclude: str = "1d"
    buffers: dict[int, np.ndarray] = field(default_factory=dict)

    def step(self, weights, gradients):
        for index, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            counted = 0.0 if self.decay == "decoupled" else self.weight_decay
            ratio = naive_ratio(w, g, self.coefficient, counted, self.lower, self.upper)
            if self.exclude == "1d" and w.ndim <= 1:
                ratio = 1.0
            shrink = self.lr * self.weight_decay * w if self.decay == "decoupled" else 0.0
            d = g + self.weight_decay * w if self.decay == "both" else g
            v = self.buffers.get(index, np.zeros_like(w))
            if self.momentum == 0:
                move = self.lr * ratio * d
            elif self.lr_in_buffer:
                v = self.momentum * v + self.lr * ratio * d
                move = self.lr * ratio * d + self.momentum * v if self.nesterov else v
            else:
                v = self.momentum * v + d
                move = self.lr * ratio * (d + self.momentum * v if self.nesterov else v)
            self.buffers[index] = v
            w -= shrink + move


@dataclass
class NaiveLAMB:
    """LAMB, one tensor after another."""

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.0
    bias_correction: bool = True
    lower: float = 0.0
    upper: float | None = None
    exclude: str = "1d"
    clip_norm: float | None = None
    clip: str = "above"
    time: int = 0
    means: dict[int, np.ndarray] = field(default_factory=dict)
    squares: dict[int, np.ndarray] = field(default_factory=dict)

    def step(self, weights, gradients):
        self.time += 1
        factor = 1.0
        total = float(np.sqrt(sum((g * g).sum() for g in gradients)))
        if self.clip_norm is not None and total > 0:
            factor = self.clip_norm / total
            if self.clip == "above":
                factor = min(1.0, factor)
        for index, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            g = factor * g
            m = self.beta1 * self.means.get(index, 0.0) + (1 - self.beta1) * g
            v = self.beta2 * self.squares.get(index, 0.0) + (1 - self.beta2) * g * g
            self.means[index], self.squares[index] = m, v
            if self.bias_correction:
                m, v = m / (1 - self.beta1**self.time), v / (1 - self.beta2**self.time)
            u = m / (np.sqrt(v) + self.eps) + self.weight_decay * w
            ratio = naive_ratio(w, u, lower=self.lower, upper=self.upper)
            if self.exclude == "1d" and w.ndim <= 1:
                ratio = 1.0
            w -= self.lr * ratio * u


def naive_layerwise(before, after, lr, coefficient=1.0, lower=0.0, upper=None):
    """Where the layer-wise rule puts a tensor that its base moved from `before` to `after` at `lr`."""
    ratio = naive_ratio(before, (after - before) / lr, coefficient, 0.0, lower, upper)
    return before + ratio * (after - before)


class SeededLARS(NaiveLARS):
    """A public habit that is wrong: at the first step the buffer is the gradient itself, unscaled.

    It comes from the usual momentum code, which starts the buffer with a copy of the gradient: right where the LR is
    outside the buffer, wrong for LARS, whose buffer holds already scaled updates.
    """

    def step(self, weights, gradients):
        first = not self.buffers
        if first:
            self.buffers = {index: g.copy() for index, g in enumerate(gradients)}
        super().step(weights, gradients)


def inverted_prenormalization(gradients):
    """A public habit that is wrong: pre-normalization that multiplies by the global norm where it should divide."""
    total = float(np.sqrt(sum((g * g).sum() for g in gradients)))
    return [g * total for g in gradients]
