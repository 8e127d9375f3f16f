"""`batchlimit train`: one trial of one recipe."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchlimit.cli import options as o
from batchlimit.cli.exits import RUN_FAILED, resumable, say
from batchlimit.cli.layers import OPTIONS, Layers
from batchlimit.cli.training import TrainingProgress, measured, summary
from batchlimit.errors import InputError
from batchlimit.validation import user_path

if TYPE_CHECKING:
    from batchlimit.config import TrialConfig
    from batchlimit.engine import Execution
    from batchlimit.records import TrialRecord
    from batchlimit.workloads.workload import Workload

RECIPE = "What to train"
# 'epochs' is what the other commands call it; a trial's own word is its budget.
ALIASES = {"epochs": "budget"}


def train(
    workload: Annotated[
        str | None,
        typer.Argument(
            metavar="WORKLOAD",
            help="A built-in one ('batchlimit list workloads') or your own: my_module:my_workload, path/file.py:name. "
            "Default: the 'workload' of the file.",
            show_default=False,
        ),
    ] = None,
    overrides: o.Overrides = None,
    config: o.ConfigFile = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", metavar="B", help="Global batch size.", rich_help_panel=RECIPE, show_default=False
        ),
    ] = None,
    epochs: Annotated[
        str | None,
        typer.Option(
            "--epochs", metavar="LENGTH", help="30, or '200 steps'.", rich_help_panel=RECIPE, show_default=False
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", help="Of weights and data order.", rich_help_panel=RECIPE, show_default=False
        ),
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            metavar="NAME[,NAME]",
            help="Measure while training ('batchlimit list probes'); more than once for more.",
            rich_help_panel=RECIPE,
            show_default=False,
        ),
    ] = None,
    paper_protocol: Annotated[
        bool,
        typer.Option(
            "--paper-protocol", help="Train on all training examples, select on test.", rich_help_panel=RECIPE
        ),
    ] = False,
    device: o.Device = None,
    data_dir: o.DataDir = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE", help="Write the record (JSON) there.", rich_help_panel=o.PLACES, show_default=False
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger", metavar="FILE|URL", help="Keep the record there.", rich_help_panel=o.PLACES, show_default=False
        ),
    ] = None,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Train once, with the workload's baseline or with your recipe, and print the scores.

    [bold]Examples[/bold]

        [cyan]batchlimit train digits[/cyan]
        [cyan]batchlimit train digits --batch-size 512 recipe.lr=0.4 recipe.warmup='3 epochs'[/cyan]
        [cyan]batchlimit train digits recipe.solver=lars recipe.lr=6 --seed 1 --json[/cyan]
        [cyan]batchlimit train digits --probe weight-distance,trust-ratios[/cyan]
        [cyan]batchlimit train --config winner.toml[/cyan]  (a recipe pasted from a report, with its workload)

    Without a file the recipe is the workload's baseline; a \\[recipe] table in the file replaces it whole, and
    recipe.KEY=VALUE changes one field. Order: defaults, file, flags, key=value; a WORKLOAD wins over the file's. Exits
    with 1 where training diverges or fails.
    """
    if workload is not None and re.match(r"[A-Za-z_][\w.]*=", workload):
        # Without a WORKLOAD, the first setting stands in its place.
        overrides = [workload, *(overrides or [])]
        workload = None
    layers = o.layered(
        config,
        {
            "batch_size": ("--batch-size", batch_size),
            "budget": ("--epochs", epochs),
            "seed": ("--seed", seed),
            "probes": ("--probe", ",".join(probe) if probe else None),
            "protocol": ("--paper-protocol", o.protocol(paper_protocol)),
            "device": ("--device", device),
            "data_dir": ("--data-dir", data_dir),
            "out": ("--out", out),
            "ledger": ("--ledger", ledger),
        },
        overrides,
        ALIASES,
    )
    run_options = o.run_options(layers)
    name, note = _named(workload, layers)
    from batchlimit.workloads.resolve import resolve

    resolved = resolve(name)
    trial = trial_config(resolved, name, layers)
    _check_places(run_options)
    if note:
        say(note)
    execution = o.execution(run_options, run_options.ledger)
    with resumable(how_to_go_on(trial, execution)):
        record = _run(trial, resolved, execution, quiet=quiet)
    _keep(record, run_options)
    if as_json:
        print(json.dumps(record.model_dump(mode="json"), allow_nan=False))
    else:
        summary(record, resolved)
        measured(record)
    if record.status != "complete":
        raise typer.Exit(RUN_FAILED)


