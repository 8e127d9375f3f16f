"""`batchlimit find`: how large can the batch be?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchlimit.cli import options as o
from batchlimit.cli.exits import RUN_FAILED, resumable
from batchlimit.cli.layers import Layers, own_options, toml_value
from batchlimit.cli.places import Places, places, writable
from batchlimit.cli.searching import SearchProgress
from batchlimit.errors import InputError

if TYPE_CHECKING:
    from batchlimit.findings import LimitFinding


def find(
    workload: o.WorkloadName,
    overrides: o.Overrides = None,
    config: o.ConfigFile = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="B,B,...",
            help="Batch sizes to judge; default: doubling up to the full batch.",
            rich_help_panel=o.SEARCH,
            show_default=False,
        ),
    ] = None,
    epochs: o.Epochs = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", metavar="N", help="Seeds behind each verdict.", rich_help_panel=o.SEARCH, show_default=False
        ),
    ] = None,
    budget: o.Budget = None,
    tuner: o.Tuner = None,
    techniques: Annotated[
        str | None,
        typer.Option(
            "--techniques",
            metavar="SET[,SET]",
            help="Recipes to try ('batchlimit list techniques'); of several sets, the last gives the verdict.",
            rich_help_panel=o.SEARCH,
            show_default=False,
        ),
    ] = None,
    paper_protocol: o.PaperProtocol = False,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Measure every batch size and recipe.", rich_help_panel=o.SEARCH)
    ] = False,
    device: o.Device = None,
    jobs: o.Jobs = None,
    data_dir: o.DataDir = None,
    out: o.OutFolder = None,
    ledger: o.LedgerLocation = None,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Find how large the batch can be: the verdict, how sure it is, and what it cost.

    Trains the workload's baseline, then judges larger batch sizes: does plain linear LR scaling still reach the
    baseline's result in the same number of epochs, and if not, does any recipe? Writes a report with figures.

    [bold]Examples[/bold]

        [cyan]batchlimit find digits[/cyan]
        [cyan]batchlimit find digits --epochs 20 --seeds 7 --out runs/digits[/cyan]
        [cyan]batchlimit find my_module:my_workload --batch-size 512,2048,8192 --budget 12[/cyan]
        [cyan]batchlimit find mnist --config search.toml baseline.lr=0.05 --jobs 4[/cyan]
        [cyan]batchlimit find digits --techniques paper,modern[/cyan]  (both limits, side by side)

    A file holds the same names at its top level (seeds = 7, budget = 12, out = "runs/digits") and, if need be, a
    \\[baseline] table with the fields of the baseline recipe to change. Order: defaults, file, flags, key=value.

    Stop it at any time: finished trials are in the ledger, and the same command goes on. Exits with 1 where no
    verdict is possible.
    """
    layers = o.layered(
        config,
        {
            "batch_sizes": ("--batch-size", None if batch_size is None else _sizes(batch_size)),
            "epochs": ("--epochs", epochs),
            "seeds": ("--seeds", seeds),
            "budget": ("--budget", budget),
            "tuner": ("--tuner", tuner),
            "techniques": ("--techniques", techniques),
            "protocol": ("--paper-protocol", o.protocol(paper_protocol)),
            "exhaustive": ("--exhaustive", exhaustive or None),
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

    message = f"Finished trials are in {where.shown}; the same command goes on from there"
    with SearchProgress(judged=True, quiet=quiet) as progress, resumable(message):
        finding, beside, page = _search(workload, layers, run_options, where, progress)
    from batchlimit.cli.conclusion import as_object, conclude

    if as_json:
        print(as_object(finding, beside, ledger=where.shown, report=page))
    else:
        conclude(finding, beside, ledger=where.shown, report=page)
    if finding.problem:
        raise typer.Exit(RUN_FAILED)


def _search(
    workload: str, layers: Layers, run_options: o.RunOptions, where: Places, progress: SearchProgress
) -> tuple[LimitFinding, tuple[LimitFinding, ...], Path]:
    """Check everything that can be checked, search, and write the report."""
    from batchlimit.tuning.question import FindSettings

    _refuse_recipe(layers)
    own_options(layers, "baseline")
    sets = _technique_sets(layers)
    settings = layers.build(FindSettings, also=o.RunOptions.model_fields)

    from batchlimit.api import find_limits, redraw_beside
    from batchlimit.ledger import Ledger
    from batchlimit.workloads.resolve import resolve

    resolved = resolve(workload)
    layers.check_changes("baseline", resolved.baseline, also=("batch_size",))
    progress.metric(resolved.metric)
    with writable(where.out):
        finding = find_limits(
            workload,
            sets or (settings.techniques,),
            settings=settings,
            ledger=where.ledger,
            jobs=run_options.jobs,
            execution=o.execution(run_options, where.ledger),
            on_begin=progress.begin if len(sets) > 1 else None,
            on_event=progress.event,
            on_finding=progress.finding,
        )[-1]
    progress.finding(finding)
    progress.note("drawing the report")
    from batchlimit.reports.page import write_report

    with Ledger.open(where.ledger, create=False) as kept:
        beside = () if finding.problem else redraw_beside(kept, finding.workload)
        return finding, beside, write_report(finding, kept.records(), where.out, beside)


def _sizes(text: str) -> list[Any]:
    """Return the batch sizes of --batch-size; whether they are sizes is checked with the other settings."""
    sizes = toml_value(f"[{text}]")
    if not isinstance(sizes, list) or not sizes:
        raise InputError(f"Cannot read --batch-size '{text}'. Valid: whole numbers with commas, as '512,2048'.")
    return sizes


def _refuse_recipe(layers: Layers) -> None:
    """Refuse 'recipe.lr', which other commands take, with what it is called here."""
    given = layers.data.get("recipe")
    if not isinstance(given, dict) or not given:
        return
    field = next(iter(given))
    origin = layers.origin(("recipe", field))
    raise InputError(
        f"Unknown key 'recipe.{field}' (from {origin}). Did you mean 'baseline.{field}'? A search makes its recipes "
        "from the workload's baseline; 'recipes' names those to try."
    )


def _technique_sets(layers: Layers) -> tuple[str, ...]:
    """Return the technique sets where several are given ('paper,modern', or a list in a file), leaving the last."""
    given = layers.data.get("techniques")
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        return ()
    if not all(names):
        from batchlimit.tuning.techniques import techniques

        shown = given if isinstance(given, str) else ",".join(names)
        raise InputError(
            f"There is an empty name in the techniques '{shown}' (from {layers.origin(('techniques',))}). "
            f"Valid: {', '.join(techniques)}, or several with commas between them."
        )
    layers.data["techniques"] = names[-1]
    return tuple(dict.fromkeys(names))
