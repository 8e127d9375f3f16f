"""AdaScale: the factor on the learning rate that a larger batch has earned, from the gradient's measured variance."""

from __future__ import annotations

import math

from batchlimit.errors import InputError


def gradient_moments(mean_squared_norm: float, squared_norm_of_mean: float, parts: int) -> tuple[float, float]:
    """Return unbiased estimates of (variance of one part's gradient, squared norm of the true gradient).

    The latter may be negative, where noise hides the gradient; only an average of it may be cut off at 0. The batch is
    cut into `parts` equal parts: `mean_squared_norm` is the mean of ||g_i||^2 over them and `squared_norm_of_mean` is
    ||mean g_i||^2, the batch's own gradient.

    Raises:
        InputError: fewer than two parts, which show no variance.

    Source: Johnson et al., 2020 (arXiv 2007.05105), section 3.2.
    """
    if parts < 2:
        raise InputError(f"AdaScale with {parts} part(s) of a batch. Valid: 2 or more.")
    variance = (mean_squared_norm - squared_norm_of_mean) * parts / (parts - 1)
    return variance, squared_norm_of_mean - variance / parts


def gain(variance: float, squared_norm: float, scale: float) -> float:
    """Return (variance + squared_norm) / (variance / scale + squared_norm), between 1 and `scale`.

    `scale` is the batch size over the one that the learning rate is meant for, `variance` that of a gradient at the
    latter, `squared_norm` that of the true gradient; below 0 either counts as 0. All noise gives `scale`, linear LR
    scaling; no noise gives 1.

    Source: Johnson et al., 2020 (arXiv 2007.05105), equation 2 and Algorithm 1.
    """
    variance, squared_norm = max(0.0, variance), max(0.0, squared_norm)
    if variance == squared_norm == 0.0:
        return 1.0
    return min(scale, max(1.0, (variance + squared_norm) / (variance / scale + squared_norm)))


class AdaScale:
    """The running gain of a training at `scale` times the batch size that its recipe is meant for.

    Moments are averaged over updates with the paper's decay max(0, 1 - scale / 1000) unless `smoothing` gives another.
    `progress` counts the small-batch updates done: one update at gain r counts r. The learning rate of an update is
    `update(...)` times the small-batch schedule at `int(progress)`, read before the call, and training ends when
    `progress` reaches the small-batch recipe's number of steps.

    Raises:
        InputError: a scale below 1, or a smoothing outside [0, 1).

    Source: Johnson et al., 2020 (arXiv 2007.05105), Algorithm 1 and section 3.2.
    """

    def __init__(self, scale: float, *, smoothing: float | None = None) -> None:
        if not (math.isfinite(scale) and scale >= 1.0):
            raise InputError(f"AdaScale's scale is {scale:g}. Valid: 1 or more.")
        if smoothing is not None and not 0.0 <= smoothing < 1.0:
            raise InputError(f"AdaScale's smoothing is {smoothing:g}. Valid: 0 to 1, 1 excluded.")
        self.scale = scale
        self.smoothing = max(0.0, 1.0 - scale / 1000.0) if smoothing is None else smoothing
        self.progress = 0.0
        self._variance = 0.0
        self._squared_norm = 0.0

    def update(self, variance: float, squared_norm: float) -> float:
        """Take in the moments of one batch (of a gradient at the small batch size) and return this update's gain."""
        # Both averages start at 0 and are too small by the same factor, which the gain's quotient takes out.
        self._variance = self.smoothing * self._variance + (1.0 - self.smoothing) * variance
        self._squared_norm = self.smoothing * self._squared_norm + (1.0 - self.smoothing) * squared_norm
        present = gain(self._variance, self._squared_norm, self.scale)
        self.progress += present
        return present

    def update_from_parts(self, mean_squared_norm: float, squared_norm_of_mean: float, parts: int) -> float:
        """As `update`, from the gradients of `parts` equal parts of the batch, as `gradient_moments` takes them.

        A part need not be as large as the small batch: its variance is brought to that size by their ratio.
        """
        variance, squared_norm = gradient_moments(mean_squared_norm, squared_norm_of_mean, parts)
        return self.update(variance * self.scale / parts, squared_norm)

    def state_dict(self) -> dict[str, float]:
        """Return the averages and the progress, for a checkpoint."""
        return {"variance": self._variance, "squared_norm": self._squared_norm, "progress": self.progress}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up what `state_dict` returned."""
        self._variance = state["variance"]
        self._squared_norm = state["squared_norm"]
        self.progress = state["progress"]
