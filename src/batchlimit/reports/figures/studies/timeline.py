"""Rows of context against a date: records and when they were set."""

from __future__ import annotations

import math
import re

import altair as alt

from batchlimit.reports.figures.figure import Figure, Row, data
from batchlimit.reports.figures.regimes import Align
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import number, short, stem
from batchlimit.reports.figures.studies.looks import looks
from batchlimit.reports.figures.studies.panels import Axis, clipped, log_axis, log_ticks, padded, scale
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

_WIDTH, _HEIGHT = 560, 330
_LETTER, _LINE = 6.0, 13
_SIDES: tuple[tuple[Align, float], ...] = (("left", 8.0), ("right", -8.0))
_MONTHS = (
    "datum.value == floor(datum.value) ? format(datum.value, 'd') : "
    "floor(datum.value) + '-' + pad('' + (1 + round(12 * (datum.value - floor(datum.value)))), 2, '0', 'left')"
)
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")


def events(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return the rows of context that have a date and a number, with 'when' as a year and its fraction.

    `x` names the date's column ('date' by default), `y` the number's, `colour` the one that colours, `facet` the one
    that names a point (by default the first column of text that is neither).
    """
    rows: list[Row] = []
    for row in result.study.context:
        when, value = _year(row.get(spec.x or "date")), row.get(spec.y)
        if when is not None and isinstance(value, int | float):
            rows.append({**row, "when": when, "value": float(value), "name": _name(row, spec)})
    return sorted(rows, key=lambda row: float(row["when"] or 0))


def _year(value: object) -> float | None:
    """Return '2017-09-14', '2017-09' or 2017 as a year with its fraction; None for what is no date."""
    found = _DATE.fullmatch(str(value).strip())
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[2] or 7), int(found[3] or (15 if found[2] else 1))
    return year + (month - 1) / 12 + (day - 1) / 365.25


def _name(row: Row, spec: FigureSpec) -> str:
    taken = {spec.x or "date", spec.y, spec.colour}
    if spec.facet:
        return str(row.get(spec.facet) or "")
    texts = [value for key, value in row.items() if key not in taken and isinstance(value, str)]
    return texts[0] if texts else str(row.get(spec.colour) or "")


@drawers.register("timeline")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return the points with their names; None where no row of context has the date and the number."""
    rows = events(result, spec)
    if not rows:
        return None
    values = [float(row["value"] or 0) for row in rows]
    dates = [float(row["when"] or 0) for row in rows]
    log = log_axis(values)
    low, high = padded(min(values), max(values), 0.08, log=log)
    first, last = padded(min(dates), max(dates), 0.05)
    own = looks([row.get(spec.colour) for row in rows]) if spec.colour else looks([None])
    shown: list[Row] = []
    for row in rows:
        group = row.get(spec.colour) if spec.colour else None
        shown.append({**row, "tint": own[group].tint, "group": f" · {short(group)}" if group is not None else ""})
    ticks = alt.Axis(values=_ticks(first, last), labelExpr=_MONTHS, grid=False, title=spec.x or "date")
    x = alt.X("when:Q", scale=alt.Scale(domain=[first, last], nice=False), axis=ticks)
    title = f"{spec.y}{', logarithmic' if log else ''}"
    given = {"values": list(log_ticks(low, high))} if log else {"tickCount": 6}
    axis = alt.Axis(title=title, labelExpr="format(datum.value, ',.4~g')", **given)
    y = alt.Y("value:Q", scale=scale(low, high, log=log), axis=axis)
    tooltip = [alt.Tooltip(_field(name), title=name) for name in result.study.context[0]]
    tint = alt.Color("tint:N", scale=None)
    base = alt.Chart(data(shown))
    layers = [base.mark_point(filled=True, opacity=1, size=70).encode(x=x, y=y, color=tint, tooltip=tooltip)]
    layers += _names(shown, (first, last), (low, high), log=log)
    chart: alt.TopLevelMixin = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)
    sources = "Context as published, not measured here."
    return Figure(stem(spec.name), spec.title, f"{spec.caption} {sources}".strip(), tuple(rows), (chart,))


def _field(name: str) -> str:
    # In Vega-Lite a dot or a bracket in the name of a field is a path, and a colon ends it.
    return re.sub(r"([.\[\]:\\'\"])", r"\\\1", name) + ":N"


def _ticks(first: float, last: float) -> list[float]:
    """Return whole years, or quarters where there are few."""
    years = [float(year) for year in range(math.ceil(first), math.floor(last) + 1)]
    return years if len(years) > 2 else [place / 4 for place in range(math.ceil(4 * first), math.floor(4 * last) + 1)]


def _names(rows: list[Row], dates: tuple[float, float], values: tuple[float, float], *, log: bool) -> list[alt.Chart]:
    """Return the points' names: right of each, or left, above or below it, wherever no other stands."""
    across, up = Axis("", *dates), Axis("", *values, log=log)
    points = [
        (across.place(float(row["when"] or 0)) * _WIDTH, (1 - up.place(float(row["value"] or 0))) * _HEIGHT)
        for row in rows
    ]
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y in points]
    layers = []
    for row, (x, y) in zip(rows, points, strict=True):
        text = f"{clipped(str(row['name']), 24)}{row['group']}, {number(float(row['value'] or 0))}"
        wide = _LETTER * len(text)
        options: list[tuple[Align, float, float]] = [
            ("left", 8.0, 0.0),
            ("right", -8.0, 0.0),
            ("center", 0.0, -12.0),
            ("center", 0.0, 13.0),
        ]
        options += [(side, dx, dy) for dy in (-13.0, 13.0, -26.0, 26.0) for side, dx in _SIDES]
        boxes = []
        for align, dx, dy in options:
            left = x + dx - (0 if align == "left" else wide if align == "right" else wide / 2)
            box = (left, left + wide, y + dy - _LINE / 2, y + dy + _LINE / 2)
            outside = 2.0 * (left < 0 or left + wide > _WIDTH + 60 or box[2] < 0 or box[3] > _HEIGHT)
            boxes.append((outside + sum(_overlap(box, other) for other in taken), box, align, dx, dy))
        _, box, align, dx, dy = min(boxes, key=lambda option: option[0])
        taken.append(box)
        mark = alt.Chart(data([{"text": text}])).mark_text(
            color=str(row["tint"]), align=align, baseline="middle", fontSize=11
        )
        layers.append(mark.encode(x=alt.value(x + dx), y=alt.value(y + dy), text="text:N"))
    return layers


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
