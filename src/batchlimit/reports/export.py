"""Figures as files: SVG, PNG and PDF without a browser or a network, and their data as CSV."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Collection
from pathlib import Path

import vl_convert

from batchlimit.errors import InputError
from batchlimit.reports.embedding import chart_library, embedded_json
from batchlimit.reports.figures.figure import Figure
from batchlimit.reports.folder import write_atomically

FORMATS = ("svg", "png", "pdf", "csv")
_PNG_SCALE = 2.0
# Everything that the page runs is in it: nothing is fetched when it is opened.
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body><div id="figure"></div>
<script>{library}</script>
<script>vegaEmbed("#figure", {specification}, {{renderer: "svg", actions: false}});</script>
</body>
</html>
"""


def export(figure: Figure, folder: Path, formats: Collection[str] = FORMATS) -> str:
    """Write `<name>.svg`, `.png`, `.pdf` and `.csv` of a figure to `folder`, or those of them in `formats`.

    Returns the SVG, in the light theme. Vega draws once; PNG and PDF are made from the SVG.
    """
    svg = as_svg(figure)
    made: dict[str, Callable[[], str | bytes]] = {
        "svg": lambda: svg,
        "png": lambda: bytes(vl_convert.svg_to_png(svg, scale=_PNG_SCALE, ppi=72)),
        "pdf": lambda: bytes(vl_convert.svg_to_pdf(svg)),
        "csv": lambda: table_text(figure),
    }
    for kind in FORMATS:
        if kind in formats:
            write_atomically(folder / f"{figure.name}.{kind}", made[kind]())
    return svg


def as_svg(figure: Figure) -> str:
    """Return a figure as SVG, in the light theme."""
    specification = json.dumps(figure.export_spec(), allow_nan=False)
    # Nothing is to be fetched: no base URL of any host is allowed.
    svg: str = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    return svg


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure to one file of the kind that its name ends in: one of `FORMATS`, or 'html', an offline page.

    Raises:
        InputError: the name ends in something else, or the file cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in (*FORMATS, "html"):
        valid = ", ".join(f".{known}" for known in (*FORMATS, "html"))
        raise InputError(f"No figure can be written as '{path.name}'. Valid: a name that ends in {valid}.")
    try:
        write_atomically(path, _content(figure, kind))
    except OSError as error:
        raise InputError(f"Cannot write the figure '{path}': {error.strerror or error}.") from None


def _content(figure: Figure, kind: str) -> str | bytes:
    if kind == "csv":
        return table_text(figure)
    if kind == "html":
        title, specification = html.escape(figure.title), embedded_json(figure.export_spec())
        return _PAGE.format(title=title, library=chart_library(), specification=specification)
    svg = as_svg(figure)
    if kind == "svg":
        return svg
    return bytes(vl_convert.svg_to_png(svg, scale=_PNG_SCALE, ppi=72) if kind == "png" else vl_convert.svg_to_pdf(svg))


def table_text(figure: Figure) -> str:
    """Return the rows of a figure as CSV with a header; an empty field is a missing value.

    A text that a spreadsheet would run as a formula (it begins with =, +, -, @, tab or return) gets a leading quote.
    """
    names = list(dict.fromkeys(name for row in figure.rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in figure.rows:
        writer.writerow({name: _inert(value) for name, value in row.items()})
    return text.getvalue()


def _inert(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Python's writer leaves a carriage return unquoted before 3.13: what follows it would be a row of its own.
    text = value.replace("\r", " ")
    return f"'{text}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else text
