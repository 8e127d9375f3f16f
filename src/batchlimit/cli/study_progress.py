"""The progress of studies on stderr: a live line on a terminal, elsewhere a plain line a study and every 5 minutes."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from batchlimit.cli.live import LiveDisplay
from batchlimit.reports.quantities import counted, span

if TYPE_CHECKING:
    from batchlimit.studies.results import StudyResult
    from batchlimit.tuning.driver import Event


EVERY_SECONDS = 300.0  # how often a line says how far a long study is, where there is no terminal


class StudyProgress(LiveDisplay):
    """Shows which of `total` studies runs, its trials and the time left; leaves the terminal as it was."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._total = total
        self._name = self._status = ""
        self._number = self._trials = self._reused = 0
        self._said = time.monotonic()
        self._finished: list[tuple[str, str]] = []

    def begin(self, name: str) -> None:
        """Show that a study begins."""
        with self.lock:
            self._number += 1
            self._name, self._status, self._trials, self._reused = name, "preparing", 0, 0

    def event(self, event: Event) -> None:
        """Show one event of the driver."""
        with self.lock:
            if event.record is not None:
                self._trials += 1
                self._reused += event.kind == "reused"
            expected = event.expected
            parts = [event.purpose]
            if expected is not None and expected >= event.done:
                parts.append(f"{event.done:,} of {expected:,} trials")
            else:
                parts.append(counted(event.done, "trial"))
            if self._reused:
                parts.append(f"{self._reused:,} from the ledger")
            if event.seconds_left is not None and event.seconds_left >= 1:
                parts.append(f"about {span(event.seconds_left)} left")
            self._status = " · ".join(parts)
        if not self.is_live and time.monotonic() - self._said > EVERY_SECONDS:
            self._said = time.monotonic()
            self.say(f"{self._name}: {self._status}")

    def drawing(self) -> None:
        """Show that the page is drawn."""
        with self.lock:
            self._status = "drawing the page"

    def end(self, result: StudyResult) -> None:
        """Show that a study has ended, and how its claims fare."""
        found = Counter(claim.judge(result).agreement for claim in result.study.claims)
        said = ", ".join(f"{number} {agreement}" for agreement, number in found.items()) or "no claims"
        reused = f", {self._reused:,} from the ledger" if self._reused else ""
        line = f"{counted(self._trials, 'trial')}{reused}; {said}"
        with self.lock:
            self._finished.append((self._name, line))
        if not self.is_live:
            self.say(f"{self._name}: {line}")

    def draw(self) -> Group:
        """Return the finished studies and the line of what runs."""
        with self.lock:
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
            for name, line in self._finished:
                table.add_row(Text(name), Text(line, style="dim"))
            where = f"{self._name} ({self._number} of {self._total}): " if self._name else ""
            status = Text(f"{where}{self._status}", overflow="ellipsis", no_wrap=True)
        self.spinner.update(text=status)
        return Group(table, self.spinner)
