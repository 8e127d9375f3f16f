"""Technique sets: which recipes a verdict may use; one registered file each."""

from __future__ import annotations

from collections.abc import Callable

from batchlimit.config import Recipe
from batchlimit.registry import Registry
from batchlimit.tuning.question import Candidate

# From the baseline's recipe without an LR rule: `lr` is its peak, `reference_batch_size` the batch size that has it.
TechniqueSet = Callable[[Recipe], tuple[Candidate, ...]]

techniques: Registry[TechniqueSet] = Registry("technique set", "batchlimit.tuning.techniques")
