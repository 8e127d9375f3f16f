"""Independent random streams from one seed, by purpose, so that no consumer disturbs another."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def derived_seed(seed: int, purpose: str, index: int = 0) -> int:
    """Return a 63-bit seed for `purpose` ('weights', 'order', ...) and `index` (an epoch, say)."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """Return a CPU generator seeded for `purpose` and `index`."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, index))
