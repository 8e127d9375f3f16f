"""The recipe's AdaScale: its gain from the gradients of a batch's parts, and the schedule read at its progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from batchlimit.config import Recipe, TrialConfig
from batchlimit.engine.step import GradientAccumulator
from batchlimit.errors import InputError
from batchlimit.optimizers.adascale import AdaScale
from batchlimit.probes.gradient_noise import check_divisible, ends_part

_MOST_PARTS = 8


def schedule_units(config: TrialConfig, total_steps: int) -> tuple[int, int]:
    """Return the batch size and the number of steps that the recipe's schedule and warmup count in.

    Those of the trial; with AdaScale, of a training at the reference batch size on as many examples.
    """
    reference = config.recipe.reference_batch_size
    if not config.recipe.adascale or reference is None:
        return config.batch_size, total_steps
    return reference, math.ceil(total_steps * config.batch_size / reference - 1e-9)


def adascale_of(
    config: TrialConfig, model: nn.Module, optimizer: torch.optim.Optimizer, accumulate: GradientAccumulator
) -> Scaling | None:
    """Return what scales the learning rate of this trial; None without AdaScale and at the reference batch size.

    Raises:
        InputError: as `check_adascale`.
    """
    recipe, batch_size = config.recipe, config.batch_size
    check_adascale(recipe, model, optimizer, batch_size)
    if not recipe.adascale or recipe.reference_batch_size in (None, batch_size):
        return None
    assert recipe.reference_batch_size is not None
    return Scaling(accumulate, batch_size=batch_size, reference_batch_size=recipe.reference_batch_size)


def check_adascale(recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer, batch_size: int) -> None:
    """Check that AdaScale, if the recipe has it, can be used.

    Raises:
        InputError: a batch below the reference batch size or not to be cut in two, or a solver with trust ratios.
    """
    if not recipe.adascale:
        return
    assert recipe.reference_batch_size is not None
    if hasattr(optimizer, "trust_ratios"):
        raise InputError(
            f"adascale scales a learning rate, and the trust ratios of '{recipe.solver}' undo that. "
            "Valid: a solver without, such as 'momentum', and no recipe.layerwise."
        )
    if batch_size < recipe.reference_batch_size:
        raise InputError(
            f"adascale at batch_size {batch_size}, below reference_batch_size {recipe.reference_batch_size}. "
            f"Valid: {recipe.reference_batch_size} or more."
        )
    if batch_size > recipe.reference_batch_size:
        check_divisible(model, batch_size, "adascale")


class Scaling:
    """AdaScale in a training: it sees the gradients of 2 to 8 parts of each batch, cut at fixed places.

    The parts are as many as the batch has reference batches, 8 at most; a part's variance is brought to the reference
    batch size. Memory: two copies of the parameters.

    Source: Johnson et al., 2020 (arXiv 2007.05105), Algorithm 1 and section 3.2.
    """

    def __init__(self, accumulate: GradientAccumulator, *, batch_size: int, reference_batch_size: int) -> None:
        self.scaler = AdaScale(batch_size / reference_batch_size)
        self._batch_size, self._reference = batch_size, reference_batch_size
        self._parts = min(_MOST_PARTS, max(2, math.ceil(self.scaler.scale)))
        self._parameters = accumulate.parameters
        self._last = self._count = 0
        self._sum: list[Tensor] = []
        self._scatter = torch.zeros((), device=accumulate.device)
        self._power = torch.zeros((), device=accumulate.device)
        accumulate.divisions += (self._parts,)
        accumulate.observers.append(self._after_microbatch)

    def factor(self, schedule: Callable[[int], float]) -> float:
        """Return the factor on the peak learning rate for the gradient just computed: the gain times the schedule."""
        factor = schedule(int(self.scaler.progress))
        variance = self._scatter.item() / max(1, self._count - 1)
        power = self._power.item()
        if not (math.isfinite(variance) and math.isfinite(power)):
            return factor  # training has diverged, and its watch is about to say so
        return self.scaler.update(variance / self._reference, power - variance / self._batch_size) * factor

    @torch.no_grad()
    def _after_microbatch(self, step: int, start: int, stop: int) -> None:
        """Add to the scatter sum_j m_j ||g_j - g||^2 where a part ends: m n / (m + n) ||g_m - g_n||^2.

        n examples before it have the mean gradient g_n, its own m have g_m (Welford's update, for vectors).
        """
        if start == 0:
            self._last = self._count = 0
            self._scatter.zero_()
        size, before = self._batch_size, self._last
        if not ends_part(stop, before, self._parts, size):
            return
        present = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        own = stop - before
        if before:
            shift = torch._foreach_mul(self._sum, -(1.0 / own + 1.0 / before))
            torch._foreach_add_(shift, present, alpha=1.0 / own)
            self._scatter += _squared_norm(shift) * (size**2 * own * before / stop)
        self._last, self._count = stop, self._count + 1
        if stop < size:
            self._sum = [gradient.clone() for gradient in present]
        else:
            self._sum, self._power = [], _squared_norm(present)


def _squared_norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(list(tensors))).square().sum()
