"""One panel of a figure: lines or points of several series on two axes, each named where it ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import altair as alt

from batchlimit.reports.figures.figure import Row, data
from batchlimit.reports.figures.studies.looks import Look
from batchlimit.reports.figures.studies.measures import NUMBERS

_CROSS = "M-.5,-.5L.5,.5M.5,-.5L-.5,.5"
HOLLOW = "hollow"
# A narrower screen scrolls the figure.
LEAST_WIDTH = 340
_LINE = 14
_LETTER = 6.4


@dataclass(frozen=True)
class Axis:
    """A numeric axis: title with its unit, range, scale, the Vega expression of its labels, and labelled values."""

    title: str
    low: float
    high: float
    log: bool = False
    ticks: str = NUMBERS
    values: tuple[float, ...] = ()
    grid: bool = True

    def place(self, value: float) -> float:
        """Return where a value lies between the ends of the axis, from 0 to 1."""
        if self.log:
            ends = math.log(self.low), math.log(self.high)
            value = math.log(value) if value > 0 else ends[0]
        else:
            ends = self.low, self.high
        return min(1.0, max(0.0, (value - ends[0]) / (ends[1] - ends[0])))

    def scale(self) -> alt.Scale:
        """Return the axis' scale."""
        return scale(self.low, self.high, log=self.log)

    def axis(self) -> alt.Axis:
        """Return the axis as drawn."""
        values = self.values or (log_ticks(self.low, self.high) if self.log else ())
        given = {"values": list(values)} if values else {"tickCount": 5}
        return alt.Axis(
            title=self.title, labelExpr=self.ticks, grid=self.grid, labelOverlap="greedy", labelSeparation=4, **given
        )


@dataclass(frozen=True)
class Series:
    """A named series: rows with 'x' and 'mean', and where known 'low' and 'high'; `place` says how a row is drawn.

    Places are 'measured' (the default), 'beyond' the range and 'diverged': the last two stand at the losing edge.
    """

    name: str
    look: Look
    rows: list[Row]
    label: bool = True
    joined: bool = True


