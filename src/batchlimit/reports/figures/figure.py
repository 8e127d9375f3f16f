"""What a figure is: a question, its data and one or more panels, drawn in a theme."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from batchlimit.reports.palette import LIGHT, Theme
from batchlimit.reports.verdict import strict

Cell = str | int | float | bool | None
Row = dict[str, Cell]

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
EXPORT_WIDTH = 720
_UNPRINTABLE = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")


@dataclass(frozen=True)
class Figure:
    """One figure of a report.

    `name` is the stem of its exported files, `title` the question it answers, `caption` how to read it. `rows` is all
    its data, as its CSV has it. A figure with one panel is as wide as the page, at least `least_width`
    pixels; several are laid out side by side.
    """

    name: str
    title: str
    caption: str
    rows: tuple[Row, ...]
    panels: tuple[alt.TopLevelMixin, ...]
    columns: int = 1
    least_width: int = 0

    @functools.cached_property
    def panel_specs(self) -> tuple[dict[str, Any], ...]:
        """A Vega-Lite specification for each panel, without colours of the page: the page chooses the theme."""
        return tuple(_specification(panel) for panel in self.panels)

    def export_spec(self, theme: Theme = LIGHT) -> dict[str, Any]:
        """Return one Vega-Lite specification of the whole figure with its title, for SVG, PNG and PDF."""
        specs = [dict(spec) for spec in self.panel_specs]
        datasets: dict[str, Any] = {}
        schema = specs[0].get("$schema")
        for spec in specs:
            datasets |= spec.pop("datasets", {})
            spec.pop("$schema", None)
            if spec.get("width") == "container":
                spec["width"] = EXPORT_WIDTH
                spec.pop("autosize", None)
        whole: dict[str, Any] = {
            "$schema": schema,
            "title": {
                "text": _printable(self.title),
                "limit": EXPORT_WIDTH,
                "fontSize": 16,
                "anchor": "start",
                "offset": 14,
            },
            "config": config(theme),
            "datasets": datasets,
            "padding": 14,
        }
        if len(specs) == 1:
            return {**specs[0], **whole}
        return {**whole, "columns": self.columns, "concat": specs, "spacing": 26}


def _specification(panel: alt.TopLevelMixin) -> dict[str, Any]:
    spec: dict[str, Any] = _printable(strict(panel.to_dict()))
    spec.pop("config", None)
    return spec


def _printable(value: Any) -> Any:
    """Return `value` with control characters and line separators (but not line feeds) in its texts as spaces.

    Vega-Lite writes titles into expressions, and Vega's parser of expressions stops at U+2028 within a text.
    """
    if isinstance(value, dict):
        return {name: _printable(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_printable(below) for below in value]
    return _UNPRINTABLE.sub(" ", value) if isinstance(value, str) else value


def data(rows: Sequence[Row]) -> alt.InlineData:
    """Return rows as the inline data of a chart."""
    return alt.InlineData(values=[dict(row) for row in rows])


def config(theme: Theme) -> dict[str, Any]:
    """Return the Vega-Lite configuration of a theme; marks ask for 'ink', 'muted', 'halo' or 'empty' by style."""
    return {
        "background": theme.background,
        # The page gives each figure a text of its own; without this, names would be written into Vega expressions.
        "aria": False,
        "font": FONT,
        "view": {"stroke": None},
        "title": {"color": theme.ink, "subtitleColor": theme.muted, "fontSize": 13, "fontWeight": "bold"},
        "axis": {
            "labelColor": theme.ink,
            "titleColor": theme.ink,
            "titleFontWeight": "normal",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleLimit": 260,
            "gridColor": theme.grid,
            "domainColor": theme.muted,
            "tickColor": theme.muted,
        },
        "style": {
            "ink": {"color": theme.ink},
            "muted": {"color": theme.muted},
            "ink-line": {"color": theme.ink},
            "muted-line": {"color": theme.muted},
            "halo": {"color": theme.background, "stroke": theme.background, "strokeWidth": 4, "strokeJoin": "round"},
            "empty": {"color": theme.empty},
        },
    }


def tick_label(percent: bool) -> str:
    """Return the Vega expression that writes an axis label of the metric: '98 %', or '0.042'.

    A share is never above 100 %, though its axis may go there to make room: that part of it stays without labels.
    """
    share = "datum.value > 1.00001 ? '' : format(100 * datum.value, '.4~g') + ' %'"
    return share if percent else "format(datum.value, '.3~g')"
