"""Where trials are computed: runners take configurations and give records back as they finish."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from batchlimit.config import TrialConfig
from batchlimit.records import HistoryPoint, TrialRecord

OnPoint = Callable[[TrialConfig, HistoryPoint, int], None]
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Runner(Protocol):
    """Computes trials, `jobs` at a time, statelessly; `run` yields records in the order in which they finish."""

    jobs: int

    def run(self, configs: Sequence[TrialConfig]) -> Iterator[TrialRecord]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def affinity() -> list[int]:
    """Return the numbers of the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """Return how many cores this process may keep busy: its affinity, or a container's CPU quota where that is less."""
    cores = len(affinity())
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        return min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or the quota is "max"
        return cores


def default_jobs(device: str) -> int:
    """Return how many trials to run at once: one a usable core on 'cpu', one otherwise."""
    return usable_cores() if device == "cpu" else 1
