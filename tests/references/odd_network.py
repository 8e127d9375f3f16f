"""A network with what is seldom in one: layers that share a weight, one called by name, a parameter without numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OddNetwork(nn.Module):
    """Inputs (n, 6), outputs (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 6)
        self.twin = nn.Linear(6, 6, bias=False)
        self.twin.weight = self.first.weight
        self.named = nn.Linear(6, 8)
        self.last = nn.Linear(8, 3)
        self.last.bias.requires_grad_(False)
        self.empty = nn.Parameter(torch.zeros(0, 4))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs."""
        hidden = torch.tanh(self.twin(torch.tanh(self.first(inputs))))
        outputs: Tensor = self.last(torch.tanh(self.named(input=hidden))) + self.empty.sum()
        return outputs

    def train_with(self, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
        """Return the losses of `steps` updates on the same 32 examples."""
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(32, 6, generator=generator)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (self(inputs) - inputs[:, :3]).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses
