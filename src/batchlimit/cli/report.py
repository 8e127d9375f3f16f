"""`batchlimit report`: draws the report and the pages of studies again from a ledger, without training."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from batchlimit.cli import options as o
from batchlimit.cli.exits import RUN_FAILED
from batchlimit.cli.places import existing_ledger, folder_of
from batchlimit.errors import InputError


def report(
    workload: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKLOAD]",
            help="Whose report, or the folder of a run; default: the only one.",
            show_default=False,
        ),
    ] = None,
    out: o.OutFolder = None,
    ledger: o.LedgerLocation = None,
    as_json: o.AsJson = False,
) -> None:
    """Draw the report, and the pages of studies, again from a ledger. Nothing is trained; PyTorch is not needed.

    [bold]Examples[/bold]

        [cyan]batchlimit report digits[/cyan]  (from ./batchlimit-digits/ledger.db)
        [cyan]batchlimit report runs/digits[/cyan]  (a folder with a ledger.db)
        [cyan]batchlimit report --ledger batchlimit-digits/ledger.db --out elsewhere[/cyan]
    """
    from rich.text import Text

    from batchlimit.api import redraw, redraw_beside
    from batchlimit.cli.conclusion import as_object, conclude
    from batchlimit.cli.study_pages import draw_studies, has_studies
    from batchlimit.cli.terminal import Output
    from batchlimit.ledger import Ledger
    from batchlimit.reports.folder import check_writable
    from batchlimit.reports.page import write_report

    workload, out = folder_of(workload, out, ledger)
    where = existing_ledger(workload, out, ledger)
    check_writable(where.out)
    with Ledger.open(where.ledger, create=False) as kept:
        index = draw_studies(kept, where.out) if has_studies(kept) else None
        asked = kept.documents("question")
        if index is not None and (not asked or (workload not in asked and has_studies(kept, workload))):
            # Studies alone: there was no search for the limit.
            print(json.dumps({"index": str(index)}) if as_json else f"Studies: {index}")
            return
        name = _asked(workload, kept, where.shown)
        finding = redraw(kept, name)
        beside = () if finding.problem else redraw_beside(kept, name)
        page = write_report(finding, kept.records(), where.out, beside)
    if as_json:
        print(as_object(finding, beside, ledger=where.shown, report=page))
    else:
        if index is not None:
            Output().print(Text(f"Studies: {index}"), soft_wrap=True)
        conclude(finding, beside, ledger=where.shown, report=page)
    if finding.problem:
        raise typer.Exit(RUN_FAILED)


def _asked(workload: str | None, kept: object, location: str) -> str:
    """Return the workload to report on: the one named, or the only one that the ledger has a question for."""
    from batchlimit.ledger import Ledger

    assert isinstance(kept, Ledger)
    names = sorted(kept.documents("question"))
    if workload is not None:
        return workload
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(f"The ledger '{location}' holds no search to report on. Run 'batchlimit find WORKLOAD' first.")
    raise InputError(f"The ledger '{location}' holds several searches. Say which: {', '.join(names)}.")
