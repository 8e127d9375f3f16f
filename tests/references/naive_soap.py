"""SOAP in float64 numpy, from Vyas et al., 2024, Algorithms 3 and 4, with the first update in the unrotated basis."""

from __future__ import annotations

import numpy as np


def soap_trajectory(weight, gradients, lr, decay=0.0, b1=0.95, b2=0.95, eps=1e-8, every=10, limit=1024):
    weight = np.array(weight, np.float64)
    shape = weight.shape
    rows, columns = shape[0], int(np.prod(shape[1:]))
    turn_left, turn_right = (weight.ndim > 1 and 1 < size <= limit for size in (rows, columns))
    left, right = np.zeros((rows, rows)), np.zeros((columns, columns))
    q_left, q_right = np.eye(rows), np.eye(columns)
    first, second, seen = np.zeros((rows, columns)), np.zeros((rows, columns)), []
    for count, gradient in enumerate(gradients, 1):
        g = np.asarray(gradient, np.float64).reshape(rows, columns)
        first = b1 * first + (1 - b1) * g
        second = b2 * second + (1 - b2) * (q_left.T @ g @ q_right) ** 2
        mean = (q_left.T @ first @ q_right) / (1 - b1**count)
        update = q_left @ (mean / (np.sqrt(second / (1 - b2**count)) + eps)) @ q_right.T
        weight = weight - lr * (update.reshape(shape) + decay * weight)
        left = b2 * left + (1 - b2) * (g @ g.T)
        right = b2 * right + (1 - b2) * (g.T @ g)
        if count == 1:
            q_left = np.linalg.eigh(left)[1][:, ::-1] if turn_left else q_left
            q_right = np.linalg.eigh(right)[1][:, ::-1] if turn_right else q_right
            second = (1 - b2) * (q_left.T @ g @ q_right) ** 2
        elif count % every == 0:
            q_left = np.linalg.qr(left @ q_left)[0] if turn_left else q_left
            q_right = np.linalg.qr(right @ q_right)[0] if turn_right else q_right
        seen.append(weight)
    return seen
