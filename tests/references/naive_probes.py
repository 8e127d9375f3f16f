"""Float64 transcriptions of what the probes measure, and of the laws that are fitted to it."""

from __future__ import annotations

import math

import numpy as np

MASK = (1 << 64) - 1


def naive_hash(index, seed):
    """SplitMix64 of index + seed, in Python's integers."""
    bits = (index + seed) * 0x9E3779B97F4A7C15 & MASK
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & MASK
    return bits ^ bits >> 31


def naive_sketch(vector, seed, buckets=512):
    """The count sketch, one element after another."""
    sums = [0.0] * buckets
    for index, value in enumerate(vector):
        hashed = naive_hash(index, seed)
        sums[(hashed >> 32) % buckets] += value if hashed & 1 else -value
    return sums


def naive_distance(now, before):
    return math.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in zip(now, before, strict=True)))


def naive_law(law, t, first, second):
    """A law at t, from its parameters in the order that it is written in."""
    log = math.log(t)
    return {"log-power": first * log**second, "power": first * t**second, "log-linear": first + second * log}[law]


def naive_rss(law, t, d, first, second, errors):
    """The sum of squared residuals of a law."""
    total = 0.0
    for one, measured in zip(t, d, strict=True):
        fitted = naive_law(law, one, first, second)
        total += (math.log(measured / fitted) if errors == "relative" else measured - fitted) ** 2
    return total


class NaiveAdamUpdates:
    """LAMB's updates before the trust ratio, tensor by tensor: m / (sqrt(v) + eps) with bias correction."""

    def __init__(self, beta1=0.9, beta2=0.999, eps=1e-6):
        self.beta1, self.beta2, self.eps, self.time = beta1, beta2, eps, 0
        self.means, self.squares = {}, {}

    def __call__(self, gradients):
        self.time += 1
        updates = []
        for index, g in enumerate(gradients):
            m = self.means[index] = self.beta1 * self.means.get(index, 0.0) + (1 - self.beta1) * g
            v = self.squares[index] = self.beta2 * self.squares.get(index, 0.0) + (1 - self.beta2) * g * g
            m, v = m / (1 - self.beta1**self.time), v / (1 - self.beta2**self.time)
            updates.append(m / (np.sqrt(v) + self.eps))
        return updates
