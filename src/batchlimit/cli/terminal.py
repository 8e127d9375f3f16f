"""The console that results are printed on."""

from __future__ import annotations

from rich.console import Console


class Output(Console):
    """Standard output; a reader that leaves early (`| head`) ends the command quietly, not as a failed run."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        """Leave it to `exits.Commands`; rich would exit with 1."""
        raise BrokenPipeError
