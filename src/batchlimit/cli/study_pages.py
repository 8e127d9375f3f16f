"""Draws the pages of all studies that a ledger keeps, and their index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchlimit.ledger import Ledger

FOLDER = "studies"


def has_studies(ledger: Ledger, workload: str | None = None) -> bool:
    """Return whether the ledger keeps a study (of `workload`, if given)."""
    from batchlimit.api.study import DOCUMENT

    names = ledger.documents(DOCUMENT)
    return any(workload is None or name.endswith(f"@{workload}") for name in names)


def draw_index(ledger: Ledger, folder: Path) -> Path:
    """Write the index of all studies of a ledger, whose pages are there; return its path.

    Raises:
        InputError: the folder cannot be written to.
    """
    from batchlimit.api import kept_studies
    from batchlimit.reports.index_page import write_index

    return write_index(list(kept_studies(ledger)), folder / FOLDER)


def draw_studies(ledger: Ledger, folder: Path) -> Path:
    """Write the page of every study of a ledger again, and the index; return the index's path.

    Raises:
        InputError: as `draw_index`.
    """
    from batchlimit.api import kept_studies
    from batchlimit.reports.index_page import write_index
    from batchlimit.reports.study_page import write_study

    results = list(kept_studies(ledger))
    for result in results:
        write_study(result, folder / FOLDER)
    return write_index(results, folder / FOLDER)
