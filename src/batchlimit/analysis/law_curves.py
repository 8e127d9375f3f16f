"""Least squares for curves of two parameters, a scale and a shape, for many data sets at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Law = Literal["log-power", "power", "log-linear"]
Errors = Literal["relative", "absolute"]
LAWS: tuple[Law, ...] = ("log-power", "power", "log-linear")

# Where shapes are looked for: exponents p; and for a + b log t the logarithm of how far log t at the first point is
# from where the curve would reach 0.
_EXPONENTS = np.linspace(-5.0, 20.0, 501)
_OFFSETS = np.linspace(-20.0, 12.0, 641)
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Solved:
    """A law fitted to `rows` curves over the same points: shape, scale and sum of squared residuals, each (rows,)."""

    law: Law
    logs: np.ndarray
    shape: np.ndarray
    scale: np.ndarray
    rss: np.ndarray

    def parameters(self) -> dict[str, np.ndarray]:
        """Return the law's parameters by name, each (rows,)."""
        if self.law == "log-linear":
            return {"a": self.scale * (np.exp(self.shape) - self.logs[0]), "b": self.scale}
        return {"c": self.scale, "p": self.shape}

    def fitted(self) -> np.ndarray:
        """Return the fitted curves (rows, n)."""
        curves: np.ndarray = self.scale[:, None] * np.exp(_log_curves(self.law, self.logs, self.shape))
        return curves


def solve(law: Law, logs: np.ndarray, curves: np.ndarray, errors: Errors) -> Solved:
    """Fit `law` to `curves` (rows, n) at `logs` (n,), the increasing logarithms of t, above 0.

    The scale is found in closed form, so that the shape alone is searched for: on a grid, then by golden section.
    """
    grid = _OFFSETS if law == "log-linear" else _EXPONENTS
    targets = np.log(curves) if errors == "relative" else curves
    nearest = np.argmin(_on_grid(_log_curves(law, logs, grid), targets, errors), axis=0)
    low, high = grid[np.maximum(nearest - 1, 0)], grid[np.minimum(nearest + 1, len(grid) - 1)]
    shape = _golden_section(lambda shape: _residuals(law, logs, targets, shape, errors)[0], low, high)
    rss, scale = _residuals(law, logs, targets, shape, errors)
    return Solved(law, logs, shape, scale, rss)


def mean_curve(curves: np.ndarray, errors: Errors) -> np.ndarray:
    """Return the mean of `curves` over the last axis but one: the geometric one where errors are relative."""
    mean: np.ndarray = np.exp(np.log(curves).mean(axis=-2)) if errors == "relative" else curves.mean(axis=-2)
    return mean


def redrawn(
    solved: Solved, curve: np.ndarray, errors: Errors, generator: np.random.Generator, resamples: int
) -> np.ndarray:
    """Return the fit with residuals of `curve` (n,) drawn anew with replacement, (resamples, n)."""
    fit = solved.fitted()[0]
    n = len(fit)
    residuals = (np.log(curve / fit) if errors == "relative" else curve - fit) * np.sqrt(n / (n - 2))
    drawn = generator.choice(residuals, (resamples, n))
    again: np.ndarray = fit * np.exp(drawn) if errors == "relative" else fit + drawn
    return again


def _log_curves(law: Law, logs: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Return the logarithm of the law's curve of scale 1, (rows, n)."""
    curves: np.ndarray
    if law == "log-linear":
        curves = np.log((logs - logs[0]) + np.exp(shape)[:, None])
    else:
        curves = shape[:, None] * (np.log(logs) if law == "log-power" else logs)
    return curves


def _on_grid(log_curves: np.ndarray, targets: np.ndarray, errors: Errors) -> np.ndarray:
    """Return the residuals of every shape of a grid, (grid, rows), but for an amount that all shapes share."""
    if errors == "relative":
        curves = log_curves - log_curves.mean(axis=1, keepdims=True)
        loss: np.ndarray = (curves**2).sum(axis=1)[:, None] - 2 * curves @ targets.T
        return loss
    curves = np.exp(log_curves - log_curves.max(axis=1, keepdims=True))
    # A scale below 0 is no fit of these laws, and distances are positive.
    loss = -(np.maximum(curves @ targets.T, 0.0) ** 2) / (curves**2).sum(axis=1)[:, None]
    return loss


def _residuals(
    law: Law, logs: np.ndarray, targets: np.ndarray, shape: np.ndarray, errors: Errors
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least sum of squared residuals that `shape` allows, and the scale that gives it, each (rows,)."""
    curves = _log_curves(law, logs, shape)
    if errors == "relative":
        gaps = targets - curves
        shift: np.ndarray = gaps.mean(axis=1)
        return ((gaps - shift[:, None]) ** 2).sum(axis=1), np.exp(shift)
    np.exp(curves, out=curves)
    scale: np.ndarray = (targets * curves).sum(axis=1) / (curves**2).sum(axis=1)
    return ((targets - scale[:, None] * curves) ** 2).sum(axis=1), scale


def _golden_section(
    loss: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, steps: int = 40
) -> np.ndarray:
    """Return where `loss` is least between `low` and `high`, row by row."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(steps):
        lower = at_left < at_right
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        fresh = np.where(lower, high - _GOLDEN * (high - low), low + _GOLDEN * (high - low))
        at_fresh = loss(fresh)
        left, right = np.where(lower, fresh, right), np.where(lower, left, fresh)
        at_left, at_right = np.where(lower, at_fresh, at_right), np.where(lower, at_left, at_fresh)
    middle: np.ndarray = (low + high) / 2
    return middle
