"""The recipe's noise, put in during training: on activations, weights, gradients or labels."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from batchlimit.config import Noise, Recipe
from batchlimit.engine.step import GradientAccumulator
from batchlimit.errors import InputError
from batchlimit.models.noise import ActivationNoise, add_gradient_noise_, noise_std, noisy_targets, weight_noise
from batchlimit.workloads.workload import LEFT_OUT, Loss, classes_last, cross_entropy


def noise_of(
    recipe: Recipe, model: nn.Module, accumulate: GradientAccumulator, loss: Loss, *, total_steps: int, seed: int
) -> NoiseInjection | None:
    """Return what puts the recipe's noise into the training of `model`, None for a recipe without.

    Raises:
        InputError: noise on activations for a model that has no layer for it.
    """
    if recipe.noise is None:
        return None
    return NoiseInjection(recipe.noise, model, accumulate, loss, total_steps=total_steps, seed=seed)


def check_noise(recipe: Recipe, model: nn.Module) -> None:
    """Check that the recipe's noise has a place in `model`, which is left as it was.

    Raises:
        InputError: noise on activations for a model that has no layer for it.
    """
    if recipe.noise is not None and recipe.noise.where == "activations":
        ActivationNoise(model, recipe.noise.std).remove()


class NoiseInjection:
    """One training's noise: its size follows the recipe's decay, its numbers the seed and the step.

    Noise on activations and labels depends on an example's place in the batch, that on weights and gradients on the
    step alone, so none of it on how the batch is cut into micro-batches. It stays in the model, silent outside of
    training, as long as the model is there.

    Source: You et al., 2020, section 6.3.
    """

    def __init__(
        self,
        noise: Noise,
        model: nn.Module,
        accumulate: GradientAccumulator,
        loss: Loss,
        *,
        total_steps: int,
        seed: int,
    ) -> None:
        self._noise, self._loss, self._total_steps, self._seed = noise, loss, total_steps, seed
        self._parameters = accumulate.parameters
        self._std = noise.std
        self._activations = ActivationNoise(model, noise.std) if noise.where == "activations" else None
        if noise.where == "labels":
            accumulate.disturb_targets = self._on_targets

    def std(self, step: int) -> float:
        """Return the standard deviation at weight update `step` (0-based)."""
        return noise_std(self._noise.std, step, self._total_steps, decay=self._noise.decay, power=self._noise.power)

    def during_passes(self, step: int) -> AbstractContextManager[None]:
        """Disturb the forward and backward passes of weight update `step` that are taken within the block."""
        self._std = self.std(step)
        if self._activations is not None:
            self._activations.std = self._std
        if self._noise.where == "weights":
            return weight_noise(self._parameters, self._std, seed=self._seed, step=step)
        return nullcontext()

    def on_gradients(self, step: int) -> None:
        """Disturb the gradients of weight update `step`, once they are whole and clipped: the noise keeps its size."""
        if self._noise.where == "gradients":
            add_gradient_noise_(self._parameters, self.std(step), seed=self._seed, step=step)

    def _on_targets(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the loss takes in place of `outputs` and `targets`.

        Class indices (n, ...) become noisy rows, and the outputs have their classes where the loss looks for those of
        such rows, in dimension 1. Positions that are left out have rows of -100, which it leaves out, or of 0 for a
        loss of the workload's own.

        Raises:
            InputError: the outputs' classes are not to be found.
        """
        if targets.is_floating_point():
            return outputs, noisy_targets(targets, self._std)
        logits = classes_last("noise on labels", outputs, targets)
        if logits is outputs and outputs.dim() > 2 and self._loss is not cross_entropy:
            raise InputError(
                f"Noise on labels of shape {tuple(targets.shape)} for outputs of shape {tuple(outputs.shape)}, whose "
                "classes may be last, and a loss of the workload's own. Valid: outputs (n, classes, ...) that fit no "
                "other order, or the loss cross_entropy."
            )
        indices = targets.long()
        left_out = indices == LEFT_OUT
        rows = noisy_targets(indices.masked_fill(left_out, 0), self._std, classes=logits.shape[-1])
        rows = rows.masked_fill(left_out.unsqueeze(-1), LEFT_OUT if self._loss is cross_entropy else 0.0)
        return logits.movedim(-1, 1), rows.movedim(-1, 1)
