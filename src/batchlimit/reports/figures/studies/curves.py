"""A quantity of the histories against epochs or steps: the mean over seeds, shaded from the least to the greatest."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from batchlimit.config import Scalar
from batchlimit.records import TrialRecord
from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import cells, missing, named, number, said, short, stem
from batchlimit.reports.figures.studies.looks import Look, looks_of
from batchlimit.reports.figures.studies.measures import Measure, at_point, curve_measure, shown_range
from batchlimit.reports.figures.studies.panels import LEAST_WIDTH, Axis, Panel, Series, padded, widths
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.views import CURVES, FigureSpec

_POINTS = 120
_BANDS = 5
SHADED = ", shaded from the least to the greatest"
# A line that goes this many times as high as most leaves the panel, so that the others can be read.
_RUNAWAY = 6.0


def histories(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each (panel, series, epoch or step): mean, least and greatest over the seeds there.

    Of an arm that no seed completed the curves go up to where they diverged, and `place` marks the last point. Several
    arms in one place: the best of them.
    """
    by_step = spec.x in ("step", "steps", "updates")
    curve_measure(result, spec.y)
    value = spec.y if spec.y in CURVES else "selection"
    rows: list[Row] = []
    for place in cells(result, spec, along_x=False):
        arms = [arm for arm in place.arms if arm.final]
        best = result.best(arms) or (arms[0] if arms else None)
        if best is None:
            continue
        members = best.complete or best.final
        points = [
            ((float(point.step) if by_step else round(point.epoch, 4)), found)
            for record in members
            for point in record.history
            if (found := at_point(point, value)) is not None
        ]
        rows += _series(points, place.facet, place.colour, diverged=not best.complete)
    return rows


