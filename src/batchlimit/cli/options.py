"""The arguments and flags that commands share, and how they run and where they write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import Field

from batchlimit.cli.layers import Layers
from batchlimit.config import Frozen
from batchlimit.errors import InputError
from batchlimit.validation import user_path

if TYPE_CHECKING:
    from batchlimit.engine import Execution

SEARCH = "What to search"
RUNNING = "How to run"
PLACES = "Where it goes"
OUTPUT = "Output"

WorkloadName = Annotated[
    str,
    typer.Argument(
        metavar="WORKLOAD",
        help="A built-in one ('batchlimit list workloads') or your own: my_module:my_workload, path/file.py:name.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings by name; they win over flags and files.", show_default=False),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A TOML file of settings.", show_default=False)
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", help="auto, cpu, cuda, cuda:1.", rich_help_panel=RUNNING, show_default=False
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        help="Trials at a time; default: the usable cores, or 1 on a GPU.",
        rich_help_panel=RUNNING,
        show_default=False,
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option("--data-dir", metavar="DIR", help="Where data sets are.", rich_help_panel=RUNNING, show_default=False),
]
OutFolder = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder of report and ledger; default: batchlimit-WORKLOAD.",
        rich_help_panel=PLACES,
        show_default=False,
    ),
]
LedgerLocation = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="FILE|URL",
        help="Where trials are kept; default: ledger.db in --out.",
        rich_help_panel=PLACES,
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, the rest on stderr.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, results only.", rich_help_panel=OUTPUT)]
Epochs = Annotated[
    str | None,
    typer.Option(
        "--epochs",
        metavar="LENGTH",
        help="Training length: 30, '200 steps'; default: the workload's.",
        rich_help_panel=SEARCH,
        show_default=False,
    ),
]
Tuner = Annotated[
    str | None,
    typer.Option(
        "--tuner", metavar="NAME", help="grid or tpe, with the same budget.", rich_help_panel=SEARCH, show_default=False
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        metavar="N",
        help="Tuning trials for each recipe and batch size.",
        rich_help_panel=SEARCH,
        show_default=False,
    ),
]
PaperProtocol = Annotated[
    bool,
    typer.Option(
        "--paper-protocol",
        help="Train on all training examples and select on the test split, as the paper did.",
        rich_help_panel=SEARCH,
    ),
]


class RunOptions(Frozen):
    """How a command runs and where it writes: valid in config files and as key=value beside the settings."""

    device: str = "auto"
    jobs: int | None = Field(default=None, gt=0)
    microbatch_size: int | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, gt=0)
    checkpoints: str | None = None
    checkpoint_seconds: float = Field(default=60.0, ge=0, allow_inf_nan=False)
    data_dir: str | None = None
    out: str | None = None
    ledger: str | None = None


def layered(
    config: Path | None,
    flags: dict[str, tuple[str, object]],
    overrides: list[str] | None,
    aliases: Mapping[str, str] | None = None,
) -> Layers:
    """Return file, flags and key=value laid over each other in this order; `aliases` are keys that stand for others."""
    layers = Layers(aliases)
    if config is not None:
        layers.put_file(config)
    layers.put_flags(flags)
    layers.put_overrides(overrides or [])
    return layers


def run_options(layers: Layers) -> RunOptions:
    """Take the run options out of `layers`; a data folder is made known to this process and its workers."""
    options = layers.take(RunOptions.model_fields).build(RunOptions)
    use_data_dir(options.data_dir)
    return options


def use_data_dir(folder: str | None) -> None:
    """Make the folder of data sets, if one was given, known to this process and its workers."""
    if folder is not None:
        os.environ["BATCHLIMIT_DATA"] = str(user_path(folder).resolve())


def protocol(paper: bool) -> Literal["paper"] | None:
    """Return the protocol that the flag stands for, None where it was not given."""
    return "paper" if paper else None


def execution(options: RunOptions, ledger: str | None) -> Execution:
    """Return the machine's side of a trial, which is kept beside a ledger that is a file; imports torch."""
    from batchlimit.api.opening import keeping
    from batchlimit.engine import Execution
    from batchlimit.ledger import MEMORY

    asked = Execution(
        device=options.device,
        microbatch_size=options.microbatch_size,
        threads=options.threads,
        checkpoints=None if options.checkpoints is None else _folder(options.checkpoints),
        checkpoint_seconds=options.checkpoint_seconds,
    )
    return keeping(asked, ledger or MEMORY)


def _folder(text: str) -> Path:
    """Return the folder for trials under way, which is made if it is not there."""
    valid = "Valid: a folder that you may write to; it is made where there is none."
    if not text.strip():
        raise InputError(f"checkpoints is empty. {valid}")
    folder = user_path(text)
    try:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".batchlimit-"):
            pass
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InputError(f"checkpoints is '{text}': {reason}. {valid}") from None
    return folder