@dataclass(frozen=True)
class Panel:
    """What one panel shows and how: `mark` is 'interval' (points with bars, joined), 'band' (lines) or 'points'."""

    series: tuple[Series, ...]
    x: Axis
    y: Axis
    mark: Literal["interval", "band", "points"] = "band"
    title: str = ""
    subtitle: str = ""
    tooltip: tuple[tuple[str, str], ...] = ()
    losing: str = "bottom"
    rules: tuple[tuple[float, str], ...] = ()
    guides: tuple[Series, ...] = ()
    width: int = 215
    height: int = 180
    step: Literal["linear", "step-after"] = "linear"
    names: dict[str, str] = field(default_factory=dict)

    def chart(self) -> alt.TopLevelMixin:
        """Return the panel as a chart."""
        names = sum(1 for one in self.series if one.label and one.rows) + len(self.rules)
        height = max(self.height, (_LINE + 1) * names)
        layers: list[alt.Chart] = [self._rule(value) for value, _ in self.rules]
        for place, one in enumerate(self.series):
            if one.rows:
                layers += self._series(one, self._dodge(place), height)
        for guide in self.guides:
            line = alt.Chart(data(guide.rows)).mark_line(
                color=guide.look.tint, strokeDash=list(guide.look.dash), strokeWidth=1.6, opacity=0.9, clip=True
            )
            layers.append(line.encode(x=self._x(), y=self._y()))
        layers += self._notes()
        layers += self._labels(height)
        made: alt.TopLevelMixin = alt.layer(*layers).properties(width=self.width or "container", height=height)
        if self.title:
            limit = (self.width or 520) + 60
            size = 13 if len(self.title) <= 34 else 11
            under = {"subtitle": self.subtitle} if self.subtitle else {}
            made = made.properties(
                title=alt.TitleParams(self.title, anchor="start", fontSize=size, limit=limit, **under)  # type: ignore[arg-type]
            )
        return made if self.width else as_wide(made, right=self._label_width())

    def _label_width(self) -> int:
        names = [clipped(one.name) for one in self.series if one.label and one.rows] + [text for _, text in self.rules]
        return 14 + round(_LETTER * max(map(len, names), default=0))

    def _dodge(self, place: int) -> float:
        # Beside each other, so that at one place no interval hides another.
        return 5 * (place - (len(self.series) - 1) / 2) if self.mark == "interval" else 0.0

    def _x(self, name: str = "x") -> alt.X:
        return alt.X(f"{name}:Q", scale=self.x.scale(), axis=self.x.axis())

    def _y(self, name: str = "mean") -> alt.Y:
        return alt.Y(f"{name}:Q", scale=self.y.scale(), axis=self.y.axis())

    def _tooltips(self) -> list[alt.Tooltip]:
        kept = []
        for name, form in self.tooltip:
            title = self.names.get(name, name)
            plain = alt.Tooltip(f"{name}:N", title=title)
            kept.append(alt.Tooltip(f"{name}:Q", title=title, format=form) if form else plain)
        return kept

    def _series(self, one: Series, offset: float, height: int) -> list[alt.Chart]:
        rows = [self._placed(row) for row in one.rows]
        measured = [row for row in rows if row["place"] == "measured"]
        ranged = [row for row in measured if row.get("low") is not None and row.get("high") is not None]
        ranged = ranged if any(row["low"] != row["high"] for row in ranged) else []
        # Only what is encoded and what tooltips name: a chart carries its data with it.
        layers: list[alt.Chart] = []
        if ranged and self.mark == "band":
            area = alt.Chart(data(ranged)).mark_area(color=one.look.tint, opacity=0.18, clip=True)
            layers.append(area.encode(x=self._x(), y=self._y("low"), y2="high:Q"))
        if self.mark != "points" and one.joined:
            line = alt.Chart(data(joined(rows))).mark_line(
                color=one.look.tint,
                strokeWidth=2,
                strokeDash=list(one.look.dash),
                clip=True,
                interpolate=self.step,
                xOffset=offset,
            )
            layers.append(line.encode(x=self._x(), y=self._y(), tooltip=self._tooltips()))
        if ranged and self.mark != "band":
            bars = alt.Chart(data([self._clamped(row) for row in ranged])).mark_rule(
                color=one.look.tint, strokeWidth=2, xOffset=offset
            )
            layers.append(bars.encode(x=self._x(), y=self._y("low"), y2="high:Q"))
        if self.mark != "band" or len(measured) == 1:
            layers.append(self._points(measured, one.look.shape, one.look, offset, 60))
        worse = "triangle-down" if self.losing == "bottom" else "triangle-up"
        layers.append(self._points([r for r in rows if r["place"] == "beyond"], worse, one.look, offset, 90))
        layers.append(self._points([r for r in rows if r["place"] == "diverged"], _CROSS, one.look, offset, 110))
        return [layer for layer in layers if layer.data.values]

    def _placed(self, row: Row) -> Row:
        """Return a row with where it is drawn: what diverged or lies off the range stands at the losing edge."""
        room = 0.03 * (self.y.high - self.y.low)
        edge = self.y.low + room if self.losing == "bottom" else self.y.high - room
        place, value = row.get("place", "measured"), row["mean"]
        # A line of a band leaves the panel where it leaves the range; a point has to stand somewhere.
        if (
            self.mark != "band"
            and place == "measured"
            and isinstance(value, float)
            and not self.y.low <= value <= self.y.high
        ):
            place = "beyond"
        return {"value": value, **row, "place": place, "mean": value if place == "measured" else edge}

    def _clamped(self, row: Row) -> Row:
        ends = {end: min(max(float(row[end] or 0), self.y.low), self.y.high) for end in ("low", "high")}
        return {**row, **ends}

    def _points(self, rows: list[Row], shape: str, look: Look, offset: float, size: int) -> alt.Chart:
        marks = alt.Chart(data(rows)).mark_point(
            shape="diamond" if shape == HOLLOW else shape,
            color=look.tint,
            filled=shape not in (_CROSS, HOLLOW),
            strokeWidth=2.2,
            opacity=1,
            size=size,
            xOffset=offset,
        )
        made: alt.Chart = marks.encode(x=self._x(), y=self._y(), tooltip=self._tooltips())
        return made

    def _notes(self) -> list[alt.Chart]:
        """Return the values of points off the range, above each other at one place; of crosses the first is named."""
        stacked: dict[object, int] = {}
        layers = []
        for one in self.series:
            rows = [self._placed(row) for row in one.rows]
            noted = [row for row in rows if row["place"] == "beyond" and row.get("note")]
            lost = [row for row in rows if row["place"] == "diverged" and self.mark == "interval"]
            noted += [{**row, "note": "diverged"} for row in lost[:1] if not noted]
            for row in noted:
                level = stacked[row["x"]] = stacked.get(row["x"], -1) + 1
                dy = -12 - 13 * level if self.losing == "bottom" else 13 + 13 * level
                marks = alt.Chart(data([{"x": row["x"], "mean": row["mean"], "note": row["note"]}]))
                texts = (
                    marks.mark_text(style="halo", dy=dy, fontSize=11),
                    marks.mark_text(color=one.look.tint, dy=dy, fontSize=11),
                )
                layers += [text.encode(x=self._x(), y=self._y(), text="note:N") for text in texts]
        return layers

    def _rule(self, value: float) -> alt.Chart:
        base = alt.Chart(data([{"mean": value}]))
        made: alt.Chart = base.mark_rule(style="ink-line", strokeDash=[5, 4], opacity=0.7).encode(y=self._y())
        return made

    def _labels(self, height: int) -> list[alt.Chart]:
        """Return the names of series and rules at the right edge, at the height of their ends, moved apart."""
        named = [one for one in self.series if one.label and one.name and one.rows]
        ends = []
        for one in named:
            last = self._placed(max(one.rows, key=lambda row: float(row["x"] or 0)))
            ends.append((1.0 - self.y.place(float(last["mean"] or 0))) * height)
        rules = [(1.0 - self.y.place(value)) * height for value, _ in self.rules]
        places = apart([*ends, *rules], _LINE, height)
        layers = []
        for one, end, y in zip(named, ends, places, strict=False):
            reached = self.x.place(max(float(row["x"] or 0) for row in one.rows))
            if reached < 0.9 and self.mark != "points":  # a thread from where a short line ends to its name
                thread = alt.Chart(data([{}])).mark_rule(color=one.look.tint, strokeDash=[1, 3], opacity=0.7)
                # Among several panels Vega's 'width' is not the panel's.
                inside = reached * self.width + 6 if self.width else alt.expr(f"width * {reached:.4f} + 6")
                start, stop = alt.value(inside), alt.value("width")
                layers.append(thread.encode(x=start, x2=stop, y=alt.value(end), y2=alt.value(y)))
            layers.append(_name_at(clipped(one.name), y, color=one.look.tint))
        for (_, text), y in zip(self.rules, places[len(ends) :], strict=True):
            layers.append(_name_at(text, y, style="muted"))
        return layers


