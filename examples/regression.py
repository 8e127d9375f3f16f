"""A regression, where the metric is the loss and lower is better: how large can the batch be?

    python examples/regression.py                              # a small search: some ten seconds on one core
    batchlimit find examples/regression.py:workload            # the whole one, with a report

The data are scikit-learn's Friedman function of five of ten inputs, with noise of variance 1 on targets of variance 24.
"""

from __future__ import annotations

import torch
from sklearn.datasets import make_friedman1
from torch import nn

import batchlimit


def draw(count: int, seed: int) -> batchlimit.TensorSplit:
    """Return inputs (count, 10) and targets (count, 1), both scaled to about unit size."""
    inputs, targets = make_friedman1(count, noise=1.0, random_state=seed)
    scaled = (torch.from_numpy(targets).float() - 14.4) / 4.9
    return batchlimit.TensorSplit(torch.from_numpy(inputs).float() * 2 - 1, scaled.unsqueeze(1))


def load() -> batchlimit.DataSet:
    """Return 640 training examples, of which tuning holds out 128, and 512 for the test."""
    return batchlimit.DataSet(train=draw(640, seed=1), test=draw(512, seed=2), validation_size=128)


def make_model() -> nn.Module:
    """Return a network of one hidden layer for inputs (n, 10)."""
    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))


workload = batchlimit.Workload(
    name="friedman",
    make_model=make_model,
    load=load,
    loss=batchlimit.squared_error,
    metric=batchlimit.LOSS,
    baseline=batchlimit.Recipe(solver="momentum", lr=0.02, schedule="cosine"),
    batch_size=8,
    budget="15 epochs",
    description="Friedman's function, mean squared error",
)


def main() -> None:
    """Search three batch sizes, the bar 10 % above the baseline's loss; print what came of it."""
    settings = batchlimit.FindSettings(
        batch_sizes=(16, 128), recipes=("tuned momentum",), budget=2, seeds=2, max_seeds=4, tolerance=0.9
    )
    finding = batchlimit.find_limit(workload, settings=settings)
    print(f"linear scaling holds up to {finding.small_up_to.value}, some recipe up to {finding.large_up_to.value}")
    print(f"undecided with so few seeds: {sorted({*finding.small_up_to.undecided, *finding.large_up_to.undecided})}")
    print(f"{finding.cost.trials} trials, {finding.cost.samples:,} examples processed")


if __name__ == "__main__":
    main()
