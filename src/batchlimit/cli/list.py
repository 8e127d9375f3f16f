"""`batchlimit list`: the names that can be used, kind by kind."""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from batchlimit.cli.options import AsJson, DataDir
from batchlimit.cli.study_list import list_studies
from batchlimit.cli.terminal import Output
from batchlimit.errors import unknown_name

# Each kind and where its registry is; the module is imported when the kind is asked for.
KINDS = {
    "workloads": "batchlimit.workloads:workloads",
    "solvers": "batchlimit.optimizers:solvers",
    "schedules": "batchlimit.schedules:schedules",
    "models": "batchlimit.models:models",
    "datasets": "batchlimit.data:datasets",
    "probes": "batchlimit.probes:probes",
    "techniques": "batchlimit.tuning.techniques:techniques",
    "tuners": "batchlimit.tuning.tuner:tuners",
    "studies": "batchlimit.studies:studies",
}


def list_names(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help=f"One of: {', '.join(KINDS)}.", show_default=False)
    ] = None,
    workload: Annotated[
        str, typer.Option("--workload", "-w", metavar="WORKLOAD", help="For 'studies': trials and time on it.")
    ] = "digits",
    scale: Annotated[
        Literal["smoke", "quick", "paper"], typer.Option("--scale", help="For 'studies': how much work.")
    ] = "quick",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List what there is by name: workloads, solvers, schedules, studies and more.

    [bold]Examples[/bold]

        [cyan]batchlimit list[/cyan]
        [cyan]batchlimit list solvers[/cyan]
        [cyan]batchlimit list studies --workload mnist-lenet5[/cyan]  (with trials and the time they would take here)
    """
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    if kind == "studies":
        list_studies(workload, scale, data_dir, as_json=as_json)
        return
    found = {name: described(name) for name in ([kind] if kind else KINDS)}
    if as_json:
        print(json.dumps(found))
        return
    console = Output()
    for name, entries in found.items():
        if kind is None:
            console.print(f"[bold]{name}[/bold]")
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for entry, line in entries.items():
            table.add_row(f"{'  ' if kind is None else ''}{entry}", line)
            if kind == "solvers":
                table.add_row("", f"[dim]{solver_options(entry)}[/dim]")
        console.print(table)


def described(kind: str) -> dict[str, str]:
    """Return the names of one kind with one line about each."""
    module, attribute = KINDS[kind].split(":")
    registry = getattr(importlib.import_module(module), attribute)
    return {name: _line(kind, registry.get(name)) for name in registry}


def solver_options(name: str) -> str:
    """Return the options of a solver, `recipe.solver_options.NAME=VALUE`, with their defaults where they are fixed."""
    from batchlimit.optimizers import solvers
    from batchlimit.optimizers.build import option_names

    factory = solvers.get(name)
    defaults = {p.name: p.default for p in inspect.signature(factory).parameters.values()}
    names = option_names(factory)
    if names is None:
        return "any options"
    return "options: " + ", ".join(n if defaults[n] is None else f"{n}={defaults[n]}" for n in names) if names else ""


def _line(kind: str, entry: Any) -> str:
    """Return the first sentence of an entry's description or docstring."""
    text = entry().description if kind == "workloads" else entry.description if kind == "studies" else ""
    text = (text or inspect.getdoc(entry) or "").split("\n\n")[0].replace("\n", " ").strip()
    text = text.removeprefix("Return ")
    return text[:1].upper() + text[1:]
