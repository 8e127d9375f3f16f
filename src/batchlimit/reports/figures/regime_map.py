"""The regime map: metric against batch size, linear scaling against the best recipe (paper, Figures 21 and 22)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from batchlimit.findings import LimitFinding
from batchlimit.reports.figures.beside import (
    Reach,
    apart,
    beside_label,
    beside_points,
    caption,
    reach_rows,
    reaches,
    strip_height,
)
from batchlimit.reports.figures.figure import Cell, Figure, Row, data, tick_label
from batchlimit.reports.figures.regimes import (
    BASELINE_SERIES,
    BEST_SERIES,
    LINEAR_SERIES,
    Frame,
    Label,
    bands,
    drawn_points,
    frame,
    gaps,
    joined,
    labels,
    points,
    starts,
    tint,
)
from batchlimit.reports.palette import LINEAR, REGIMES
from batchlimit.reports.quantities import is_percent, metric_text

_HEIGHT = 380
_APART = 3
# Linear scaling that is also the best recipe is one measurement: one mark.
_TWICE = (BEST_SERIES, LINEAR_SERIES)
_LINE = 14
_LABEL_WIDTH = 210
_CROSS = "M-.5,-.5L.5,.5M.5,-.5L-.5,.5"


def draw(finding: LimitFinding, beside: Sequence[LimitFinding] = ()) -> Figure:
    """Return the regime map of a finding; `beside` are those of the same question with other technique sets."""
    rows = points(finding)
    others = [beside_points(other) for other in beside]
    box = frame(finding, [*rows, *itertools.chain(*others)])
    drawn = drawn_points(finding, rows, box)
    grey = [drawn_points(finding, other, box) for other in others]
    sizes = {int(row["batch_size"] or 1) for row in (*rows, *itertools.chain(*others))} | {finding.dataset_size}
    axes = Axes(finding, tuple(sorted(sizes)), box, strip_height(len(beside) + 1))
    named = labels(finding, drawn, first=finding.techniques if beside else "best")
    for line in grey:
        name = beside_label(line, drawn, named, box, _HEIGHT)
        named += [name] if name is not None else []
    layers: list[alt.Chart] = [*_band_layers(bands(finding, box), axes), *_reference_layers(axes)]
    layers += [*_reach_layers(reaches(finding, beside), axes), *_beside_layers(grey, drawn, axes)]
    layers += [*_series_layers(drawn, axes), *_label_layers(named, axes)]
    chart = alt.layer(*layers).properties(
        width="container", height=axes.height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )
    own = [{**row, "techniques": finding.techniques} for row in drawn] if beside else drawn
    return Figure(
        name="regime-map",
        title=f"How large can the batch of {finding.workload} be?",
        caption=(
            "Mean over seeds with its 95 % confidence interval. Squares: the baseline's solver with its LR scaled "
            "linearly; circles: the best recipe found, coloured by recipe. Shaded: what the regimes are known to "
            "cover; between the shades lies a boundary that no tried size settles. Triangles are off the axis, with "
            "their value; crosses diverged." + caption(beside)
        ),
        rows=(
            *(
                {key: value for key, value in row.items() if key not in ("y", "y_low", "y_high")}
                for row in (*own, *itertools.chain(*grey))
            ),
            *reach_rows(finding, beside),
        ),
        panels=(chart,),
        least_width=box.least_width,
    )


@dataclass(frozen=True)
class Axes:
    """The two channels that all layers share, on any field; `strip` pixels at the better edge are kept free."""

    finding: LimitFinding
    sizes: tuple[int, ...]
    box: Frame
    strip: int = 0

    @property
    def height(self) -> int:
        """The pixels of the plot, the strip included."""
        return _HEIGHT + self.strip

    @property
    def up(self) -> bool:
        """Whether more is better: the better edge is then the top."""
        return self.finding.metric_direction == "up"

    def from_edge(self, pixels: int) -> int:
        """Return the place `pixels` from the better edge."""
        return pixels if self.up else self.height - pixels

    def x(self, field: str = "batch_size") -> alt.X:
        """Return the batch sizes on a logarithmic axis with the real sizes as labels and the full batch named."""
        full = self.finding.dataset_size
        axis = alt.Axis(
            values=list(self.sizes),
            labelExpr=(
                f"datum.value == {full} ? [format(datum.value, ',d'), 'full batch'] : "
                f"log({full} / datum.value) / LN2 * width / {self.box.octaves:.4f} < 44 ? '' : "
                "format(datum.value, ',d')"
            ),
            grid=False,
            labelOverlap="greedy",
            labelSeparation=5,
            title="batch size (examples, logarithmic)",
        )
        scale = alt.Scale(type="log", base=2, domain=[self.box.left, self.box.right], nice=False)
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def y(self, field: str = "y") -> alt.Y:
        """Return the metric on a linear axis over the drawn range."""
        axis = alt.Axis(
            labelExpr=tick_label(is_percent(self.finding)), tickCount=6, title=f"test {self.finding.metric_name}"
        )
        scale = alt.Scale(domain=[self.box.bottom, self.box.top], nice=False, zero=False)
        if self.strip:
            scale["range"] = [self.height, self.strip] if self.up else [_HEIGHT, 0]
        return alt.Y(f"{field}:Q", scale=scale, axis=axis)


def _band_layers(rows: list[Row], axes: Axes) -> list[alt.Chart]:
    tint = alt.Color("regime:N", scale=alt.Scale(domain=list(REGIMES), range=list(REGIMES.values())), legend=None)
    base = alt.Chart(data(rows))
    shade = base.mark_rect(opacity=0.11).encode(x=axes.x("start"), x2="end:Q", color=tint)
    # The edge where metrics are good is free of crosses and triangles: labels go there.
    edge = alt.value(axes.from_edge(6))
    layers = [shade]
    for named, style in ((rows, "ink"), (gaps(rows, axes.finding.large_up_to.value), "muted")):
        mark = alt.Chart(data(named)).mark_text(
            style=style, baseline="top" if axes.up else "bottom", fontWeight="bold", fontSize=14
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


def _reach_layers(found: list[Reach], axes: Axes) -> list[alt.Chart]:
    """Draw a bar from the left edge to each set's B_H, its words above it, and a thin line from there to the axis."""
    layers = []
    for reach in found:
        style = "ink" if reach.own else "muted"
        lower, upper = sorted((axes.from_edge(reach.text_y), axes.from_edge(reach.bar_y)))
        if reach.batch_size is not None:
            row: Row = {"batch_size": reach.batch_size, "start": axes.box.left}
            base = alt.Chart(data([row])).encode(x=axes.x())
            far = axes.height if axes.up else 0
            thin = base.mark_rule(style=f"{style}-line", strokeWidth=1, opacity=0.55, strokeDash=[3, 3])
            layers.append(thin.encode(y=alt.value(upper), y2=alt.value(far)))
            bar = base.mark_rule(style=f"{style}-line", strokeWidth=3)
            layers.append(bar.encode(x=axes.x("start"), x2="batch_size:Q", y=alt.value(upper)))
            end = base.mark_rule(style=f"{style}-line", strokeWidth=3)
            layers.append(end.encode(y=alt.value(upper - 6), y2=alt.value(upper + 6)))
        words = alt.Chart(data([{"x": axes.box.left, "text": reach.text}]))
        text = words.mark_text(style=style, align="left", baseline="middle", dx=6, fontSize=12, limit=330)
        layers.append(text.encode(x=axes.x("x"), y=alt.value(lower), text="text:N"))
    return layers


