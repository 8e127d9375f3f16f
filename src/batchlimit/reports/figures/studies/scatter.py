"""The training loss at the end against the test metric, a dot a training."""

from __future__ import annotations

from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import cells, missing, named, said, short, stem
from batchlimit.reports.figures.studies.looks import looks_of
from batchlimit.reports.figures.studies.measures import Measure, measure, shown_range
from batchlimit.reports.figures.studies.panels import LEAST_WIDTH, Axis, Panel, Series, log_axis, padded, widths
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec


def dots(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each final training that completed: its training loss, its test value and its seed."""
    rows: list[Row] = []
    value = spec.y
    along = _along(spec)
    for place in cells(result, spec, along_x=False):
        for arm in place.arms:
            losses, tested = arm.by_seed(along), arm.by_seed(value)  # type: ignore[arg-type]
            rows += [
                {"facet": place.facet, "colour": place.colour, "x": losses[seed], "mean": tested[seed], "seed": seed}
                for seed in sorted(losses.keys() & tested.keys())
            ]
    return rows


def _edge_words(rows: list[Row], spec: FigureSpec, y: Measure, axis: Axis) -> str:
    """Return what the triangles at the edge are, as a sentence with a space before it; '' where there are none."""
    found: dict[str, list[float]] = {}
    for row in rows:
        mean = float(row["mean"] or 0)
        if not axis.low <= mean <= axis.high:
            words = (said(spec.colour, row["colour"]), said(spec.facet, row["facet"]))
            found.setdefault(", ".join(filter(None, words)), []).append(mean)
    told = [
        f"{name or 'a training'} ({' to '.join(dict.fromkeys((y.text(min(means)), y.text(max(means)))))})"
        for name, means in found.items()
    ]
    return f" Triangles: off the axis: {'; '.join(told)}." if told else ""


def _along(spec: FigureSpec) -> str:
    return spec.x if spec.x in ("loss", "steps", "seconds") else "train loss"


@drawers.register("scatter")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a panel of dots for each facet; None where no training has both values."""
    rows = dots(result, spec)
    if not rows:
        return None
    y, x = measure(result, spec.y), measure(result, _along(spec))
    own = looks_of(result, spec)
    facets = list(dict.fromkeys(row["facet"] for row in rows))
    width, height, columns = widths(len(facets))
    places = [float(row["x"] or 0) for row in rows]
    log = log_axis(places)
    x_title = f"{x.title}{', logarithmic' if log else ''}"
    x_axis = Axis(x_title, *padded(min(places), max(places), log=log), log=log, ticks=x.ticks, grid=False)
    y_axis = Axis(y.title, *padded(*shown_range([float(row["mean"] or 0) for row in rows], y.better)), ticks=y.ticks)
    panels = []
    for facet in facets:
        mine = [row for row in rows if row["facet"] == facet]
        series = []
        for colour in dict.fromkeys(row["colour"] for row in mine):
            name = short(colour) if isinstance(colour, str) else said(spec.colour, colour)
            shown = [{**row, "arm": name} for row in mine if row["colour"] == colour]
            series.append(Series(name, own[colour], shown))
        panels.append(
            Panel(
                tuple(series),
                x_axis,
                y_axis,
                mark="points",
                title=said(spec.facet, facet),
                tooltip=(("arm", ""), ("x", ".3~g"), ("value", y.tooltip), ("seed", ".0f")),
                losing="top" if y.better == "down" else "bottom",
                width=width,
                height=height,
                names={"x": x.title, "value": y.title},
            ).chart()
        )
    caption = f"{spec.caption} One dot a training; names stand at the height of their series' rightmost dot."
    caption = f"{caption.strip()}{_edge_words(rows, spec, y, y_axis)}{missing(result.select(spec.only))}"
    return Figure(
        stem(spec.name),
        spec.title,
        caption,
        named(rows, spec, x=x.title, mean=y.title),
        tuple(panels),
        columns,
        LEAST_WIDTH,
    )
