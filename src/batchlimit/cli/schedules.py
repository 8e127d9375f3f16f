"""`batchlimit schedules`: what learning-rate schedules there are, and what they look like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from rich.table import Table
from rich.text import Text

from batchlimit.cli import options as o
from batchlimit.cli.layers import toml_value
from batchlimit.cli.terminal import Output
from batchlimit.config import Scalar
from batchlimit.durations import Duration
from batchlimit.errors import InputError, unknown_name
from batchlimit.validation import user_path

_HEIGHT = 13
_WIDEST = 100
_SKETCH = 24
_USUAL_STEPS, _USUAL_WARMUP = 1000, 0.1


@dataclass(frozen=True)
class Drawing:
    """One schedule as it is to be drawn: its registered name, options and lengths in steps, and what it is called."""

    title: str
    name: str
    options: dict[str, Scalar]
    total_steps: int
    warmup_steps: float


def schedules(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A schedule, or a figure of the paper: figure-28.", show_default=False),
    ] = None,
    total: Annotated[
        int | None,
        typer.Option(
            "--total", metavar="N", min=1, help=f"Steps of the training. Default: {_USUAL_STEPS}.", show_default=False
        ),
    ] = None,
    warmup: Annotated[
        str | None,
        typer.Option(
            "--warmup",
            metavar="LENGTH",
            help="Steps, or '5%' of --total; default: none, 10% for figures of the paper that have one.",
            show_default=False,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the schedule.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Draw it there too: .svg, .png, .pdf, .html, or .csv.", show_default=False
        ),
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """List the learning-rate schedules with their options, or draw one.

    [bold]Examples[/bold]

        [cyan]batchlimit schedules[/cyan]
        [cyan]batchlimit schedules polynomial --total 35 --warmup 5 --option power=2[/cyan]
        [cyan]batchlimit schedules figure-26 --out figure-26.svg[/cyan]  (of the paper: 23 to 29, 32 and 33)

    In a recipe: recipe.schedule=polynomial recipe.warmup='5 epochs' recipe.schedule_options.power=2.
    """
    if name is None:
        if (total, warmup, out) != (None, None, None) or option:
            raise InputError("Which schedule is to be drawn? Valid: 'batchlimit schedules NAME', with these flags.")
        print(json.dumps(_listed())) if as_json else _show_all()
        return
    drawing = asked_for(name, _USUAL_STEPS if total is None else total, warmup, option or [])
    rows = _factors(drawing)
    if out is not None:
        _write(drawing, user_path(out))
    if as_json:
        steps, factors = [row[0] for row in rows], [row[1] for row in rows]
        print(json.dumps({**vars(drawing), "steps": steps, "factors": factors}, allow_nan=False))
    else:
        _show(drawing, [row[1] for row in rows], out)


def asked_for(name: str, total: int, warmup: str | None, given: list[str]) -> Drawing:
    """Return what is to be drawn; `name` is a registered one, or a figure of the paper as 'figure-28' or '28'.

    Raises:
        InputError: an unknown name or option, or a value or a length that it does not take.
    """
    from batchlimit.schedules import schedules as registry
    from batchlimit.schedules.figures import PAPER_FIGURES

    figure = re.fullmatch(r"(?:fig(?:ure)?[-_ ]?)?(\d+)", name.lower())
    if figure is not None and int(figure[1]) in PAPER_FIGURES:
        number = int(figure[1])
        title, warms_up, name, options = PAPER_FIGURES[number]
        title = f"Figure {number} of the paper: {title}"
        usual = _USUAL_WARMUP * total if warms_up else 0.0
    elif figure is not None or name not in registry:
        raise unknown_name("schedule", name, [*registry, *(f"figure-{number}" for number in PAPER_FIGURES)])
    else:
        title, options, usual = name, {}, 0.0
    steps = usual if warmup is None else _steps(warmup, total)
    return Drawing(title, name, {**options, **_read(given)}, total, steps)


def _steps(warmup: str, total: int) -> float:
    bare = re.fullmatch(r"\s*[0-9.]+\s*", warmup)
    length = Duration.parse(f"{warmup} steps" if bare else warmup)
    if length.unit not in ("steps", "fraction"):
        raise InputError(f"--warmup '{warmup}' is for a data set, which a drawing has not. Valid: '50 steps', '5%'.")
    return length.fractional_steps(batch_size=1, dataset_size=1, total_steps=total)


def _read(given: list[str]) -> dict[str, Any]:
    options = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"Cannot read --option '{text}'. Valid: key=value, as 'power=2'.")
        options[key.strip()] = toml_value(value.strip())
    return options


def _factors(drawing: Drawing) -> list[tuple[int, float]]:
    from batchlimit.schedules.build import make_schedule, spaced_steps

    factor = make_schedule(
        drawing.name, drawing.options, total_steps=drawing.total_steps, warmup_steps=drawing.warmup_steps
    )
    return [(step, factor(step)) for step in spaced_steps(drawing.total_steps)]


def _write(drawing: Drawing, path: Path) -> None:
    from batchlimit.reports.export import write_figure
    from batchlimit.reports.figures.schedule import draw

    figure = draw(
        drawing.name,
        drawing.options,
        total_steps=drawing.total_steps,
        warmup_steps=drawing.warmup_steps,
        title=drawing.title if drawing.title != drawing.name else f"{drawing.name}{_given(drawing)}",
        stem=path.stem,
    )
    write_figure(figure, path)


def _show(drawing: Drawing, values: list[float], out: Path | None) -> None:
    from batchlimit.cli.curves import plot
    from batchlimit.reports.quantities import counted

    console = Output()
    lengths = f"{counted(drawing.total_steps, 'step')}, {drawing.warmup_steps:g} of warmup"
    if drawing.title != drawing.name:
        console.print(Text(drawing.title, style="bold"), soft_wrap=True)
    console.print(Text(f"{drawing.name}{_given(drawing)}: learning rate / peak over {lengths}"), soft_wrap=True)
    console.print()
    width = min(console.width, _WIDEST)
    for line in plot(values, drawing.total_steps, width=width, height=_HEIGHT, braille=_unicode(console)):
        console.print(Text(line), soft_wrap=True)
    if out is not None:
        console.print()
        console.print(Text(f"Figure: {out}"), soft_wrap=True)


def _given(drawing: Drawing) -> str:
    return "".join(f", {key}={_shown(value)}" for key, value in drawing.options.items())


def _unicode(console: Output) -> bool:
    return console.encoding.lower().startswith("utf")


def _listed() -> dict[str, Any]:
    """Return every schedule with its options, and the figures of the paper, as --json prints them."""
    from batchlimit.cli.list import described
    from batchlimit.schedules.build import schedule_options
    from batchlimit.schedules.figures import PAPER_FIGURES

    names = {
        name: {"description": line, "options": schedule_options(name)} for name, line in described("schedules").items()
    }
    figures = {
        f"figure-{number}": {"title": title, "warmup": warms_up, "schedule": schedule, "options": options}
        for number, (title, warms_up, schedule, options) in PAPER_FIGURES.items()
    }
    return {"schedules": names, "figures": figures}


def _show_all() -> None:
    console = Output()
    listed = _listed()
    every = [entry["options"] for entry in listed["schedules"].values()]
    common = {key: value for key, value in every[0].items() if all(other.get(key) == value for other in every)}
    table = _table()
    for name, entry in listed["schedules"].items():
        own = {key: value for key, value in entry["options"].items() if key not in common}
        words = Text(_with_choices(name, own) or "no options of its own", style="dim")
        table.add_row(name, _sketched(console, name, f"{_USUAL_WARMUP:.0%}"), Text(entry["description"]))
        table.add_row("", "", words)
    console.print(table)
    console.print(Text(f"Every one takes {_with_choices(next(iter(listed['schedules'])), common)}.", style="dim"))
    console.print()
    console.print(Text("The paper's", style="bold"))
    table = _table()
    for name, entry in listed["figures"].items():
        options = "".join(f", {key}={_shown(value)}" for key, value in entry["options"].items())
        words = Text.assemble(entry["title"], (f"  {entry['schedule']}{options}", "dim"))
        table.add_row(name, _sketched(console, name, None), words)
    console.print(table)


def _table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    return table


def _sketched(console: Output, name: str, warmup: str | None) -> Text:
    from batchlimit.cli.curves import sketch

    if not _unicode(console):
        return Text("")
    values = [factor for _, factor in _factors(asked_for(name, 1000, warmup, []))]
    return Text(sketch(values, width=_SKETCH), style="cyan")


def _with_choices(name: str, options: Mapping[str, Any]) -> str:
    """Return 'end=0.0, grain=regular (fine, regular, coarse)' of a schedule's options and their defaults."""
    from batchlimit.schedules import schedules as registry

    kinds = get_type_hints(registry.get(name))
    parts = []
    for option, default in options.items():
        choices = ", ".join(map(str, get_args(kinds[option])))
        parts.append(f"{option}={_shown(default)}{f' ({choices})' if choices else ''}")
    return ", ".join(parts)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