def _beside_layers(grey: list[list[Row]], drawn: list[Row], axes: Axes) -> list[alt.Chart]:
    """Draw the other sets' best recipes as thin lines and rings, under everything of the verdict's own."""
    layers = []
    for line in grey:
        start = [row for row in drawn if row["series"] == BASELINE_SERIES]
        base = alt.Chart(data(joined([*start, *line]))).encode(x=axes.x(), y=axes.y())
        layers.append(base.mark_line(style="muted-line", strokeWidth=1.3, strokeDash=[2, 2], opacity=0.9))
        own = apart(line, drawn)
        spans = alt.Chart(data([row for row in own if row["y_low"] is not None and row["y_high"] is not None]))
        rule = spans.mark_rule(style="muted-line", strokeWidth=1.2)
        layers.append(rule.encode(x=axes.x(), y=axes.y("y_low"), y2="y_high:Q"))
        worse = "triangle-down" if axes.up else "triangle-up"
        for place, shape in (("measured", "circle"), ("beyond", worse), ("diverged", _CROSS)):
            marked = alt.Chart(data([row for row in own if row["place"] == place]))
            ring = marked.mark_point(style="muted-line", shape=shape, size=70, strokeWidth=1.6, filled=False, opacity=1)
            shift = 0 if place == "measured" else 2 * _APART + 8
            layers.append(
                ring.encode(x=axes.x(), y=axes.y(), xOffset=alt.value(shift), tooltip=[*_tooltip(), "techniques:N"])
            )
    return layers


