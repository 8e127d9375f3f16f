"""`batchlimit study`: answer a question with trials, and draw its tables and figures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from batchlimit.cli import options as o
from batchlimit.cli.exits import resumable
from batchlimit.cli.layers import Layers
from batchlimit.cli.places import Places, places, writable
from batchlimit.cli.study_pages import FOLDER, draw_index
from batchlimit.cli.study_progress import StudyProgress
from batchlimit.cli.terminal import Output
from batchlimit.errors import InputError

if TYPE_CHECKING:
    from batchlimit.api.study import Studying, StudyPlan
    from batchlimit.studies.results import StudyResult


def study(
    names: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="Names ('batchlimit list studies'), with commas; 'all'; or your own: file.toml, file.py:name.",
            show_default=False,
        ),
    ],
    overrides: o.Overrides = None,
    workload: Annotated[
        str, typer.Option("--workload", "-w", metavar="WORKLOAD", help="What to train.", rich_help_panel=o.SEARCH)
    ] = "digits",
    scale: Annotated[
        Literal["smoke", "quick", "paper"] | None,
        typer.Option(
            "--scale",
            help="smoke: does it run; quick: minutes; paper: the paper's lengths and protocol. Default: quick.",
            rich_help_panel=o.SEARCH,
            show_default=False,
        ),
    ] = None,
    config: o.ConfigFile = None,
    epochs: o.Epochs = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", metavar="N", help="Seeds behind each figure.", rich_help_panel=o.SEARCH, show_default=False
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget",
            metavar="N",
            help="Tuning trials for each arm of the study.",
            rich_help_panel=o.SEARCH,
            show_default=False,
        ),
    ] = None,
    paper_protocol: o.PaperProtocol = False,
    max_hours: Annotated[
        float | None,
        typer.Option(
            "--max-hours",
            metavar="H",
            help="Leave out what would not fit, by costs measured here; the page says what.",
            rich_help_panel=o.RUNNING,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List the trials and their time, train nothing.", rich_help_panel=o.RUNNING),
    ] = False,
    device: o.Device = None,
    jobs: o.Jobs = None,
    data_dir: o.DataDir = None,
    out: o.OutFolder = None,
    ledger: o.LedgerLocation = None,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Run studies: each table and figure of the paper, on any workload, from one ledger.

    A study trains its arms (each tuned with the same budget, then measured with several seeds), judges the paper's
    claims by the result, and writes one page with tables and figures, linked from an index over all studies.

    [bold]Examples[/bold]

        [cyan]batchlimit study solvers[/cyan]  (Table 3 on the embedded digits, minutes)
        [cyan]batchlimit study ladder,noise --workload mnist-lenet5 --epochs 10 recipe.precision=bf16[/cyan]
        [cyan]batchlimit study all --scale smoke[/cyan]  (does everything run?)
        [cyan]batchlimit study my_study.toml --workload my_module:my_workload --dry-run[/cyan]

    Settings as key=value: scale, epochs, seeds, budget, protocol, max_hours, and recipe.* for fields of the baseline's
    recipe. Stop it at any time: the same command goes on; studies share the trials they have in common.
    """
    layers = o.layered(
        config,
        {
            "scale": ("--scale", scale),
            "epochs": ("--epochs", epochs),
            "seeds": ("--seeds", seeds),
            "budget": ("--budget", budget),
            "protocol": ("--paper-protocol", o.protocol(paper_protocol)),
            "max_hours": ("--max-hours", max_hours),
            "device": ("--device", device),
            "jobs": ("--jobs", jobs),
            "data_dir": ("--data-dir", data_dir),
            "out": ("--out", out),
            "ledger": ("--ledger", ledger),
        },
        overrides,
    )
    run_options = o.run_options(layers)
    where = places(workload, run_options.out, run_options.ledger)
    asked = _asked(names)
    own = _own(asked)
    if dry_run or own:
        # Before a ledger is made, and with it the folder that it lies in.
        with _studying(workload, layers, run_options, where, dry_run=True) as studying:
            for name in own:
                studying.check(name)
            if dry_run:
                _show_plans([studying.plan(name) for name in asked], studying, as_json=as_json)
                return
    message = f"Finished trials are in {where.shown}; the same command goes on from there"
    with (
        writable(where.out),
        _studying(workload, layers, run_options, where, dry_run=False) as studying,
        StudyProgress(len(asked), quiet=quiet) as progress,
        resumable(message),
    ):
        done = [_one(studying, name, where.out, progress) for name in asked]
        index = draw_index(studying.kept, where.out)
    if as_json:
        print(json.dumps({"studies": [_as_object(*pair) for pair in done], "index": str(index), "ledger": where.shown}))
    else:
        _conclude(done, index, where)


def _asked(names: str) -> list[str]:
    """Return the studies named, each of which exists."""
    from batchlimit.studies import studies
    from batchlimit.studies.finding import find_study

    given = [name.strip() for name in names.split(",") if name.strip()]
    asked = list(dict.fromkeys(each for name in given for each in (studies if name == "all" else (name,))))
    if not asked:
        raise InputError(
            f"There is no study in '{names}'. Valid: names with commas ('batchlimit list studies'), all, or your own: "
            "file.toml, file.py:name."
        )
    called: dict[str, str] = {}
    for name in asked:
        study, _ = find_study(name)
        other = called.setdefault(study.name.lower(), name)
        if other != name:
            raise InputError(
                f"The studies '{other}' and '{name}' are both called '{study.name}': one's page would take the other's "
                "place. Give one another name."
            )
    return asked


