"""The progress of a search: a live table on a terminal, one plain line a finished stage elsewhere; on stderr."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from batchlimit.cli.board import Board, Stage

if TYPE_CHECKING:
    from batchlimit.findings import LimitFinding
    from batchlimit.tuning.driver import Event
    from batchlimit.workloads.workload import Metric


class SearchProgress:
    """Shows the events of a search while it is entered; leaves the terminal as it was.

    `judged` says that `finding` will be called after events: a stage's line then waits for its decision.
    """

    def __init__(self, *, judged: bool = False, quiet: bool = False) -> None:
        self._board = Board()
        self._judged = judged
        self._ended: Stage | None = None
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._spinner = Spinner("dots")
        # The live display draws from a thread of its own while events change the board.
        self._lock = threading.Lock()
        self._live: Live | None = None
        if self._console.is_terminal and not quiet:
            self._live = Live(get_renderable=self._draw, console=self._console, transient=True, refresh_per_second=5)

    def __enter__(self) -> SearchProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._board.stages and error is None:
            self._say(self._board.line(self._board.stages[-1]))

    def metric(self, metric: Metric) -> None:
        """Say how the workload's metric is to be shown, once it is known."""
        with self._lock:
            self._board.percent, self._board.direction = metric.percent, metric.direction

    def begin(self, techniques: str) -> None:
        """Start over, for the search with another technique set."""
        with self._lock:
            last, self._ended = self._board, None
            self._board = Board(percent=last.percent, direction=last.direction, note=f"'{techniques}' techniques")
        if self._live is None:
            if last.stages:
                self._say(last.line(last.stages[-1]))
            self._say(f"With the '{techniques}' techniques:")

    def note(self, text: str) -> None:
        """Show what goes on besides trials."""
        with self._lock:
            self._board.note = text

    def event(self, event: Event) -> None:
        """Show one event of the driver."""
        with self._lock:
            ended = self._board.take(event)
        self._ended = ended or self._ended
        if not self._judged:
            self._say_ended()

    def finding(self, finding: LimitFinding) -> None:
        """Show what is decided so far."""
        with self._lock:
            self._board.learn(finding)
        self._say_ended()

    def _say_ended(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None and self._live is None:
            self._say(self._board.line(ended))

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False)

    def _draw(self) -> Group:
        with self._lock:
            status = Text(self._board.status(), overflow="ellipsis", no_wrap=True)
            table = self._board.table() if self._board.stages else None
        self._spinner.update(text=status)
        return Group(table, Text(""), self._spinner) if table is not None else Group(self._spinner)
