"""The `batchlimit` command: its commands, in the order that help shows them."""

from __future__ import annotations

from typing import Annotated

import typer

from batchlimit.cli.data import data
from batchlimit.cli.exits import Commands
from batchlimit.cli.find import find
from batchlimit.cli.list import list_names
from batchlimit.cli.report import report
from batchlimit.cli.schedules import schedules
from batchlimit.cli.study import study
from batchlimit.cli.teaching import teach
from batchlimit.cli.train import train
from batchlimit.cli.tune import tune

app = typer.Typer(
    name="batchlimit",
    cls=Commands,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("find", help=teach(find))(find)
app.command("train", help=teach(train))(train)
app.command("tune", help=teach(tune))(tune)
app.command("study", help=teach(study))(study)
app.command("report", help=teach(report))(report)
app.command("list", help=teach(list_names))(list_names)
app.command("schedules", help=teach(schedules))(schedules)
app.command("data", help=teach(data))(data)


def _version(wanted: bool) -> None:
    if wanted:
        from batchlimit import __version__

        print(f"batchlimit {__version__}")
        raise typer.Exit()


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """How large can the batch be?

    Measures up to which batch size plain linear LR scaling works, up to which any recipe works, and what full-batch
    training reaches: with a verdict, its uncertainty and its cost.

    [bold]Start here[/bold] (about two minutes on two cores, no download):

        [cyan]batchlimit find digits[/cyan]

    Then your own model: [cyan]batchlimit find my_module:my_workload[/cyan]. Stop any command at any time; the same
    command goes on where it stopped.
    """


app.callback(help=teach(root))(root)


def main() -> None:
    """Run the command line on `sys.argv` and exit with its code."""
    typer.main.get_command(app)(prog_name="batchlimit")
