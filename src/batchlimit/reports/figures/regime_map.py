"""The regime map: the metric against the batch size, linear scaling against the best recipe (paper, Figures 21 and 22)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import altair as alt

from batchlimit.findings import LimitFinding, Measurement
from batchlimit.reports.figures.figure import Figure, Row, data, tick_label
from batchlimit.reports.palette import BASELINE, LINEAR, REGIMES, colour
from batchlimit.reports.quantities import count, is_percent, metric_text
from batchlimit.reports.verdict import all_sizes, reached_by

LINEAR_SERIES = "linear scaling"
BEST_SERIES = "best recipe"
_BASELINE_SERIES = "baseline"
# The axis shows this many times the allowed loss (A - target) below the target: what lies further down is drawn at the
# edge with its value, so that the half per cent that decides stays visible.
_SHOWN_LOSSES = 20.0
_HEIGHT = 380
_LEFT_PAD, _RIGHT_PAD = 2**1.2, 2**0.6


@dataclass(frozen=True)
class Frame:
    """The drawn ranges: batch sizes from `left` to `right`, metric from `bottom` to `top`; `worst` is the losing edge."""

    left: float
    right: float
    bottom: float
    top: float
    worst: float


def points(finding: LimitFinding) -> list[Row]:
    """Return one row for each (batch size, series): the estimate, seeds, those that diverged, and the decision."""
    rows: list[Row] = []
    baseline = finding.baseline
    if baseline is not None:
        rows.append(
            {
                "batch_size": baseline.batch_size,
                "series": _BASELINE_SERIES,
                "recipe": _BASELINE_SERIES,
                "solver": baseline.recipe.solver,
                "metric": baseline.metric.mean,
                "low": baseline.metric.low,
                "high": baseline.metric.high,
                "seeds": baseline.metric.n,
                "diverged": 0,
                "decision": "",
            }
        )
    for size in all_sizes(finding):
        for series, measured in ((LINEAR_SERIES, size.linear), (BEST_SERIES, reached_by(size))):
            if measured is not None:
                rows.append(_point(series, measured))
    return rows


def _point(series: str, measured: Measurement) -> Row:
    return {
        "batch_size": measured.batch_size,
        "series": series,
        "recipe": measured.name,
        "solver": measured.recipe.solver,
        "metric": measured.metric.mean,
        "low": measured.metric.low,
        "high": measured.metric.high,
        "seeds": measured.seeds,
        "diverged": measured.diverged,
        "decision": measured.decision,
    }


def frame(finding: LimitFinding, rows: list[Row]) -> Frame:
    """Return the ranges to draw: every batch size, and the metric as far from the target as is worth telling apart."""
    sizes = [float(row["batch_size"] or 1) for row in rows] + [float(finding.dataset_size)]
    values = [float(row[key] or 0) for row in rows for key in ("metric", "low", "high") if row[key] is not None]
    target = finding.baseline.target_metric if finding.baseline is not None else None
    mean = finding.baseline.metric.mean if finding.baseline is not None else None
    values += [value for value in (target, mean) if value is not None]
    bottom, top = (min(values), max(values)) if values else (0.0, 1.0)
    up = finding.metric_direction == "up"
    if target is not None and mean is not None and target != mean:
        reach = _SHOWN_LOSSES * abs(mean - target)
        bottom, top = (max(bottom, target - reach), top) if up else (bottom, min(top, target + reach))
    room = 0.08 * ((top - bottom) or abs(top) or 1.0)
    bottom, top = bottom - room, top + 1.6 * room
    return Frame(min(sizes) / _LEFT_PAD, max(sizes) * _RIGHT_PAD, bottom, top, worst=bottom + room / 3 if up else top - room / 3)


def drawn_points(finding: LimitFinding, rows: list[Row], box: Frame) -> list[Row]:
    """Return the rows with where and how each is drawn: 'measured', 'beyond' the axis, or 'diverged' (every seed)."""
    percent = is_percent(finding)
    drawn = []
    for row in rows:
        value = row["metric"]
        place, y, text = "measured", value, ""
        if not isinstance(value, float):
            place, y, text = "diverged", box.worst, "diverged"
        elif value < box.bottom or value > box.top:
            place, y, text = "beyond", box.worst, metric_text(value, percent=percent)
        if row["diverged"] and place != "diverged":
            text = f"{text}\n{row['diverged']} of {row['seeds']}\ndiverged".strip()
        if row["decision"] == "undecided":
            text = f"{text}\nundecided".strip()
        low, high = (_clamped(row[end], box) if place == "measured" else None for end in ("low", "high"))
        drawn.append({**row, "place": place, "y": y, "note": text, "y_low": low, "y_high": high})
    return drawn


def _clamped(value: str | int | float | bool | None, box: Frame) -> float | None:
    return None if not isinstance(value, float) else min(max(value, box.bottom), box.top)


def bands(finding: LimitFinding, box: Frame) -> list[Row]:
    """Return the regimes as ranges of batch sizes; between what holds and what fails nothing is shaded."""
    small, large = finding.small_up_to, finding.large_up_to
    rows: list[Row] = []
    full = float(finding.dataset_size)

    def add(regime: str, start: float, end: float) -> None:
        if end > start:
            rows.append({"regime": regime, "start": start, "end": end, "middle": math.sqrt(start * end)})

    def until(value: int) -> float:
        return box.right if value >= full else float(value)

    if small.value is not None:
        add("small", box.left, until(small.value))
    if large.value is not None and large.value > (small.value or 0):
        unsure = [size for size in (small.next_fail, *small.undecided) if size is not None]
        start = min(unsure) if not small.undecided and unsure else small.next_fail
        if start is not None and start <= large.value:
            add("large", float(start), until(large.value))
    if large.next_fail is not None:
        add("huge", float(large.next_fail), box.right)
    return rows


def gaps(shaded: list[Row]) -> list[Row]:
    """Return the ranges between two regimes, where the boundary lies but is not known more closely."""
    rows: list[Row] = []
    for before, after in itertools.pairwise(shaded):
        start, end = before["end"], after["start"]
        if isinstance(start, float) and isinstance(end, float) and end > start:
            rows.append({"regime": "?", "start": start, "end": end, "middle": math.sqrt(start * end)})
    return rows


def draw(finding: LimitFinding) -> Figure:
    """Return the regime map of a finding."""
    rows = points(finding)
    box = frame(finding, rows)
    drawn = drawn_points(finding, rows, box)
    sizes = {int(row["batch_size"] or 1) for row in rows} | {finding.dataset_size}
    axes = Axes(finding, tuple(sorted(sizes)), box)
    layers: list[alt.Chart] = [*_band_layers(bands(finding, box), axes), *_reference_layers(axes)]
    layers += [*_series_layers(drawn, axes), *_label_layers(drawn, axes)]
    chart = alt.layer(*layers).properties(width="container", height=_HEIGHT, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
    return Figure(
        name="regime-map",
        title=f"How large can the batch of {finding.workload} be?",
        caption=(
            "Mean over seeds with its 95 % confidence interval. Squares: the baseline's solver with its LR scaled "
            "linearly; circles: the best recipe found, coloured by recipe. Shaded: what the regimes are known to "
            "cover; between the shades lies a boundary that no tried size settles. Triangles are off the axis, with "
            "their value; crosses diverged."
        ),
        rows=tuple({key: value for key, value in row.items() if key not in ("y", "y_low", "y_high")} for row in drawn),
        panels=(chart,),
    )


@dataclass(frozen=True)
class Axes:
    """The two channels that all layers share, on any field."""

    finding: LimitFinding
    sizes: tuple[int, ...]
    box: Frame

    def x(self, field: str = "batch_size") -> alt.X:
        """Return the batch sizes on a logarithmic axis with the real sizes as labels and the full batch named."""
        full = self.finding.dataset_size
        axis = alt.Axis(
            values=[size for size in self.sizes if size == full or full / size > 2**0.5],
            labelExpr=f"datum.value == {full} ? [format(datum.value, ',d'), 'full batch'] : format(datum.value, ',d')",
            grid=False,
            labelOverlap="greedy",
            title="batch size (examples, logarithmic)",
        )
        scale = alt.Scale(type="log", base=2, domain=[self.box.left, self.box.right], nice=False)
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def y(self, field: str = "y") -> alt.Y:
        """Return the metric on a linear axis over the drawn range."""
        axis = alt.Axis(labelExpr=tick_label(is_percent(self.finding)), tickCount=6, title=f"test {self.finding.metric_name}")
        return alt.Y(f"{field}:Q", scale=alt.Scale(domain=[self.box.bottom, self.box.top], nice=False, zero=False), axis=axis)


def _band_layers(rows: list[Row], axes: Axes) -> list[alt.Chart]:
    tint = alt.Color("regime:N", scale=alt.Scale(domain=list(REGIMES), range=list(REGIMES.values())), legend=None)
    base = alt.Chart(data(rows))
    shade = base.mark_rect(opacity=0.11).encode(
        x=axes.x("start"), x2="end:Q", color=tint
    )
    # The edge where metrics are good is free of crosses and triangles: labels go there.
    up = axes.finding.metric_direction == "up"
    edge = alt.value(6) if up else alt.value(_HEIGHT - 6)
    layers = [shade]
    for named, style in ((rows, "ink"), (gaps(rows), "muted")):
        mark = alt.Chart(data(named)).mark_text(
            style=style, baseline="top" if up else "bottom", fontWeight="bold", fontSize=14
        )
        layers.append(mark.encode(x=axes.x("middle"), y=edge, text="regime:N"))
    return layers if rows else []


def _reference_layers(axes: Axes) -> list[alt.Chart]:
    finding, box = axes.finding, axes.box
    full = alt.Chart(data([{"batch_size": finding.dataset_size}])).mark_rule(style="muted-line", strokeDash=[2, 3])
    layers = [full.encode(x=axes.x())]
    target = finding.baseline.target_metric if finding.baseline is not None else None
    if target is not None:
        text = f"target {metric_text(target, percent=is_percent(finding))}"
        base = alt.Chart(data([{"y": target, "text": text, "batch_size": box.left}]))
        layers.append(base.mark_rule(style="ink-line", strokeDash=[6, 4], strokeWidth=1.2).encode(y=axes.y()))
        below = 13 if finding.metric_direction == "up" else -11
        for style in ("halo", "ink"):
            mark = base.mark_text(style=style, align="left", dx=6, dy=below, fontSize=12)
            layers.append(mark.encode(x=axes.x(), y=axes.y(), text="text:N"))
    return layers


def _series_layers(drawn: list[Row], axes: Axes) -> list[alt.Chart]:
    tooltip = [
        alt.Tooltip("batch_size:Q", format=",d", title="batch size"),
        alt.Tooltip("series:N"),
        alt.Tooltip("recipe:N"),
        alt.Tooltip("metric:Q", format=".4~f", title="mean"),
        alt.Tooltip("low:Q", format=".4~f"),
        alt.Tooltip("high:Q", format=".4~f"),
        alt.Tooltip("seeds:Q"),
        alt.Tooltip("diverged:Q"),
        alt.Tooltip("decision:N"),
    ]
    x, y = axes.x(), axes.y()
    layers = []
    for series in (LINEAR_SERIES, BEST_SERIES):
        line = [
            {**row, "tint": _tint(row)} for row in drawn if row["series"] == series or _joins(row, series, drawn)
        ]  # fmt: skip
        dash = [5, 3] if series == LINEAR_SERIES else [1, 0]
        stroke = alt.value(LINEAR) if series == LINEAR_SERIES else alt.Undefined
        path = alt.Chart(data(_path(line))).mark_line(style="muted-line", strokeWidth=2, strokeDash=dash, opacity=0.8).encode(x=x, y=y)
        layers.append(path.encode(stroke=stroke) if series == LINEAR_SERIES else path)
        spans = alt.Chart(data([row for row in line if row["y_low"] is not None and row["y_high"] is not None]))
        layers.append(
            spans.mark_rule(strokeWidth=2).encode(
                x=x, y=axes.y("y_low"), y2="y_high:Q", color=alt.Color("tint:N", scale=None), tooltip=tooltip
            )
        )
        for place in ("measured", "beyond", "diverged"):
            layers.append(_marks([row for row in line if row["place"] == place], place, axes, tooltip))
    return layers


def _path(line: list[Row]) -> list[Row]:
    """Return the points to join: up to the first that is off the axis, for beyond it a line would show a plateau."""
    inside = list(itertools.takewhile(lambda row: row["place"] == "measured", line))
    return line[: len(inside) + 1]


def _joins(row: Row, series: str, drawn: list[Row]) -> bool:
    """Say whether the baseline's point starts the line of `series`: both series leave from it."""
    return row["series"] == _BASELINE_SERIES and any(other["series"] == series for other in drawn)


