"""Trials one after another in this process: for one job, and for workloads that exist only here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from batchlimit.config import TrialConfig
from batchlimit.records import TrialRecord


class InlineRunner:
    """Calls `run(config)` for each trial in turn; what it raises passes through."""

    jobs = 1

    def __init__(self, run: Callable[[TrialConfig], TrialRecord]) -> None:
        self._run = run

    def run(self, configs: Sequence[TrialConfig]) -> Iterator[TrialRecord]:
        """Yield the record of each trial, in order."""
        for config in configs:
            yield self._run(config)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
