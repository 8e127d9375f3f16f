"""A value of each category with its interval, a row a category: ladders, comparisons of solvers."""

from __future__ import annotations

import altair as alt

from batchlimit.config import Scalar
from batchlimit.reports.figures.figure import Cell, Figure, Row, data
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import cells, missing, named, said, short, stem
from batchlimit.reports.figures.studies.lines import edge_words, placed, points, with_edge
from batchlimit.reports.figures.studies.looks import Look, looks_of
from batchlimit.reports.figures.studies.measures import Measure, measure, shown_range
from batchlimit.reports.figures.studies.panels import LEAST_WIDTH, as_wide, clipped, padded
from batchlimit.reports.figures.studies.target import Target, target
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

_CROSS = "M-.5,-.5L.5,.5M.5,-.5L-.5,.5"
_ROW, _LANE = 26, 17
_LONGEST = 26


@drawers.register("dots")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a panel of rows for each facet; None where nothing was measured.

    Categories are those of `x`, or of `colour` where there is no `x`.
    """
    every = points(result, spec)
    centres = [float(row["mean"]) for row in every if isinstance(row["mean"], float)]
    if not centres:
        return None
    y = measure(result, spec.y).by_errors(centres)
    rows = [placed(row, y) for row in every]
    own = looks_of(result, spec)
    centres = [float(row["mean"]) for row in rows if isinstance(row["mean"], float)]
    low, high = shown_range(centres, y.better)
    room = y.near * (high - low)
    ends = [float(row[key] or 0) for row in rows for key in ("low", "high", "paper") if isinstance(row[key], float)]
    near = [end for end in ends if low - room <= end <= high + room]
    aim = target(result, spec)
    near += [y.place(aim.value)] if aim else []
    domain = with_edge(*padded(min([low, *near]), max([high, *near])), y, rows)
    facets = [facet for facet in dict.fromkeys(row["facet"] for row in rows) if not _only_aim(result, spec, facet, aim)]
    width = 0 if len(facets) == 1 else 190
    panels = tuple(
        _panel([row for row in rows if row["facet"] == facet], spec, facet, own, y, domain, width, aim)
        for facet in facets
    )
    paper = " Hollow diamonds: the paper's." if any(row["paper"] is not None for row in rows) else ""
    several = (
        " Of several arms in one place the best is drawn." if any(int(row["arms"] or 0) > 1 for row in rows) else ""
    )
    caption = (
        f"{spec.caption} Mean over seeds with its 95 % interval.{y.caption}{edge_words(*domain, rows)}"
        f"{aim.caption(y) if aim else ''}{paper}{several}{missing(result.select(spec.only))}"
    ).strip()
    return Figure(stem(spec.name), spec.title, caption, named(every, spec), panels, min(2, len(facets)), LEAST_WIDTH)


def _only_aim(result: StudyResult, spec: FigureSpec, facet: Scalar | None, aim: Target | None) -> bool:
    """Say whether a panel would hold nothing but the baseline, which the line of the target says already."""
    every = cells(result, spec)
    there = [arm for place in every if place.facet == facet for arm in place.arms]
    return aim is not None and any(place.facet != facet for place in every) and all(arm is aim.arm for arm in there)


def _panel(
    rows: list[Row],
    spec: FigureSpec,
    facet: Scalar | None,
    own: dict[Scalar | None, Look],
    y: Measure,
    domain: tuple[float, float],
    width: int,
    aim: Target | None = None,
) -> alt.TopLevelMixin:
    category = "x" if spec.x else "colour"
    several = spec.colour and spec.x and spec.colour != spec.x
    lanes: list[Cell] = list(dict.fromkeys(row["colour"] for row in rows)) if several else [None]
    shown: list[Row] = []
    names: list[Row] = []
    height = 0.0
    for value in dict.fromkeys(row[category] for row in rows):
        # As high as it has dots, which stand around its middle: categories need not have the same colours.
        mine = sorted(
            (row for row in rows if row[category] == value),
            key=lambda row: lanes.index(row["colour"] if several else None),
        )
        text = wrapped(short(value), _LONGEST)
        band = max(_ROW, _LANE * len(mine) + 6 if len(mine) > 1 else 0, 15 * (text.count("\n") + 1) + 2)
        for lane, row in enumerate(mine):
            at_row = height + band / 2 + (lane - (len(mine) - 1) / 2) * _LANE
            shown.append(_drawn(row, own[row["colour"]], y, domain) | {"at": at_row})
        names.append({"at": height + band / 2 - 7 * text.count("\n"), "text": text})
        height += band
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    x = alt.X("place_x:Q", scale=scale, axis=_axis(y, domain, 5 if not width else 4))
    at = alt.Y("at:Q", scale=alt.Scale(domain=[0, height], reverse=True, nice=False), axis=None)
    tooltip = [alt.Tooltip("name:N", title="arm"), alt.Tooltip("value:Q", format=y.tooltip, title=y.title)]
    tooltip += [alt.Tooltip(f"{end}:Q", format=y.tooltip) for end in ("from", "to")]
    tooltip += [alt.Tooltip("n:Q", title="seeds")]
    tint = alt.Color("tint:N", scale=None)
    shape = alt.Shape("shape:N", scale=None)
    named_rows = [{**row, "name": _name(spec, row)} for row in shown]
    base = alt.Chart(data([row for row in named_rows if row["shape"] != _CROSS]))
    lost = alt.Chart(data([row for row in named_rows if row["shape"] == _CROSS]))
    ranged = alt.Chart(data([row for row in shown if row["low_x"] is not None]))
    layers = [
        ranged.mark_rule(strokeWidth=2).encode(x=alt.X("low_x:Q", scale=scale), x2="high_x:Q", y=at, color=tint),
        base.mark_point(filled=True, opacity=1, size=75).encode(x=x, y=at, color=tint, shape=shape, tooltip=tooltip),
        lost.mark_point(shape=_CROSS, filled=False, size=90, strokeWidth=2.2).encode(x=x, y=at, color=tint),
    ]
    papers = [{**row, "place_x": row["paper"]} for row in shown if row["paper"] is not None]
    if papers:
        hollow = alt.Chart(data(papers)).mark_point(filled=False, shape="diamond", size=110, strokeWidth=2)
        layers.append(hollow.encode(x=x, y=at, color=tint, tooltip=[alt.Tooltip("published:Q", format=y.tooltip)]))
    layers = _aim_layers(aim, y, x) + layers + _words(shown, names, lanes, spec, at)
    made: alt.TopLevelMixin = alt.layer(*layers).properties(width=width or "container", height=height)
    title = said(spec.facet, facet)
    if title:
        made = made.properties(title=alt.TitleParams(title, anchor="start", fontSize=13, limit=300))
    if width:
        return made
    left = max(len(line) for name in names for line in str(name["text"]).split("\n"))
    right = max(len(_beside(row, lanes, spec)) for row in shown)
    return as_wide(made, left=round(16 + 6.6 * left), right=round(14 + 6.1 * right))


def _axis(y: Measure, domain: tuple[float, float], ticks: int) -> alt.Axis:
    """Return the axis of values, labelled where the measure says, else at about so many ticks."""
    values = list(y.labelled(*domain))
    if values:
        return alt.Axis(title=y.title, labelExpr=y.ticks, values=values, labelOverlap="greedy")
    return alt.Axis(title=y.title, labelExpr=y.ticks, tickCount=ticks, labelOverlap="parity")


def _aim_layers(aim: Target | None, y: Measure, x: alt.X) -> list[alt.Chart]:
    """Return the line of the target, named above it."""
    if aim is None:
        return []
    base = alt.Chart(data([{"place_x": y.place(aim.value), "text": aim.label(y)}]))
    words = base.mark_text(style="muted", align="center", baseline="bottom", dy=-4, fontSize=11)
    return [
        base.mark_rule(style="ink-line", strokeDash=[5, 4], opacity=0.7).encode(x=x),
        words.encode(x=x, y=alt.value(0), text="text:N"),
    ]


def wrapped(text: str, most: int) -> str:
    """Return a long name on two lines, broken at the space nearest to its middle, each cut where it is still long."""
    spaces = [place for place, letter in enumerate(text) if letter == " "]
    if len(text) <= most or not spaces:
        return clipped(text, most + 8)
    middle = min(spaces, key=lambda place: abs(place - len(text) / 2))
    return f"{clipped(text[:middle], most + 8)}\n{clipped(text[middle + 1 :], most + 8)}"


def _drawn(row: Row, look: Look, y: Measure, domain: tuple[float, float]) -> Row:
    """Return a row with where and how it is drawn."""
    value, losing = row["mean"], domain[1] if y.better == "down" else domain[0]
    text = y.text(float(row["value"] or 0)) if isinstance(value, float) else "diverged"
    if row["diverged"] and isinstance(value, float):
        text += f", {row['diverged']} diverged"
    drawn: Row = {**row, "tint": look.tint, "text": text, "shape": look.shape, "place_x": value}
    drawn |= {"low_x": None, "high_x": None}
    if not isinstance(value, float):
        return drawn | {"shape": _CROSS, "place_x": losing}
    if not domain[0] <= value <= domain[1]:
        worse = "triangle-right" if y.better == "down" else "triangle-left"
        return drawn | {"shape": worse, "place_x": losing}
    for end in ("low", "high"):
        limit = row[end]
        drawn[f"{end}_x"] = min(max(limit, domain[0]), domain[1]) if isinstance(limit, float) else None
    return drawn


def _words(shown: list[Row], names: list[Row], lanes: list[Cell], spec: FigureSpec, at: alt.Y) -> list[alt.Chart]:
    """Return the categories on the left, and on the right each value with its series' name where there are several."""
    left = alt.Chart(data(names)).mark_text(
        style="ink", align="right", dx=-10, fontSize=12, baseline="middle", lineBreak="\n", lineHeight=14
    )
    right = alt.Chart(
        data(
            [
                {"at": row["at"], "tint": row["tint"], "text": _beside(row, lanes, spec)}
                for row in shown
            ]
        )
    ).mark_text(align="left", dx=8, fontSize=11, baseline="middle")  # fmt: skip
    return [
        left.encode(x=alt.value(0), y=at, text="text:N"),
        right.encode(x=alt.value("width"), y=at, text="text:N", color=alt.Color("tint:N", scale=None)),
    ]


def _beside(row: Row, lanes: list[Cell], spec: FigureSpec) -> str:
    if len(lanes) < 2:
        return str(row["text"])
    colour = row["colour"]
    return f"{clipped(short(colour) if isinstance(colour, str) else said(spec.colour, colour), 24)}: {row['text']}"


def _name(spec: FigureSpec, row: Row) -> str:
    return ", ".join(text for text in (said(spec.x, row["x"]), said(spec.colour, row["colour"])) if text)
