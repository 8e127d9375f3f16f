"""A map-style `torch.utils.data.Dataset` of your own: how large can the batch be?

    python examples/map_style_dataset.py                       # a small search: some ten seconds on one core
    batchlimit find examples/map_style_dataset.py:workload     # the whole one, with a report

`from_dataset` reads every example once and keeps the tensors; `cache=False` reads them anew for every micro-batch.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import batchlimit

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Words(Dataset[tuple[Tensor, int]]):
    """Made-up words of 9 letters; the class is whether they have more vowels than consonants."""

    def __init__(self, count: int, seed: int) -> None:
        chooser = random.Random(seed)
        self.words = ["".join(chooser.choice(LETTERS + "aeiou" * 3) for _ in range(9)) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        word = self.words[index]
        vowels = sum(letter in "aeiou" for letter in word)
        return torch.tensor([LETTERS.index(letter) for letter in word]), int(vowels > 4)


def load() -> batchlimit.DataSet:
    """Return 1024 training examples, of which tuning holds out 128, and 384 for the test."""
    return batchlimit.DataSet(
        train=batchlimit.from_dataset(Words(1024, seed=1)),
        test=batchlimit.from_dataset(Words(384, seed=2)),
        validation_size=128,
    )


def make_model() -> nn.Module:
    """Return an embedding and a two-layer network over the 9 letters of words (n, 9)."""
    return nn.Sequential(nn.Embedding(26, 8), nn.Flatten(), nn.Linear(72, 32), nn.ReLU(), nn.Linear(32, 2))


workload = batchlimit.Workload(
    name="words",
    make_model=make_model,
    load=load,
    baseline=batchlimit.Recipe(solver="adam", lr=0.02, schedule="cosine"),
    batch_size=16,
    budget="10 epochs",
    description="More vowels than consonants?",
)


def main() -> None:
    """Search with three batch sizes and one recipe besides linear scaling; print what came of it."""
    settings = batchlimit.FindSettings(batch_sizes=(64, 256), recipes=("lamb",), budget=2, seeds=2, max_seeds=4)
    finding = batchlimit.find_limit(workload, settings=settings)
    print(f"linear scaling holds up to {finding.small_up_to.value}, some recipe up to {finding.large_up_to.value}")
    print(f"undecided with so few seeds: {sorted({*finding.small_up_to.undecided, *finding.large_up_to.undecided})}")
    print(f"{finding.cost.trials} trials, {finding.cost.samples:,} examples processed")


if __name__ == "__main__":
    main()
