"""Lion and schedule-free in float64 numpy, written from the papers' own equations (not from our in-place forms)."""

from __future__ import annotations

import numpy as np


def lion_trajectory(weight, gradients, lr, decay, b1=0.9, b2=0.99):
    weight, mean, seen = np.array(weight, np.float64), 0.0, []
    for gradient in gradients:
        update = np.sign(b1 * mean + (1 - b1) * gradient)
        weight = weight - lr * (update + decay * weight)
        mean = b2 * mean + (1 - b2) * gradient
        seen.append(weight)
    return seen


def schedule_free_trajectory(weight, gradient_at, lrs, *, base, decay=0.0, beta=0.9, b2=0.999, eps=1e-8, power=2.0):
    """Keep x, y and z apart; `gradient_at(y)` is the gradient. Return the lists of y and x after each step."""
    x = np.array(weight, np.float64)
    z = x.copy()
    second = np.zeros_like(x)
    y = (1 - beta) * z + beta * x
    points, answers, weights = [], [], []
    for count, lr in enumerate(lrs, 1):
        gradient = gradient_at(y)
        if base == "adamw":
            second = b2 * second + (1 - b2) * gradient**2
            gradient = gradient / (np.sqrt(second / (1 - b2**count)) + eps)
        z = z - lr * (gradient + decay * y)
        weights.append(max(lrs[:count]) ** power)
        share = weights[-1] / sum(weights) if sum(weights) > 0 else 0.0
        x = (1 - share) * x + share * z
        y = (1 - beta) * z + beta * x
        points.append(y)
        answers.append(x)
    return points, answers
