"""A value against a numeric label, a line for each colour, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from batchlimit.config import Scalar
from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import (
    Cell,
    cells,
    is_comparable,
    missing,
    named,
    paper_of,
    said,
    short,
    stem,
)
from batchlimit.reports.figures.studies.looks import Look, looks_of
from batchlimit.reports.figures.studies.measures import Measure, measure, shown_range
from batchlimit.reports.figures.studies.panels import HOLLOW, LEAST_WIDTH, Axis, Panel, Series, log_axis, padded, widths
from batchlimit.reports.figures.studies.target import target
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

# A line is drawn to show where it falls: only what is hopeless is cut off.
_REACH = 40.0


def points(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each place: the mean of its best arm with its interval, seeds, and what became of it.

    'paper' is the paper's value where numbers compare. Arms that are not finished have none; `place` is 'diverged' for
    those of which no training completed.
    """
    return [row for place in cells(result, spec) for row in _point(result, spec, place)]


def _point(result: StudyResult, spec: FigureSpec, place: Cell) -> list[Row]:
    arms = [arm for arm in place.arms if arm.status != "unfinished"]
    best = result.best(arms) or (arms[0] if arms else None)
    if best is None:
        return []
    found = measure(result, spec.y).shown(best.estimate(spec.y))  # type: ignore[arg-type]  # or a further metric's name
    paper = paper_of(result, [best]) if spec.y == "metric" and is_comparable(result) else None
    return [
        {
            "facet": place.facet,
            "colour": place.colour,
            "x": place.x,
            "mean": found.mean,
            "low": found.low,
            "high": found.high,
            "n": found.n,
            "diverged": best.diverged,
            "place": "measured" if found.mean is not None else "diverged",
            "arms": len(place.arms),
            "paper": paper.value if paper is not None else None,
        }
    ]


