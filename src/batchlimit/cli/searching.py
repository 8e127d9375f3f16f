"""The progress of a search: a live table on a terminal, one plain line a finished stage elsewhere; on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from batchlimit.cli.board import Board, Stage
from batchlimit.cli.live import LiveDisplay

if TYPE_CHECKING:
    from batchlimit.findings import LimitFinding
    from batchlimit.tuning.driver import Event
    from batchlimit.workloads.workload import Metric


class SearchProgress(LiveDisplay):
    """Shows the events of a search while it is entered; leaves the terminal as it was.

    `judged` says that `finding` will be called after events: a stage's line then waits for its decision.
    """

    def __init__(self, *, judged: bool = False, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._board = Board()
        self._judged = judged
        self._ended: Stage | None = None

    def left(self, error: BaseException | None) -> None:
        """Say what the last stage found, where nothing is drawn."""
        if not self.is_live and self._board.stages and error is None:
            self.say(self._board.line(self._board.stages[-1]))

    def metric(self, metric: Metric) -> None:
        """Say how the workload's metric is to be shown, once it is known."""
        with self.lock:
            self._board.percent, self._board.direction = metric.percent, metric.direction

    def begin(self, techniques: str) -> None:
        """Start over, for the search with another technique set."""
        with self.lock:
            last, self._ended = self._board, None
            self._board = Board(percent=last.percent, direction=last.direction, note=f"'{techniques}' techniques")
        if not self.is_live:
            if last.stages:
                self.say(last.line(last.stages[-1]))
            self.say(f"With the '{techniques}' techniques:")

    def note(self, text: str) -> None:
        """Show what goes on besides trials."""
        with self.lock:
            self._board.note = text

    def event(self, event: Event) -> None:
        """Show one event of the driver."""
        with self.lock:
            ended = self._board.take(event)
        self._ended = ended or self._ended
        if not self._judged:
            self._say_ended()

    def finding(self, finding: LimitFinding) -> None:
        """Show what is decided so far."""
        with self.lock:
            self._board.learn(finding)
        self._say_ended()

    def _say_ended(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None and not self.is_live:
            self.say(self._board.line(ended))

    def draw(self) -> Group:
        """Return the table of batch sizes and the line of what runs."""
        with self.lock:
            status = Text(self._board.status(), overflow="ellipsis", no_wrap=True)
            table = self._board.table() if self._board.stages else None
        self.spinner.update(text=status)
        return Group(table, Text(""), self.spinner) if table is not None else Group(self.spinner)
