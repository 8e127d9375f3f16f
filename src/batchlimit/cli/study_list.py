"""`batchlimit list studies`: each study's question, the paper's figure, its trials and their time on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from batchlimit.cli.options import use_data_dir
from batchlimit.cli.places import places
from batchlimit.cli.terminal import Output


def list_studies(
    workload: str, scale: Literal["smoke", "quick", "paper"], data_dir: str | None, *, as_json: bool
) -> None:
    """Print every study with its trials on `workload` at `scale`, timed on this machine.

    Raises:
        InputError: there is no such workload, or its data cannot be used.
    """
    use_data_dir(data_dir)
    from batchlimit.api.study import Studying
    from batchlimit.reports.quantities import span
    from batchlimit.studies import studies
    from batchlimit.studies.facts import StudySettings

    ledger = places(workload, None, None).ledger
    rows = []
    kept = ledger if Path(ledger).is_file() else ":memory:"
    with Studying(workload, StudySettings(scale=scale), kept) as studying:
        jobs = studying.worker_count
        for name in studies:
            plan = studying.plan(name)
            seconds = sum(value or 0.0 for value in plan.seconds) / jobs
            rows.append((plan.study, sum(plan.trials), plan.known, seconds))
    if as_json:
        found = [
            {
                "name": study.name,
                "question": study.question,
                "paper": study.paper,
                "trials": trials,
                "known": known,
                "seconds": seconds,
                "search": study.search is not None,
            }
            for study, trials, known, seconds in rows
        ]
        print(json.dumps({"workload": workload, "scale": scale, "jobs": jobs, "studies": found}))
        return
    console = Output()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("study", no_wrap=True)
    table.add_column("question")
    table.add_column("the paper")
    table.add_column("trials", justify="right")
    table.add_column("time", justify="right", no_wrap=True)
    for study, trials, known, seconds in rows:
        more = "+" if study.search is not None else ""
        shown = f"{trials:,}{more}" + (f" ({known:,} kept)" if known else "")
        time = f"{span(seconds)}{more}" if trials else "-"
        table.add_row(study.name, Text(study.question), Text(study.paper), shown, time)
    console.print(table)
    console.print(
        f"On {workload} at scale {scale}, {jobs} trials at a time, by trials timed on this machine; what its ledger "
        "has is not counted. '+': and a search for the limit, which takes as many trials as its verdict."
    )