def _tint(row: Row) -> str:
    if row["series"] == _BASELINE_SERIES:
        return BASELINE
    return LINEAR if row["series"] == LINEAR_SERIES else colour(str(row["recipe"]), str(row["solver"]))


def _marks(rows: list[Row], place: str, axes: Axes, tooltip: list[alt.Tooltip]) -> alt.Chart:
    worse = "triangle-down" if axes.finding.metric_direction == "up" else "triangle-up"
    shaped = []
    for row in rows:
        shape = {"beyond": worse, "diverged": "M-.5,-.5L.5,.5M.5,-.5L-.5,.5"}.get(place)
        own = {LINEAR_SERIES: "square", _BASELINE_SERIES: "diamond"}.get(str(row["series"]), "circle")
        size = 150 if row["series"] == LINEAR_SERIES else 80
        shaped.append({**row, "shape": shape or own, "size": 130 if shape else size})
    tint = alt.Color("tint:N", scale=None)
    base = alt.Chart(data(shaped)).encode(
        x=axes.x(), y=axes.y(), shape=alt.Shape("shape:N", scale=None), size=alt.Size("size:Q", scale=None), tooltip=tooltip
    )
    return base.mark_point(strokeWidth=2.2, filled=place != "diverged", opacity=1).encode(color=tint)