@drawers.register("lines")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a panel of lines for each facet; None where nothing was measured."""
    rows = [row for row in points(result, spec) if isinstance(row["x"], int | float)]
    if not any(row["mean"] is not None for row in rows):
        return None
    y = measure(result, spec.y)
    aim = target(result, spec)
    plain = _without(rows)
    rules = [(float(row["mean"] or 0), f"{_name(spec, row['colour'])} {y.text(_float(row['mean']))}") for row in plain]
    rules += [(aim.value, aim.label(y))] if aim else []
    caption = _caption(result, spec, rows) + (aim.caption(y) if aim else "")
    caption += "".join(f" Dashed: {_said(spec, row, y)}." for row in plain)
    figure = interval_figure(result, spec, [row for row in rows if row not in plain], y, caption, rules=tuple(rules))
    return replace(figure, rows=named(rows, spec))


def _without(rows: list[Row]) -> list[Row]:
    """Return the one point at 0 that other series are held against, where only a logarithmic axis shows these.

    It is drawn as a line across: 'no noise' among sizes of noise.
    """
    zero = [row for row in rows if row["x"] == 0]
    rest = [row for row in rows if row["x"] != 0]
    alone = len(zero) == 1 and zero[0]["mean"] is not None and zero[0]["colour"] not in {row["colour"] for row in rest}
    one_panel = len({row["facet"] for row in rows}) == 1
    return zero if alone and one_panel and log_axis([float(row["x"] or 0) for row in rest]) else []


def _said(spec: FigureSpec, row: Row, y: Measure) -> str:
    ends = [y.text(_float(row[end])) for end in ("low", "high")]
    known = (
        f" ({ends[0].removesuffix(' %')} to {ends[1]}, n = {row['n']})"
        if row["low"] is not None
        else f" (n = {row['n']})"
    )
    return f"{_name(spec, row['colour'])}, {y.text(_float(row['mean']))}{known}"


def _caption(result: StudyResult, spec: FigureSpec, rows: list[Row]) -> str:
    several = (
        " Of several arms at one place the best is drawn." if any(int(row["arms"] or 0) > 1 for row in rows) else ""
    )
    paper = " Hollow: the paper's." if any(row["paper"] is not None for row in rows) else ""
    return f"Mean over seeds with its 95 % interval.{paper}{several}{missing(result.select(spec.only))}"


def interval_figure(
    result: StudyResult,
    spec: FigureSpec,
    rows: list[Row],
    y: Measure,
    caption: str,
    *,
    log_y: bool = False,
    rules: tuple[tuple[float, str], ...] = (),
) -> Figure:
    """Return a figure of rows ('facet', 'colour', 'x', 'mean', 'low', 'high', 'place') as points with bars, joined.

    `rules` are values with their names, drawn across every panel.
    """
    own = looks_of(result, spec)
    y = y.by_errors([float(row["mean"] or 0) for row in rows if row["mean"] is not None])
    every, rows = rows, [placed(row, y) for row in rows]
    rules = tuple((y.place(value), text) for value, text in rules)
    facets = list(dict.fromkeys(row["facet"] for row in rows))
    width, height, columns = widths(len(facets))
    x_axis = numeric_axis([float(row["x"] or 0) for row in rows], spec.x)
    values = [
        float(row[key] or 0) for row in rows for key in ("mean", "low", "high", "paper") if row.get(key) is not None
    ]
    centres = [float(row["mean"] or 0) for row in rows if row["mean"] is not None]
    reach = _reach(values, *shown_range(centres, y.better, _REACH), y.near)
    low, high = padded(
        min([*reach, *(rule for rule, _ in rules)]), max([*reach, *(rule for rule, _ in rules)]), log=log_y
    )
    low, high = with_edge(low, high, y, rows)
    y_axis = Axis(y.title, low, high, log=log_y, ticks=y.ticks, values=y.labelled(low, high))
    losing = "top" if y.better == "down" else "bottom"
    panels = []
    for facet in facets:
        mine = [row for row in rows if row["facet"] == facet]
        series = _series(mine, own, spec, y)
        panels.append(
            Panel(
                tuple(series),
                x_axis,
                y_axis,
                mark="interval",
                title=said(spec.facet, facet),
                tooltip=(("arm", ""), ("x", ",~g"), ("value", y.tooltip), ("from", y.tooltip), ("to", y.tooltip),
                         ("n", ".0f"), ("diverged", ".0f")),
                losing=losing,
                rules=rules,
                names={"x": spec.x, "value": y.title, "n": "seeds"},
                width=width,
                height=height,
            ).chart()
        )  # fmt: skip
    caption = f"{spec.caption} {caption}{y.caption}{edge_words(low, high, rows)}".strip()
    return Figure(stem(spec.name), spec.title, caption, named(every, spec), tuple(panels), columns, LEAST_WIDTH)


def placed(row: Row, y: Measure) -> Row:
    """Return a row with the places at which its numbers are drawn, themselves as 'value', 'from', 'to', 'published'."""
    numbers = {key: _float(row.get(key)) for key in ("mean", "low", "high", "paper")}
    drawn = {key: None if number is None else y.place(number) for key, number in numbers.items()}
    return {
        **row, **drawn,
        "value": numbers["mean"], "from": numbers["low"], "to": numbers["high"], "published": numbers["paper"],
    }  # fmt: skip


def with_edge(low: float, high: float, y: Measure, rows: Sequence[Row]) -> tuple[float, float]:
    """Return the range with room at the losing edge, where something has to stand there."""
    off = any(not isinstance(row["mean"], float) or not low <= row["mean"] <= high for row in rows)
    room = 0.12 * (high - low) if off else 0.0
    return (low, high + room) if y.better == "down" else (low - room, high)


def edge_words(low: float, high: float, rows: Sequence[Row]) -> str:
    """Return what stands at the edges of this range, as a sentence with a space before it; '' where nothing."""
    means = [row["mean"] for row in rows]
    parts = ["crosses: every seed diverged"] if None in means else []
    if any(isinstance(mean, float) and not low <= mean <= high for mean in means):
        parts.append("triangles: off the axis, with their value")
    if any(_is_cut(row, low, high) for row in rows):
        parts.append("intervals that end at the frame go on beyond it")
    text = "; ".join(parts)
    return f" {text[:1].upper()}{text[1:]}." if text else ""


def _is_cut(row: Row, low: float, high: float) -> bool:
    """Say whether a value is drawn with an interval of which an end is off the axis."""
    mean, ends = row["mean"], [row.get(end) for end in ("low", "high")]
    shown = isinstance(mean, float) and low <= mean <= high
    return shown and any(isinstance(end, float) and not low <= end <= high for end in ends)


def _reach(values: Sequence[float], low: float, high: float, share: float) -> tuple[float, float]:
    """Return the range with the ends of intervals that lie within a share of it beside it."""
    room = share * (high - low)
    near = [value for value in values if low - room <= value <= high + room]
    return min([low, *near]), max([high, *near])


def _series(rows: list[Row], own: dict[Scalar | None, Look], spec: FigureSpec, y: Measure) -> list[Series]:
    found = []
    for colour in dict.fromkeys(row["colour"] for row in rows):
        mine = sorted((row for row in rows if row["colour"] == colour), key=lambda row: float(row["x"] or 0))
        shown = [
            {**row, "arm": said(spec.colour, colour), "note": y.text(_float(row["value"]))}
            for row in mine
        ]  # fmt: skip
        found.append(Series(_name(spec, colour), own[colour], shown))
    papers = [row for row in rows if row.get("paper") is not None]
    for colour in dict.fromkeys(row["colour"] for row in papers):
        look = Look(own[colour].tint, shape=HOLLOW)
        shown = [
            {"x": row["x"], "mean": row["paper"], "value": row["published"], "arm": "the paper"}
            for row in papers
            if row["colour"] == colour
        ]
        found.append(Series("the paper", look, shown, label=False, joined=False))
    return found


def _name(spec: FigureSpec, colour: Scalar | None) -> str:
    if not spec.colour:
        return ""
    return short(colour) if isinstance(colour, str) or colour is None else said(spec.colour, colour)


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def numeric_axis(values: Sequence[float], name: str) -> Axis:
    """Return the axis of a numeric label: logarithmic where values span much, labelled at the values themselves."""
    own = tuple(sorted(set(values)))
    log = log_axis(own)
    low, high = padded(own[0], own[-1], 0.08, log=log)
    unit = {"batch size": " (examples)", "epochs": ""}.get(name, "")
    title = f"{name}{unit}{', logarithmic' if log else ''}"
    return Axis(title, low, high, log=log, ticks="format(datum.value, ',~g')", values=own, grid=False)
