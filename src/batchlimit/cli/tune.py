"""`batchlimit tune`: which values of some recipe fields are best at one batch size?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from batchlimit.cli import options as o
from batchlimit.cli.exits import RUN_FAILED, resumable
from batchlimit.cli.layers import Layers, own_options
from batchlimit.cli.places import Places, places, writable
from batchlimit.cli.searching import SearchProgress
from batchlimit.cli.terminal import Output

if TYPE_CHECKING:
    from batchlimit.findings import TuneFinding

_SHOWN = 8
_DESCRIBES = {"choices", "low", "high"}


def tune(
    workload: o.WorkloadName,
    overrides: o.Overrides = None,
    config: o.ConfigFile = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", metavar="B", help="Global batch size.", rich_help_panel=o.SEARCH, show_default=False
        ),
    ] = None,
    epochs: o.Epochs = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", metavar="N", help="Seeds that measure the best.", rich_help_panel=o.SEARCH, show_default=False
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option("--budget", metavar="N", help="Tuning trials.", rich_help_panel=o.SEARCH, show_default=False),
    ] = None,
    tuner: o.Tuner = None,
    paper_protocol: o.PaperProtocol = False,
    device: o.Device = None,
    jobs: o.Jobs = None,
    data_dir: o.DataDir = None,
    out: o.OutFolder = None,
    ledger: o.LedgerLocation = None,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Tune recipe fields at one batch size, and measure the best with fresh seeds.

    [bold]Examples[/bold]

        [cyan]batchlimit tune digits --batch-size 512[/cyan]  (LR and warmup, around the baseline's)
        [cyan]batchlimit tune digits --batch-size 512 recipe.solver=lars recipe.lr=6 --budget 24 --tuner tpe[/cyan]
        [cyan]batchlimit tune digits space.lr='\\[0.1, 0.2, 0.4]' space.label_smoothing='\\[0.0, 0.1]'[/cyan]

    recipe.KEY=VALUE changes the baseline before tuning; space.KEY says what to try: a list, or a table with low, high,
    and log = true. The best recipe is written as a TOML file for 'batchlimit train --config'.

    Stop it at any time: finished trials are in the ledger, and the same command goes on.
    """
    layers = o.layered(
        config,
        {
            "batch_size": ("--batch-size", batch_size),
            "epochs": ("--epochs", epochs),
            "seeds": ("--seeds", seeds),
            "budget": ("--budget", budget),
            "tuner": ("--tuner", tuner),
            "protocol": ("--paper-protocol", o.protocol(paper_protocol)),
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
    if isinstance(layers.data.get("space"), dict):
        layers.data["space"] = flattened(layers.data["space"])

    message = f"Finished trials are in {where.shown}; the same command goes on from there"
    with SearchProgress(quiet=quiet) as progress, resumable(message):
        finding = _tune(workload, layers, run_options, where, progress)
    recipe = _write_recipe(finding, where.out)
    if as_json:
        shown = finding.model_dump(mode="json")
        print(json.dumps({**shown, "ledger": where.shown, "recipe": recipe and str(recipe)}, allow_nan=False))
    else:
        _show(finding, where.shown, recipe)
    if finding.problem:
        raise typer.Exit(RUN_FAILED)


def _tune(
    workload: str, layers: Layers, run_options: o.RunOptions, where: Places, progress: SearchProgress
) -> TuneFinding:
    """Check everything that can be checked, and tune."""
    from batchlimit.api import tune as tune_recipe
    from batchlimit.tuning.single import TuneSettings
    from batchlimit.workloads.resolve import resolve

    own_options(layers, "recipe")
    settings = layers.build(TuneSettings, also=o.RunOptions.model_fields)
    resolved = resolve(workload)
    layers.check_changes("recipe", resolved.baseline)
    progress.metric(resolved.metric)
    with writable(where.out):
        return tune_recipe(
            workload,
            settings=settings,
            ledger=where.ledger,
            jobs=run_options.jobs,
            execution=o.execution(run_options, where.ledger),
            on_event=progress.event,
        )


def flattened(space: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a search space by dotted recipe fields: a table that describes no values holds further fields."""
    fields: dict[str, Any] = {}
    for name, given in space.items():
        if isinstance(given, dict) and not _DESCRIBES & set(given):
            fields |= flattened(given, f"{prefix}{name}.")
        else:
            fields[f"{prefix}{name}"] = given
    return fields


def _write_recipe(finding: TuneFinding, out: Path) -> Path | None:
    from batchlimit.config import TrialConfig
    from batchlimit.reports.folder import write_atomically
    from batchlimit.reports.recipe_toml import trial_toml

    if finding.best is None:
        return None
    config = TrialConfig.model_validate(
        {
            "workload": finding.workload,
            "batch_size": finding.batch_size,
            "budget": finding.training_budget,
            "recipe": finding.best.recipe,
            "protocol": finding.protocol,
        }
    )
    path = out / f"tuned-{finding.batch_size}.toml"
    write_atomically(path, trial_toml(config))
    return path


def _show(finding: TuneFinding, ledger: str, recipe: Path | None) -> None:
    from batchlimit.cli.conclusion import plus_minus
    from batchlimit.reports.quantities import count, counted, large_count, span

    console = Output()
    wide = not console.is_terminal
    percent = bool(finding.metric_percent)
    where = f"{finding.workload} at batch size {count(finding.batch_size)}"
    best = finding.best
    if finding.problem or best is None:
        console.print(Text(f"No best recipe for {where}: {finding.problem}", style="bold"), soft_wrap=wide)
    else:
        lost = f", {best.diverged} diverged" if best.diverged else ""
        score = f"{finding.metric_name} {plus_minus(best.metric, percent=percent)} on test"
        seeds = f"{counted(best.seeds, 'seed')}{lost}"
        console.print(Text(f"The best recipe found for {where} gives {score} ({seeds}).", style="bold"), soft_wrap=wide)
    console.print()
    console.print(_best_first(finding, percent=percent), soft_wrap=wide)
    console.print()
    cost = finding.cost
    total = f"{counted(cost.trials, 'trial')}, {large_count(cost.samples)} training examples, {span(cost.seconds)}"
    console.print(f"Cost: {total} of compute.", soft_wrap=wide)
    console.print(Text(f"Ledger: {ledger}"), soft_wrap=True)
    if recipe is not None:
        console.print(Text(f"Recipe: {recipe}"), soft_wrap=True)


def _best_first(finding: TuneFinding, *, percent: bool) -> Table:
    from batchlimit.reports.quantities import metric_text

    sign = -1 if finding.metric_direction == "up" else 1
    ranked = sorted(finding.proposals, key=lambda p: (p.metric is None, sign * (p.metric or 0.0)))
    names = list(dict.fromkeys(name for proposal in ranked for name in proposal.fields))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="right")
    table.add_column(f"{finding.metric_name} (selection)", justify="right", no_wrap=True)
    for proposal in ranked[:_SHOWN]:
        score = (
            metric_text(proposal.metric, percent=percent, digits=2) if proposal.metric is not None else proposal.status
        )
        table.add_row(*(str(proposal.fields.get(name, "")) for name in names), score)
    return table