def _name_at(text: str, y: float, **look: str) -> alt.Chart:
    """Return a name beside the right edge of a panel."""
    base = alt.Chart(data([{"text": text}]))
    size = 11 if "style" in look else 12
    mark = base.mark_text(align="left", baseline="middle", dx=9, fontSize=size, **look)  # type: ignore[arg-type]
    made: alt.Chart = mark.encode(x=alt.value("width"), y=alt.value(y), text="text:N")
    return made


def scale(low: float, high: float, *, log: bool = False) -> alt.Scale:
    """Return a scale of just this range; Vega warns of a logarithmic one that is told to leave out 0."""
    if log:
        return alt.Scale(type="log", domain=[low, high], nice=False)
    return alt.Scale(domain=[low, high], nice=False, zero=False)


def clipped(text: str, most: int = 30) -> str:
    """Return a name that fits beside a panel."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def apart(places: Sequence[float], gap: float, end: float) -> list[float]:
    """Return places (pixels from 0 to `end`) moved as little as it takes to lie `gap` apart, in the same order."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [0.0] * len(places)
    lowest = 0.0
    for index in order:
        moved[index] = max(places[index], lowest)
        lowest = moved[index] + gap
    highest = float(end)
    for index in reversed(order):
        moved[index] = min(moved[index], highest)
        highest = moved[index] - gap
    return moved


def joined(rows: list[Row]) -> list[Row]:
    """Return the points to join: up to the first that is off the range, for beyond it a line would show a plateau."""
    inside = list(itertools.takewhile(lambda row: row["place"] == "measured", rows))
    return rows[: len(inside) + 1] if inside else []


def as_wide(chart: alt.TopLevelMixin, *, left: int = 0, right: int = 0) -> alt.TopLevelMixin:
    """Return a chart that is as wide as the page, with room for the names that stand beside it."""
    made: alt.TopLevelMixin = chart.properties(
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        padding={"left": left, "right": right, "top": 5, "bottom": 5},
    )
    return made


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return the values to label on a logarithmic axis: 1, 2, 5 in each power of ten, or, of many, powers alone."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    span = math.log10(high / low)
    steps = (1, 2, 5) if span <= 2.5 else (1,)
    stride = max(1, round(span / 7))
    ticks = [step * 10.0**power for power in decades[::stride] for step in steps]
    return tuple(tick for tick in ticks if low <= tick <= high)


def widths(count: int) -> tuple[int, int, int]:
    """Return the width (0: the page's) and height of a panel and the columns, for so many panels in a figure."""
    return (0, 300, 1) if count == 1 else (215, 170, 2 if count in (2, 4) else 3)


def log_axis(values: Sequence[float]) -> bool:
    """Say whether values span so much that only a logarithmic axis shows them all."""
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) > 1 and max(positive) / min(positive) >= 8


def padded(low: float, high: float, share: float = 0.06, *, log: bool = False) -> tuple[float, float]:
    """Return a range with room at both ends."""
    if log:
        room = (high / low) ** share if high > low else 1.5
        return low / room, high * room
    room = share * ((high - low) or abs(high) or 1.0)
    return low - room, high + room
