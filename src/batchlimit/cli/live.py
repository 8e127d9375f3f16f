"""What progress displays share: a live display on a terminal, plain lines elsewhere; on stderr."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner


class LiveDisplay:
    """Draws itself while it is entered, from a thread of its own; leaves the terminal as it was.

    `lock` guards what `draw` reads.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.lock = threading.Lock()
        self.spinner = Spinner("dots")
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._live: Live | None = None
        self.is_live = self._console.is_terminal and not quiet  # whether there is a terminal to draw on

    def draw(self) -> Group:
        """Return what is shown now."""
        raise NotImplementedError

    def say(self, line: str) -> None:
        """Print one plain line."""
        self._console.print(line, soft_wrap=True, markup=False)

    def __enter__(self) -> Self:
        if self.is_live:
            # Not before: it draws as soon as it is made.
            self._live = Live(get_renderable=self.draw, console=self._console, transient=True, refresh_per_second=5)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self.left(error)

    def left(self, error: BaseException | None) -> None:
        """Do what is to be done when the display is left."""
