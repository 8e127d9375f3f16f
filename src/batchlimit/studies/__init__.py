"""Studies: each table and figure of the paper as a question answered with trials; one registered file each."""

from __future__ import annotations

from batchlimit.registry import Registry
from batchlimit.studies.study import Study

studies: Registry[Study] = Registry("study", "batchlimit.studies", plural="studies")

__all__ = ["Study", "studies"]