def _tooltip() -> list[alt.Tooltip]:
    return [
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


def _series_layers(drawn: list[Row], axes: Axes) -> list[alt.Chart]:
    tooltip = _tooltip()
    layers = []
    for series in (LINEAR_SERIES, BEST_SERIES):
        line = [row for row in drawn if row["series"] == series or starts(row, series, drawn)]
        base = alt.Chart(data(joined(line))).encode(x=axes.x(), y=axes.y())
        if series == LINEAR_SERIES:
            layers.append(base.mark_line(color=LINEAR, strokeDash=[5, 3], strokeWidth=2, opacity=0.8))
        else:
            layers.append(base.mark_line(style="muted-line", strokeWidth=2, opacity=0.8))
    # Beside each other, so that at one batch size neither interval hides the other.
    marked = [{**row, "tint": tint(row)} for row in drawn if (row["series"], row["recipe"]) != _TWICE]
    shared = {row["batch_size"] for row in marked if row["series"] == BEST_SERIES}
    for offset in (0, -_APART, _APART):
        own = [row for row in marked if _offset(row, shared) == offset]
        spans = alt.Chart(data([row for row in own if row["y_low"] is not None and row["y_high"] is not None]))
        rule = spans.mark_rule(strokeWidth=2, xOffset=offset).encode(x=axes.x(), y=axes.y("y_low"), y2="y_high:Q")
        layers.append(rule.encode(color=alt.Color("tint:N", scale=None), tooltip=tooltip))
        layers += [
            _marks([row for row in own if row["place"] == place], place, offset, axes, tooltip)
            for place in ("measured", "beyond", "diverged")
        ]
    return layers


def _offset(row: Row, shared: set[Cell]) -> int:
    if row["series"] == BASELINE_SERIES or row["batch_size"] not in shared:
        return 0
    return -_APART if row["series"] == LINEAR_SERIES else _APART


def _marks(rows: list[Row], place: str, offset: int, axes: Axes, tooltip: list[alt.Tooltip]) -> alt.Chart:
    worse = "triangle-down" if axes.up else "triangle-up"
    shaped = []
    for row in rows:
        shape = {"beyond": worse, "diverged": _CROSS}.get(place)
        own = {LINEAR_SERIES: "square", BASELINE_SERIES: "diamond"}.get(str(row["series"]), "circle")
        size = 150 if row["series"] == LINEAR_SERIES else 80
        shaped.append({**row, "shape": shape or own, "size": 130 if shape else size})
    base = alt.Chart(data(shaped)).mark_point(strokeWidth=2.2, filled=place != "diverged", opacity=1, xOffset=offset)
    marks: alt.Chart = base.encode(
        x=axes.x(),
        y=axes.y(),
        shape=alt.Shape("shape:N", scale=None),
        size=alt.Size("size:Q", scale=None),
        color=alt.Color("tint:N", scale=None),
        tooltip=tooltip,
    )
    return marks


def _label_layers(named: list[Label], axes: Axes) -> list[alt.Chart]:
    layers = []
    for label in named:
        base = alt.Chart(data([dataclasses.asdict(label)]))
        # Vega hangs further lines below the first: move up by as many, where the label stands above its point.
        rise = _LINE * label.text.count("\n") if label.dy < 0 else 0
        for style in ("halo", label.style):
            mark = base.mark_text(
                style=style,
                align=label.align,
                dx=label.dx,
                dy=label.dy - rise,
                fontSize=12,
                lineBreak="\n",
                lineHeight=_LINE,
                limit=_LABEL_WIDTH,
            ).encode(x=axes.x(), y=axes.y(), text="text:N")
            layers.append(
                mark.encode(color=alt.Color("tint:N", scale=None)) if style != "halo" and label.tint else mark
            )
    return layers
