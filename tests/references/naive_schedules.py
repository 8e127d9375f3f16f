"""Plain float64 transcriptions of the schedules, written from the sources, one per registered name.

Each takes (step, total, warmup) and the schedule's options, and knows the default linear warmup only.
"""

from __future__ import annotations

import numpy as np


def _spliced(step, total, warmup, after):
    """Linear warmup (step + 1) / warmup, then `after(u)` with u the share of the remaining steps that is done."""
    if step < warmup:
        return float(min(np.float64(1), np.float64(step + 1) / warmup))
    return float(after(np.float64(step - warmup) / np.float64(total - warmup)))


def constant(step, total, warmup):
    return _spliced(step, total, warmup, lambda u: 1.0)


def polynomial(step, total, warmup, power=1.0, end=0.0):
    return _spliced(step, total, warmup, lambda u: end + (1 - end) * np.power(1 - u, power))


def cosine(step, total, warmup, end=0.0):
    return _spliced(step, total, warmup, lambda u: end + (1 - end) * np.cos(np.pi * u / 2) ** 2)


def cosine_cycles(step, total, warmup, cycles=5, end=0.0):
    # cycles - 1 whole waves of 2 pi and a half one, as a squared cosine of half the angle
    return _spliced(step, total, warmup, lambda u: end + (1 - end) * np.cos(np.pi * (cycles - 0.5) * u) ** 2)


def cyclical(step, total, warmup, length=0.2, low=0.1):
    period = length * total
    # down from the peak after a warmup, up from the bottom without one: knots of the wave, read by interpolation
    count = int(np.ceil(1 / length)) * 2 + 4
    knots = warmup + period / 2 * np.arange(count)
    values = np.where(np.arange(count) % 2 == 0, 1.0, low)
    if warmup == 0:
        values = 1.0 + low - values
    if step < warmup:
        return _spliced(step, total, warmup, lambda u: u)
    return float(np.interp(step, knots, values))


def trapezoid(step, total, warmup, decay=0.2, end=0.0):
    if step < warmup:
        return _spliced(step, total, warmup, lambda u: u)
    return float(np.interp(step, [max(warmup, total - decay * total), total], [1.0, end]))


TWINS = {
    "constant": constant,
    "polynomial": polynomial,
    "cosine": cosine,
    "cosine-cycles": cosine_cycles,
    "cyclical": cyclical,
    "trapezoid": trapezoid,
}
