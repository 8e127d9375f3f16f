"""Gradient noise: the true gradient beside the scatter of the examples' own, hence signal, noise and their scale."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from batchlimit.errors import InputError
from batchlimit.probes import probes
from batchlimit.probes.probe import Probe, Setting, rounded

Matrix = npt.NDArray[np.float64]

_PARTS = 8
_COLUMNS = 1 << 18


@dataclass(frozen=True)
class Moments:
    """What one batch says: estimates of |G|^2, tr(Sigma), E||g_par||^2 and E||g_perp||^2 (None: not estimable)."""

    gradient_sq: float
    variance: float
    signal: float | None
    noise: float | None


@probes.register("gradient-noise")
class GradientNoise(Probe):
    """The true gradient's squared norm, the examples' gradient variance and their ratio, the gradient noise scale.

    The batch is cut into 8 parts (as many as there are examples or ghost batches where these are fewer), whose
    gradients the step computes anyway; their scatter gives unbiased estimates of |G|^2, G being the gradient over the
    whole training set, and of tr(Sigma), the variance of one example's gradient about G. `noise_scale` is
    tr(Sigma) / |G|^2. `signal` and `noise` are E||g_par||^2 and E||g_perp||^2 at the trial's batch size, g_par being
    the component of the batch's gradient along G and g_perp the rest; `snr` is their quotient.

    The result holds the `dataset_size` and one number for each entry of `updates`, the weight updates (counted from 1)
    whose gradient was looked at: log-spaced ones, and one in a hundred (32 at most) evenly spaced. `gradient_sq` may be
    negative, as an unbiased estimate of a small number is at times; the others are None where they are not positive
    (noise: negative), or, signal and noise, where there are fewer than 4 parts. So a mean over the values of `snr` or
    `noise_scale` is too high, or too low, in small batches: see `analysis.critical_batch`. A full batch has noise 0
    and no finite snr.

    Batches are drawn without replacement from N examples, and estimates allow for that: a batch of B within one epoch
    has Var(g) = tr(Sigma) (1/B - 1/N). Dropout and label noise count as scatter of the examples, though they are drawn
    anew for each batch, so that of their own variance V/B the share V/N is left out, all of it at the full batch.
    The gradient is taken before `clip_norm`. Memory: 8 copies of the parameters, at the steps looked at.

    Raises:
        InputError: a batch that cannot be cut in two, of one example or under batch norm over all of it.

    Source: McCandlish et al., 2018 (arXiv 1812.06162), section 2.2 and appendix A.1; You et al., 2020, section 6.1.
    """

    passes = _PARTS

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        check_divisible(setting.model, setting.batch_size, "The probe 'gradient-noise'")
        even = min(32, setting.total_steps // 100)
        self._steps |= {round(rung * (setting.total_steps - 1) / even) for rung in range(1, even + 1)}
        self._parameters = list(setting.parameters.values())
        self._rows: Tensor | None = None
        self._views: list[list[Tensor]] = []
        self._ends: list[int] = []
        self._seen: dict[int, Moments] = {}

    def after_microbatch(self, step: int, start: int, stop: int) -> None:
        """Keep the gradient summed up to here where a part of the batch ends, and compare the parts at the end."""
        if start == 0:  # also of a step begun again after memory ran out
            self._begin()
        size = self.setting.batch_size
        if not ends_part(stop, self._ends[-1] if self._ends else 0, _PARTS, size):
            return
        for view, parameter in zip(self._views[len(self._ends)], self._parameters, strict=True):
            view.zero_() if parameter.grad is None else view.copy_(parameter.grad)
        self._ends.append(stop)
        if stop == size:
            self._finish(step)

    def result(self) -> dict[str, Any]:
        """Return the lists that the class describes."""
        steps = sorted(self._seen)
        seen = [self._seen[step] for step in steps]
        return {
            "dataset_size": self.setting.dataset_size,
            "updates": [step + 1 for step in steps],
            "gradient_sq": [_finite(m.gradient_sq) for m in seen],
            "variance": [_positive(m.variance) for m in seen],
            "noise_scale": [_quotient(m.variance, m.gradient_sq) for m in seen],
            "signal": [_positive(m.signal) for m in seen],
            "noise": [0.0 if m.noise == 0 else _positive(m.noise) for m in seen],
            "snr": [_quotient(m.signal, m.noise) for m in seen],
        }

    @classmethod
    def line(cls, result: dict[str, Any]) -> str:
        """Return in a line the range of the noise scale."""
        scales = [scale for scale in result["noise_scale"] if scale is not None]
        if not scales:
            return "no noise scale: the noise hides the gradient"
        hidden, looks = len(result["noise_scale"]) - len(scales), len(result["noise_scale"])
        where = f"; the noise hides the gradient in {hidden} of {looks} looks" if hidden else ""
        return f"a gradient noise scale of {min(scales):.3g} to {max(scales):.3g} examples{where}"

    def _begin(self) -> None:
        self._ends = []
        if self._rows is None:
            total = sum(parameter.numel() for parameter in self._parameters)
            self._rows = torch.empty(_PARTS, total, device=self.setting.device)
            sizes = [parameter.numel() for parameter in self._parameters]
            self._views = [
                [part.view(p.shape) for part, p in zip(row.split(sizes), self._parameters, strict=True)]
                for row in self._rows
            ]

    def _finish(self, step: int) -> None:
        assert self._rows is not None
        edges = [0, *self._ends]
        products = _products(self._rows[: len(self._ends)], edges)
        self._rows, self._views = None, []
        offset = step * self.setting.batch_size
        self._seen[step] = moments(products, edges, offset=offset, dataset_size=self.setting.dataset_size)


def ends_part(stop: int, last: int, parts: int, size: int) -> bool:
    """Return whether the pass that ends at example `stop` of `size` ends one of `parts` parts; one ended at `last`."""
    return stop * parts >= (last * parts // size + 1) * size


def check_divisible(model: nn.Module, batch_size: int, who: str) -> None:
    """Check that a batch can be cut into two parts or more.

    Raises:
        InputError: it is of one example, or `model`'s batch norm takes more than half of it at once.
    """
    if batch_size < 2:
        raise InputError(f"{who} compares parts of a batch, and a batch_size of 1 has none. Valid: 2 or more.")
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if any((getattr(norm, "ghost_batch_size", None) or batch_size) * 2 > batch_size for norm in norms):
        raise InputError(
            f"{who} compares parts of a batch, and this model's batch norm takes more than half of it at once. "
            f"Valid: recipe.ghost_batch_size at most {batch_size // 2} at batch_size {batch_size}."
        )


def moments(products: Matrix, edges: list[int], *, offset: int, dataset_size: int) -> Moments:
    """Return the estimates from K parts of a batch, [edges[j], edges[j + 1]) within it.

    `products` (K + 1, K + 1) are inner products: of the parts' mean gradients less the batch's, and last the batch's.
    The batch begins `offset` examples into the stream of permutations of the `dataset_size` examples.
    """
    sizes = np.diff(edges).astype(np.float64)
    parts = len(sizes)
    of_parts = [variance_factor(offset + a, offset + b, dataset_size) for a, b in itertools.pairwise(edges)]
    of_batch = variance_factor(offset, offset + edges[-1], dataset_size)
    # Expected: sum_j m_j E||g_j - g||^2 = tr(Sigma) (sum_j m_j f_j - B f_B), K - 1 of them within one epoch.
    freedom = float(sizes @ of_parts) - edges[-1] * of_batch
    variance = float(sizes @ products.diagonal()[:parts]) / freedom
    power = float(products[parts, parts])
    gradient_sq = power - variance * of_batch
    if of_batch == 0.0:
        return Moments(gradient_sq, variance, power, 0.0)
    if parts < 4 or gradient_sq <= 0:
        return Moments(gradient_sq, variance, None, None)
    signal = gradient_sq + of_batch * _variance_along(products, sizes) / gradient_sq
    return Moments(gradient_sq, variance, signal, power - signal)


def variance_factor(start: int, stop: int, dataset_size: int) -> float:
    """Return Var(mean gradient of the stream's examples [start, stop)) / tr(Sigma): 1/n - 1/N within one epoch.

    Tr(Sigma) is with the divisor N - 1. Parts of different epochs are independent draws.
    """
    count = stop - start
    squares = 0
    while start < stop:
        end = min(stop, (start // dataset_size + 1) * dataset_size)
        squares += (end - start) ** 2
        start = end
    return (count * dataset_size - squares) / (count**2 * dataset_size)


def _variance_along(products: Matrix, sizes: npt.NDArray[np.float64]) -> float:
    """Return an unbiased estimate of G' Sigma G: the mean of (d_ij . g_k)(d_ij . g_l) / (1/m_i + 1/m_j).

    Over all distinct parts i, j, k, l, with d_ij = g_i - g_j.
    """
    parts = len(sizes)
    along = products[:parts, :parts] + products[:parts, parts][:, None]  # (g_i - g) . g_k
    total = 0.0
    for i in range(parts):
        for j in range(i):
            others = [k for k in range(parts) if k not in (i, j)]
            shifts = along[i, others] - along[j, others]
            pairs = shifts.sum() ** 2 - (shifts**2).sum()
            total += float(pairs) / (1.0 / sizes[i] + 1.0 / sizes[j])
    return total / (parts * (parts - 1) / 2 * (parts - 2) * (parts - 3))


def _products(rows: Tensor, edges: list[int]) -> Matrix:
    """Return the inner products that `moments` takes from the gradients (K, P) summed to each edge, over B."""
    parts, size = len(rows), edges[-1]
    weigh = torch.zeros(parts + 1, parts, dtype=torch.float64)
    for part in range(parts):
        share = size / (edges[part + 1] - edges[part])
        weigh[part, part] = share
        if part:
            weigh[part, part - 1] = -share
    weigh[:parts, -1] -= 1.0
    weigh[parts, -1] = 1.0
    weigh = weigh.to(rows)
    total = torch.zeros(parts + 1, parts + 1, dtype=torch.float64, device=rows.device)
    for columns in torch.split(rows, _COLUMNS, dim=1):
        weighed = weigh @ columns
        total += (weighed @ weighed.T).double()
    result: Matrix = total.cpu().numpy()
    return result


def _finite(value: float) -> float | None:
    return rounded(value) if math.isfinite(value) else None


def _positive(value: float | None) -> float | None:
    return rounded(value) if value is not None and 0 < value < math.inf else None


def _quotient(numerator: float | None, denominator: float | None) -> float | None:
    above, below = _positive(numerator), _positive(denominator)
    return _positive(above / below) if above is not None and below is not None else None
