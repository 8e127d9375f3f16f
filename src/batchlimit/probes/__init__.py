"""Probes: what can be measured while a trial trains, off by default; one registered file each."""

from __future__ import annotations

from collections.abc import Callable

from batchlimit.probes.probe import Probe, Setting, finite
from batchlimit.registry import Registry

probes: Registry[Callable[[Setting], Probe]] = Registry("probe", "batchlimit.probes")

__all__ = ["Probe", "Setting", "finite", "probes"]
