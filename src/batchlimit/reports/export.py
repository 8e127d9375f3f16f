"""Figures as files: SVG, PNG and PDF without a browser or a network, and their data as CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import vl_convert

from batchlimit.reports.figures.figure import Figure
from batchlimit.reports.folder import write_atomically

FORMATS = ("svg", "png", "pdf", "csv")
_PNG_SCALE = 2.0


def export(figure: Figure, folder: Path) -> str:
    """Write `<name>.svg`, `.png`, `.pdf` and `.csv` of a figure to `folder`; return the SVG, in the light theme."""
    specification = json.dumps(figure.export_spec(), allow_nan=False)
    # Nothing is to be fetched: no base URL of any host is allowed.
    svg: str = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    write_atomically(folder / f"{figure.name}.svg", svg)
    write_atomically(folder / f"{figure.name}.png", vl_convert.svg_to_png(svg, scale=_PNG_SCALE, ppi=72))
    write_atomically(folder / f"{figure.name}.pdf", vl_convert.svg_to_pdf(svg))
    write_atomically(folder / f"{figure.name}.csv", table_text(figure))
    return svg


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
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
