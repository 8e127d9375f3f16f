"""How far apart trainings end: a matrix of distances between the end points of arms, over seeds."""

from __future__ import annotations

import math

import altair as alt

from batchlimit.analysis.end_points import EndPoints, end_points
from batchlimit.reports.figures.figure import Figure, Row, data
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import cells, label_of, missing, named, number, said, stem, words_of
from batchlimit.reports.figures.studies.distance import PROBE
from batchlimit.reports.figures.studies.panels import clipped
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

_CELL = 62
_START = "its start"


def pairs(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each pair of arms of a facet: the mean distance of their end points, over pairs of trainings.

    Arms are named by the label `x` (or `colour`). Within an arm the pairs are of different seeds; an arm of one seed
    has no such distance. 'from start' is the mean distance of the first arm's end points from their own start, 'angle'
    the mean angle between the movements (degrees).
    """
    rows: list[Row] = []
    label = spec.x or spec.colour
    for place in cells(result, spec.model_copy(update={"colour": ""}), along_x=False):
        members: dict[str, list[str]] = {}
        measured = {}
        for index, arm in enumerate(place.arms):
            shown = said(label, label_of(arm, label)) if label else words_of(place.arms, arm)
            for record in arm.complete:
                if PROBE in record.measurements:
                    key = f"{index} {record.config.seed}"
                    measured[key] = record.measurements[PROBE]
                    members.setdefault(shown, []).append(key)
        found = end_points(measured)
        known = {name: [key for key in keys if key in found.names] for name, keys in members.items()}
        arms = [name for name, keys in known.items() if keys]
        rows += [
            {"facet": place.facet, **_pair(found, one, known[one], other, known[other])}
            for one in arms
            for other in arms
        ]
    return rows


def _pair(found: EndPoints, one: str, mine: list[str], other: str, theirs: list[str]) -> Row:
    index = {name: place for place, name in enumerate(found.names)}
    both = [(index[a], index[b]) for a in mine for b in theirs if a != b]
    distances = [found.distances[a][b] for a, b in both]
    angles = [angle for a, b in both if (angle := found.angles[a][b]) is not None]
    lengths = [found.lengths[index[a]] for a in mine]
    return {
        "one": one,
        "other": other,
        "distance": math.fsum(distances) / len(distances) if distances else None,
        "angle": math.fsum(angles) / len(angles) if angles else None,
        "from start": math.fsum(lengths) / len(lengths),
        "pairs": len(both),
    }


@drawers.register("end-points")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a matrix for each facet, on one scale of colours; None where no training kept its end point."""
    rows = pairs(result, spec)
    values = [float(row["distance"]) for row in rows if isinstance(row["distance"], float)]
    if not values:
        return None
    facets = list(dict.fromkeys(row["facet"] for row in rows))
    panels = tuple(
        _matrix([row for row in rows if row["facet"] == facet], said(spec.facet, facet), max(values) or 1.0)
        for facet in facets
    )
    caption = (
        f"{spec.caption} Mean distance between the end points of two arms' trainings; on the diagonal, between seeds "
        "of one arm. Darker: further apart. The last column: from their own start. From sketches, to about 3 %."
        f"{missing(result.select(spec.only))}"
    ).strip()
    shown = named(rows, spec.model_copy(update={"x": "", "colour": ""}))
    return Figure(stem(spec.name), spec.title, caption, shown, panels, 2 if len(facets) > 1 else 1)


def _matrix(rows: list[Row], title: str, top: float) -> alt.TopLevelMixin:
    names = list(dict.fromkeys(str(row["one"]) for row in rows))
    own = {str(row["one"]): row["from start"] for row in rows}
    begins: list[Row] = [{"one": name, "other": _START, "distance": own[name]} for name in names]
    shown = [_cell(row, top) for row in (*rows, *begins)]
    order = [clipped(name, 26) for name in names]
    scale = alt.Scale(paddingInner=0.04)
    axis = alt.Axis(orient="top", labelAngle=-35, labelLimit=170, domain=False, ticks=False)
    x = alt.X("other:N", sort=[*order, _START], title=None, scale=scale, axis=axis)
    y = alt.Y("one:N", sort=order, title=None, scale=scale, axis=alt.Axis(labelLimit=190, domain=False, ticks=False))
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("one", "other")]
    tooltip += [alt.Tooltip("distance:Q", format=".4~g"), alt.Tooltip("angle:Q", format=".1f"), alt.Tooltip("pairs:Q")]
    tint = alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1], clamp=True), legend=None)
    known = alt.Chart(data([row for row in shown if row["share"] is not None]))
    unknown = alt.Chart(data([row for row in shown if row["share"] is None]))
    dark = alt.condition("datum.share > 0.55", alt.value("#ffffff"), alt.value("#10151c"))
    layers = [
        known.mark_rect().encode(x=x, y=y, color=tint, tooltip=tooltip),
        unknown.mark_rect(style="empty", opacity=0.6).encode(x=x, y=y),
        known.mark_text(fontSize=11).encode(x=x, y=y, text="text:N", color=dark),
        unknown.mark_text(style="ink", fontSize=10).encode(x=x, y=y, text="text:N"),
    ]
    chart: alt.TopLevelMixin = alt.layer(*layers).properties(
        width=_CELL * (len(names) + 1),
        height=34 * len(names),
        title=alt.TitleParams(title, anchor="start", fontSize=13),
    )
    return chart


def _cell(row: Row, top: float) -> Row:
    distance = row["distance"]
    known = isinstance(distance, float)
    return {
        **row,
        "one": clipped(str(row["one"]), 26),
        "other": clipped(str(row["other"]), 26),
        "share": float(distance or 0) / top if known else None,
        "text": number(float(f"{distance:.3g}")) if known else "one seed",
    }
