"""`batchlimit data`: where data sets are on this machine, and fetching them."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from batchlimit.cli.layers import Layers
from batchlimit.cli.options import AsJson, DataDir, run_options
from batchlimit.cli.terminal import Output
from batchlimit.errors import InputError, unknown_name

ACTIONS = ("status", "fetch")


def data(
    action: Annotated[str, typer.Argument(metavar="[status|fetch]", help="What to do.")] = "status",
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The data set to fetch.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show where each data set was found on this machine, or fetch one.

    Data is used where torchvision, Keras or Hugging Face already keep it, or where --data-dir or the variable
    BATCHLIMIT_DATA says; only then is it fetched, from mirrors, and checked.

    [bold]Examples[/bold]

        [cyan]batchlimit data[/cyan]
        [cyan]batchlimit data fetch mnist[/cyan]
    """
    if action not in ACTIONS:
        raise unknown_name("action", action, ACTIONS)
    if action == "status" and name is not None:
        raise InputError(f"'data status' takes no name, but '{name}' was given. Valid: data fetch {name}.")
    layers = Layers()
    layers.put_flags({"data_dir": ("--data-dir", data_dir)})
    run_options(layers)
    if action == "status":
        _status(as_json)
    else:
        _fetch(name, as_json)


def _status(as_json: bool) -> None:
    from batchlimit.data import status

    found = status()
    if as_json:
        print(json.dumps([entry._asdict() for entry in found]))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("data set", no_wrap=True)
    table.add_column("contents", no_wrap=True)
    table.add_column("where", overflow="fold")
    for entry in found:
        contents = "-" if entry.where is None else "verified" if entry.verified else "not the known ones"
        table.add_row(entry.name, contents, entry.where or f"not here; batchlimit data fetch {entry.name}")
    Output().print(table)


def _fetch(name: str | None, as_json: bool) -> None:
    from batchlimit.data import datasets, fetch

    if name is None:
        raise InputError(f"Say which data set to fetch. Valid: {', '.join(datasets)}.")
    where = fetch(name)
    if as_json:
        print(json.dumps({"name": name, "where": None if where is None else str(where)}))
    else:
        print(f"{name} needs no file" if where is None else f"{name} is in {where}")