def _series(
    points: list[tuple[float, float]], facet: Scalar | None, colour: Scalar | None, *, diverged: bool
) -> list[Row]:
    by_x: dict[float, list[float]] = {}
    for x, found in points:
        by_x.setdefault(x, []).append(found)
    kept = sorted(by_x)
    stride = -(-len(kept) // _POINTS) or 1
    kept = kept[::-1][::stride][::-1]
    return [
        {
            "facet": facet,
            "colour": colour,
            "x": x,
            "mean": sum(by_x[x]) / len(by_x[x]),
            "low": min(by_x[x]),
            "high": max(by_x[x]),
            "n": len(by_x[x]),
            "ended": diverged and x == kept[-1],
        }
        for x in kept
    ]


@drawers.register("curves")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a panel of curves for each facet; None where no history has the quantity."""
    rows = histories(result, spec)
    if not rows:
        return None
    y = curve_measure(result, spec.y)
    by_step = spec.x in ("step", "steps", "updates")
    caption = (
        f"{spec.caption} Mean over seeds{SHADED}. A cross: every seed diverged there."
        f"{missing(result.select(spec.only))}"
    ).strip()
    x_title = "weight updates" if by_step else "epoch"
    return band_figure(spec, rows, looks_of(result, spec), x_title, y, caption)


def band_figure(
    spec: FigureSpec,
    rows: list[Row],
    own: dict[Scalar | None, Look],
    x_title: str,
    y: Measure,
    caption: str,
    *,
    log_x: bool = False,
    guides: Callable[[Scalar | None], Sequence[Series]] = lambda facet: (),
    rules: Callable[[Scalar | None], Sequence[tuple[float, str]]] = lambda facet: (),
    called: str = "",
) -> Figure:
    """Return a figure of rows ('facet', 'colour', 'x', 'mean', 'low', 'high') as lines with bands.

    Of more lines than bands can be told apart only the means are drawn, and `caption` loses its `SHADED`.
    """
    every = rows
    facets = list(dict.fromkeys(row["facet"] for row in rows))
    width, height, columns = widths(len(facets))
    places = [float(row["x"] or 0) for row in rows]
    log_x = log_x and min(places) > 0
    low, high = min(places), max(places)
    low, high = (
        padded(low, high, 0.04, log=log_x) if log_x or low == high else (min(low, 0.0) if low >= 0 else low, high)
    )
    named_x = f"{x_title}{', logarithmic' if log_x else ''}"
    x_axis = Axis(named_x, low, high, log=log_x, ticks="format(datum.value, ',~g')", grid=False)
    crowded = len({row["colour"] for row in rows}) > _BANDS  # so many shades would hide the lines
    if crowded:
        rows = [{**row, "low": None, "high": None} for row in rows]
        caption = caption.replace(SHADED, "")
    bottom, top = _drawn_range(rows, y)
    if y.better is None and not y.log:
        top, away = _without_runaways(rows, spec, top)
        caption += away
    bottom, top = padded(bottom, top, 0.04, log=y.log)
    bottom, top = _with_rules(bottom, top, [value for facet in facets for value, _ in rules(facet)], log=y.log)
    y_axis = Axis(f"{y.title}{', logarithmic' if y.log else ''}", bottom, top, log=y.log, ticks=y.ticks)
    panels = []
    for facet in facets:
        mine = [row for row in rows if row["facet"] == facet]
        series = []
        for colour in dict.fromkeys(row["colour"] for row in mine):
            name = short(colour) if isinstance(colour, str) else said(spec.colour, colour)
            line = [{**row, "arm": name} for row in mine if row["colour"] == colour]
            series.append(Series(name, own[colour], line))
            ended = [{**row, "place": "diverged"} for row in line if row.get("ended")]
            series.append(Series("", own[colour], ended, label=False))
        panels.append(
            Panel(
                tuple(series),
                x_axis,
                y_axis,
                title=said(spec.facet, facet),
                tooltip=(("arm", ""), ("x", ",~g"), ("mean", y.tooltip), ("n", ".0f")),
                losing="top" if y.better == "down" else "bottom",
                rules=tuple(rules(facet)),
                guides=tuple(guides(facet)),
                width=width,
                height=height,
                names={"x": x_title, "mean": y.title, "n": "seeds"},
            ).chart()
        )
    titles = {"x": x_title, "mean": called or "mean"}
    return Figure(
        stem(spec.name), spec.title, caption, named(every, spec, **titles), tuple(panels), columns, LEAST_WIDTH
    )


def _drawn_range(rows: list[Row], y: Measure) -> tuple[float, float]:
    """Return the range of the curves; of the first tenth of a training only what lies near the rest."""
    keys = ("mean", "low", "high")
    ends = [float(row[key] or 0) for row in rows for key in keys if row[key] is not None]
    if y.better is None or y.log:
        return (min(ends), max(ends)) if min(ends) < max(ends) else shown_range(ends, None)
    last = max(float(row["x"] or 0) for row in rows)
    late = [
        float(row[key] or 0)
        for row in rows
        for key in keys
        if row[key] is not None and (float(row["x"] or 0) >= 0.1 * last or row.get("ended"))
    ]
    low, high = shown_range(late or ends, None)
    room = 0.5 * (high - low)
    return max(min(ends), low - room), min(max(ends), high + room)


def _without_runaways(rows: list[Row], spec: FigureSpec, top: float) -> tuple[float, str]:
    """Return the upper end of the axis without lines that go far above most, and which these are, as a sentence."""
    peaks: dict[tuple[Scalar | None, Scalar | None], float] = {}
    for row in rows:
        place = row["facet"], row["colour"]
        peaks[place] = max(peaks.get(place, 0.0), float(row["mean"] or 0))
    usual = statistics.median(peaks.values())
    away = {place: peak for place, peak in peaks.items() if peak > _RUNAWAY * usual > 0}
    if not away:
        return top, ""
    words = []
    for (facet, colour), peak in away.items():
        name = ", ".join(filter(None, (said(spec.facet, facet), said(spec.colour, colour))))
        words.append(f"{name} (up to {number(float(f'{peak:.3g}'))})")
    return 1.3 * max(peak for place, peak in peaks.items() if place not in away), f" Off the axis: {'; '.join(words)}."


def _with_rules(low: float, high: float, rules: list[float], *, log: bool) -> tuple[float, float]:
    inside = [value for value in rules if value > 0 or not log]
    return min([low, *inside]), max([high, *inside])


def final_records(arms: Sequence[ArmResult]) -> list[TrialRecord]:
    """Return the completed final trainings of arms."""
    return [record for arm in arms for record in arm.complete]