def _own(asked: Iterable[str]) -> list[str]:
    """Return those that are no studies of batchlimit's: their arms may hold any mistake."""
    from batchlimit.studies import studies

    return [name for name in asked if name not in studies]


def _studying(workload: str, layers: Layers, run_options: o.RunOptions, where: Places, *, dry_run: bool) -> Studying:
    from batchlimit.studies.facts import StudySettings

    settings = layers.build(StudySettings, also=o.RunOptions.model_fields)

    from batchlimit.api.study import Studying
    from batchlimit.workloads.resolve import resolve

    layers.check_changes("recipe", resolve(workload).baseline)
    kept = "://" in where.ledger or Path(where.ledger).is_file()
    ledger = where.ledger if kept or not dry_run else ":memory:"
    return Studying(workload, settings, ledger, run_options.jobs, o.execution(run_options, ledger))


def _one(studying: Studying, name: str, folder: Path, progress: StudyProgress) -> tuple[StudyResult, Path]:
    """Run one study and write its page."""
    progress.begin(name)
    result = studying.run(name, progress.event)
    progress.drawing()
    from batchlimit.reports.study_page import write_study

    page = write_study(result, folder / FOLDER)
    progress.end(result)
    return result, page


def _conclude(done: list[tuple[StudyResult, Path]], index: Path, where: Places) -> None:
    """Print each study's question, how the paper's claims fare, and where the pages are."""
    from batchlimit.reports.quantities import counted
    from batchlimit.reports.study_account import refusals

    console = Output()
    wide = not console.is_terminal
    for result, page in done:
        console.print(Text(f"{result.study.name}: {result.study.question}", style="bold"), soft_wrap=wide)
        for claim in result.study.claims:
            judged = claim.judge(result)
            tail = "; ".join(part for part in (judged.ours, judged.reason) if part)
            console.print(Text(f"  {judged.agreement:14} {claim.text}{f' ({tail})' if tail else ''}"), soft_wrap=wide)
        for words in refusals(result):
            console.print(Text(f"  {words}"), soft_wrap=wide)
        if result.left_out:
            left_out = counted(len(result.left_out), "arm")
            console.print(Text(f"  Left out: {left_out} that did not fit into the time given."))
        console.print(Text(f"  {page}"), soft_wrap=True)
    console.print()
    console.print(Text(f"Ledger: {where.shown}"), soft_wrap=True)
    console.print(Text(f"Index: {index}"), soft_wrap=True)


def _as_object(result: StudyResult, page: Path) -> dict[str, Any]:
    judged = [(claim, claim.judge(result)) for claim in result.study.claims]
    return {
        "study": result.study.name,
        "workload": result.facts.workload,
        "scale": result.effort.scale,
        "arms": [
            {
                "labels": arm.labels,
                "status": arm.status,
                **arm.estimate().shown(percent=result.facts.metric_percent).model_dump(),
                "diverged": arm.diverged,
                "recipe": arm.chosen.model_dump(mode="json", exclude_defaults=True) if arm.chosen else None,
            }
            for arm in result.arms
        ],
        "claims": [
            {"claim": c.text, "source": c.source, "agreement": j.agreement, "ours": j.ours, "reason": j.reason}
            for c, j in judged
        ],
        "left_out": len(result.left_out),
        "report": str(page),
    }


def _show_plans(plans: list[StudyPlan], studying: Studying, *, as_json: bool) -> None:
    """Print the trials of each study and the time they take."""
    from batchlimit.reports.quantities import count, counted, length, span

    if as_json:
        print(json.dumps({"studies": [_planned(plan) for plan in plans], "jobs": studying.worker_count}))
        return
    console = Output()
    for plan in plans:
        console.print(Text(f"{plan.study.name}: {plan.study.question}", style="bold"), soft_wrap=True)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("arm", "batch size", "length", "trials", "time"):
            table.add_column(column, justify="left" if column == "arm" else "right")
        for arm, trials, seconds in zip(plan.arms, plan.trials, plan.seconds, strict=True):
            label = ", ".join(f"{name} {value}" for name, value in arm.labels.items() if name != "batch size")
            time = "-" if seconds is None else span(seconds / studying.worker_count)
            table.add_row(Text(label), count(arm.batch_size), length(arm.epochs), str(trials), time)
        if plan.arms:
            console.print(table, soft_wrap=not console.is_terminal)
        total = sum(seconds or 0.0 for seconds in plan.seconds) / studying.worker_count
        search = " and a search for the limit" if plan.study.search is not None else ""
        console.print(
            f"{counted(sum(plan.trials), 'trial')}{search}, {plan.known:,} of them in the ledger; "
            f"about {span(total)} to go with {studying.worker_count} at a time, by trials timed here."
        )
        if plan.question.left_out:
            left_out = counted(len(plan.question.left_out), "arm")
            console.print(f"Left out: {left_out} that would not fit into the time given.")
        console.print()


def _planned(plan: StudyPlan) -> dict[str, Any]:
    return {
        "study": plan.study.name,
        "trials": sum(plan.trials),
        "known": plan.known,
        "seconds": sum(seconds or 0.0 for seconds in plan.seconds),
        "left_out": len(plan.question.left_out),
        "arms": [
            {"labels": arm.labels, "batch_size": arm.batch_size, "epochs": str(arm.epochs), "trials": n, "seconds": s}
            for arm, n, s in zip(plan.arms, plan.trials, plan.seconds, strict=True)
        ],
    }
