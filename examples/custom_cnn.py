"""A CNN of your own on tensors in memory: how large can its batch be?

    python examples/custom_cnn.py                              # a small search: some ten seconds on one core
    batchlimit find examples/custom_cnn.py:workload            # the whole one, with a report

The data are drawn here: noisy 12 x 12 images of stripes in one of four directions. Put your own tensors in `load`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import batchlimit


def draw(count: int, seed: int) -> batchlimit.TensorSplit:
    """Return `count` images (count, 1, 12, 12) of bytes with their direction (count,) as the class."""
    random = torch.Generator().manual_seed(seed)
    directions = torch.randint(4, (count,), generator=random)
    angles = directions[:, None, None] * (math.pi / 4)
    row, column = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    phases = torch.rand((count, 1, 1), generator=random) * 2 * math.pi
    waves = torch.sin(1.2 * (row * torch.sin(angles) + column * torch.cos(angles)) + phases)
    noisy = waves + torch.randn(waves.shape, generator=random)
    return batchlimit.TensorSplit((noisy * 40 + 128).clamp(0, 255).byte().unsqueeze(1), directions)


def load() -> batchlimit.DataSet:
    """Return 640 training examples, of which tuning holds out 128, and 512 for the test."""
    return batchlimit.DataSet(train=draw(640, seed=1), test=draw(512, seed=2), validation_size=128)


def make_model() -> nn.Module:
    """Return the network; it is called anew, under the trial's seed, for every trial."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )


def prepare(images: Tensor) -> Tensor:
    """Return stored bytes as the model takes them; runs on the device, one micro-batch at a time."""
    return images.float() / 64 - 2


workload = batchlimit.Workload(
    name="stripes",
    make_model=make_model,
    load=load,
    prepare=prepare,
    baseline=batchlimit.Recipe(solver="momentum", lr=0.03, schedule="cosine"),
    batch_size=8,
    budget="6 epochs",
    description="Directions of noisy stripes",
)


def main() -> None:
    """Search with three batch sizes and one recipe besides linear scaling; print what came of it."""
    settings = batchlimit.FindSettings(
        batch_sizes=(16, 128), recipes=("tuned momentum",), budget=2, seeds=2, max_seeds=4
    )
    finding = batchlimit.find_limit(workload, settings=settings)
    print(f"linear scaling holds up to {finding.small_up_to.value}, some recipe up to {finding.large_up_to.value}")
    print(f"undecided with so few seeds: {sorted({*finding.small_up_to.undecided, *finding.large_up_to.undecided})}")
    print(f"{finding.cost.trials} trials, {finding.cost.samples:,} examples processed")


if __name__ == "__main__":
    main()