def _label_layers(drawn: list[Row], axes: Axes) -> list[alt.Chart]:
    layers = []
    for placed in labels(axes.finding, drawn):
        base = alt.Chart(data([placed]))
        up = float(placed["dy"] or 0) < 0
        lines = str(placed["text"]).count("\n")
        options = {
            "align": placed["align"],
            "dx": placed["dx"],
            # Vega hangs further lines below the first: move up by as many, where the label stands above its point.
            "dy": float(placed["dy"] or 0) - (14 * lines if up else 0),
            "fontSize": 12,
            "lineBreak": "\n",
            "lineHeight": 14,
        }
        for style in ("halo", "ink"):
            mark = base.mark_text(style=style, **options).encode(x=axes.x(), y=axes.y(), text="text:N")
            own = style == "ink" and placed["tint"]
            layers.append(mark.encode(color=alt.Color("tint:N", scale=None)) if own else mark)
    return layers


def labels(finding: LimitFinding, drawn: list[Row]) -> list[Row]:
    """Return the direct labels: each series by name once, a best recipe where it changes, and notes on single points."""
    placed: list[Row] = []
    better = -1 if finding.metric_direction == "up" else 1

    def add(row: Row, text: str, *, tint: str, align: str, dx: int, dy: int) -> None:
        placed.append(
            {
                "batch_size": row["batch_size"], "y": row["y"], "text": text,
                "tint": tint, "align": align, "dx": dx, "dy": dy,
            }
        )  # fmt: skip

    for row in drawn:
        if row["series"] == _BASELINE_SERIES:
            add(row, "baseline", tint="", align="center", dx=0, dy=18 * better)
    linear = [row for row in drawn if row["series"] == LINEAR_SERIES]
    failing = [row for row in linear if row["decision"] == "fail"]
    named = (failing or linear[-1:] or [None])[0]
    for row in linear:
        edge = row["place"] != "measured"
        if row is named and edge:
            add(row, f"{LINEAR_SERIES}\n{row['note']}", tint=LINEAR, align="center", dx=0, dy=14 * better)
        elif row is named:
            add(row, LINEAR_SERIES, tint=LINEAR, align="right", dx=-12, dy=-4 * better)
        if row["note"] and not (row is named and edge):
            add(row, str(row["note"]), tint="", align="center" if edge else "right", dx=0, dy=(14 if edge else -18) * better)
    before = ""
    for row in drawn:
        if row["series"] != BEST_SERIES:
            continue
        if row["recipe"] not in (before, LINEAR_SERIES):
            text = f"best: {row['recipe']}" if before in ("", LINEAR_SERIES) else str(row["recipe"])
            add(row, text, tint=_tint(row), align="center", dx=0, dy=18 * better)
        before = str(row["recipe"])
        if row["note"] and row["recipe"] != LINEAR_SERIES:
            add(row, str(row["note"]), tint="", align="right", dx=-10, dy=-18 * better)
    return placed


def spoken(finding: LimitFinding) -> str:
    """Return the map as a sentence, for those who cannot see it."""
    parts = []
    for row in points(finding):
        value = row["metric"]
        shown = metric_text(value if isinstance(value, float) else None, percent=is_percent(finding))
        parts.append(f"{row['series']} at {count(int(row['batch_size'] or 0))}: {shown if value is not None else 'diverged'}")
    return "; ".join(parts)