def _named(argument: str | None, layers: Layers) -> tuple[str, str]:
    """Return the workload to train, and what is to be said where the argument and the settings name different ones."""
    given = layers.data.get("workload")
    origin = layers.origin(("workload",))
    if argument is not None:
        differs = isinstance(given, str) and given != argument
        return argument, f"training '{argument}', not '{given}' (from {origin})." if differs else ""
    if given is None:
        raise InputError(
            "Say what to train. Valid: a WORKLOAD ('batchlimit list workloads'), or a --config file that names its "
            "workload. See 'batchlimit train --help'."
        )
    if not isinstance(given, str):
        raise InputError(f"workload (from {origin or 'the settings'}): must be text, as 'digits'.")
    return given, ""


def trial_config(workload: Workload, name: str, layers: Layers) -> TrialConfig:
    """Return the trial that `layers` ask for, on top of the workload's baseline.

    Raises:
        InputError: an unknown key or a value that is not valid.
    """
    from batchlimit.config import TrialConfig

    base: dict[str, Any] = {"batch_size": workload.batch_size, "budget": workload.budget}
    # The file may name the workload it was written for; the argument decides.
    layers.data["workload"] = name
    if layers.whole("recipe"):
        recipe: dict[str, Any] = {}
    else:
        recipe = workload.baseline.model_dump(mode="json", exclude_defaults=True)
        # Options belong to their solver or schedule: another one does not inherit them.
        for owner, name, _ in OPTIONS:
            if layers.given(f"recipe.{owner}"):
                recipe.pop(name, None)
    layers.underlay({**base, "recipe": recipe})
    return layers.build(TrialConfig, also=[*o.RunOptions.model_fields, *ALIASES])


def how_to_go_on(trial: TrialConfig, execution: Execution) -> str:
    """Return what becomes of a trial that is interrupted, and of the same command after it."""
    if trial.probes:
        return "This trial is lost, as one with probes is not kept under way; the same command starts it again"
    if execution.checkpoints is None:
        return "This trial is lost; the same command starts it again. With --ledger FILE a long one is kept under way"
    return "The same command goes on where this trial was last saved, or starts it again if it never was"


def _run(trial: TrialConfig, workload: Workload, execution: Execution, *, quiet: bool) -> TrialRecord:
    from batchlimit.engine import run
    from batchlimit.engine.check import has_validation
    from batchlimit.engine.rehearsal import rehearse

    validated = has_validation(rehearse(workload, execution.torch_device()))
    with TrainingProgress(workload, trial, validated=validated, quiet=quiet) as progress:
        return run(trial, workload=workload, execution=execution, on_point=progress.point)


def _check_places(run_options: o.RunOptions) -> None:
    """Fail before training where the record could not be kept after it."""
    from batchlimit.ledger import Ledger
    from batchlimit.reports.folder import check_writable

    if run_options.out is not None:
        path = user_path(run_options.out)
        if path.is_dir():
            raise InputError(f"--out '{path}' is a folder. Name a file in it, as '{path / 'record.json'}'.")
        check_writable(path.resolve().parent)
    if run_options.ledger is not None:
        Ledger.open(run_options.ledger).close()


def _keep(record: TrialRecord, run_options: o.RunOptions) -> None:
    """Keep the record where it is wanted; the ledger first, for a file that cannot be written must not lose it."""
    from batchlimit.ledger import Ledger

    if run_options.ledger is not None:
        with Ledger.open(run_options.ledger) as kept:
            kept.add(record)
    if run_options.out is not None:
        text = json.dumps(record.model_dump(mode="json"), indent=2, allow_nan=False)
        user_path(run_options.out).write_text(f"{text}\n", encoding="utf-8")
