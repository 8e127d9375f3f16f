"""Two optimizers on two copies of one small model, each fed with its own gradients: so codes of others are compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def small_model() -> nn.Sequential:
    """Return a float64 model of a convolution, two matrices and their biases.

    Smooth, so that no gradient entry is exactly 0; no side of a (flattened) tensor is longer than 8, and no two
    dimensions but the convolution's last three multiply to 8 or less (so SOAP codes flatten it to the same matrix).
    """
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 2), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)).double()


class Training:
    """A model, its optimizer, and 32 fresh examples a step, the same for every training."""

    def __init__(self, make: Callable[[nn.Module], torch.optim.Optimizer]) -> None:
        self.model = small_model()
        self.parameters = list(self.model.parameters())
        self.optimizer = make(self.model)
        self._generator = torch.Generator().manual_seed(1)

    def backward(self) -> None:
        """Compute the gradients of the next examples at the present weights."""
        inputs = torch.randn(32, 1, 4, 4, generator=self._generator).double()
        targets = torch.randn(32, 3, generator=self._generator).double()
        self.optimizer.zero_grad()
        (self.model(inputs) - targets).square().mean().backward()

    def step(self, lr: float | None = None) -> None:
        """Take one update, at `lr` if it is given."""
        if lr is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
        self.backward()
        self.optimizer.step()

    def weights(self) -> Tensor:
        """Return all weights as one vector."""
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters])


def trainings(
    ours: Callable[[nn.Module], torch.optim.Optimizer], theirs: Callable[[nn.Module], torch.optim.Optimizer]
) -> tuple[Training, Training]:
    """Return a training with each optimizer, from the same weights."""
    return Training(ours), Training(theirs)


def tensors(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of two dimensions or more."""
    return [parameter for parameter in model.parameters() if parameter.ndim > 1]


def vectors(model: nn.Module) -> list[nn.Parameter]:
    """Return the other parameters."""
    return [parameter for parameter in model.parameters() if parameter.ndim <= 1]


def assert_same(ours: Training, theirs: Training, tolerance: float) -> None:
    """Assert that no weight is off by more than `tolerance` times the largest of its tensor, and that tensors moved."""
    for mine, other, begin in zip(ours.parameters, theirs.parameters, small_model().parameters(), strict=True):
        largest = float(other.detach().abs().max())
        torch.testing.assert_close(mine.detach(), other.detach(), rtol=0, atol=tolerance * largest)
        assert float((mine - begin).detach().abs().max()) > 100 * tolerance * largest


def apart(ours: Training, theirs: Training) -> float:
    """Return the distance between the weights."""
    return float((ours.weights() - theirs.weights()).norm())


def length(training: Training) -> float:
    """Return how far the weights are from where they began."""
    begin = torch.cat([parameter.detach().flatten() for parameter in small_model().parameters()])
    return float((training.weights() - begin).norm())
