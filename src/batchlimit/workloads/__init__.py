"""Workloads: model + data + loss + metric + baseline; one registered file each."""

from __future__ import annotations

from collections.abc import Callable

from batchlimit.registry import Registry
from batchlimit.workloads.workload import Workload

workloads: Registry[Callable[[], Workload]] = Registry("workload", "batchlimit.workloads")
