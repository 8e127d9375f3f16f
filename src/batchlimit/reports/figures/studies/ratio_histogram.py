"""How often trust ratios of each size were recorded, over layers, steps and seeds, and how many a bound held."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import altair as alt

from batchlimit.reports.figures.figure import Figure, Row, data, tick_label
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import Cell, cells, missing, named, said, stem
from batchlimit.reports.figures.studies.curves import final_records
from batchlimit.reports.figures.studies.looks import Look, looks_of
from batchlimit.reports.figures.studies.panels import Axis
from batchlimit.reports.figures.studies.ratios import PROBE, applied_words, in_force
from batchlimit.reports.quantities import counted, listed
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

# More bars than these make a comb: they are then a power of ten wide, not half of one.
MOST_BINS = 18
# Records keep six digits of a ratio.
_NEAR = 1e-5
_WIDTH, _HEIGHT = 540, 88
_SPIKE = 2.5
_LETTER, _LINE = 5.8, 14

Bound = tuple[float, str]


@dataclass
class Recorded:
    """The ratios of one panel: those between the bounds, how many each bound held, and what they are of."""

    free: list[float] = field(default_factory=list)
    held: Counter[Bound] = field(default_factory=Counter)
    bounds: dict[Bound, None] = field(default_factory=dict)
    layers: set[str] = field(default_factory=set)
    updates: set[int] = field(default_factory=set)
    arms: int = 1
    trainings: int = 0
    ones: int = 0
    left_out: int = 0

    @property
    def total(self) -> int:
        """How many ratios there are."""
        return len(self.free) + self.held.total()

    def words(self) -> str:
        """Return what was counted: 'n = 216 ratios: 4 layers × 18 recorded updates × 3 seeds; no bound'."""
        parts = [
            counted(len(self.layers), "layer"),
            counted(len(self.updates), "recorded update"),
            counted(self.trainings, "seed" if self.arms == 1 else "training"),
        ]
        whole = len(self.layers) * len(self.updates) * self.trainings == self.total
        free = "" if self.bounds else "; no bound"
        return f"n = {counted(self.total, 'ratio')}: {(' × ' if whole else ', ').join(parts)}{free}"


def recorded(place: Cell) -> Recorded:
    """Return the ratios of all layers at all recorded updates of a place's completed trainings."""
    found = Recorded(arms=len(place.arms))
    for one in (record.measurements[PROBE] for record in final_records(place.arms) if PROBE in record.measurements):
        found.trainings += 1
        found.updates.update(one["updates"])
        bounds = in_force(one)
        found.bounds.update(dict.fromkeys(bounds))
        for layer, ratios in one["layers"].items():
            known = [ratio for ratio in ratios if ratio is not None and 0 < ratio < math.inf]
            found.left_out += len(ratios) - len(known)
            found.layers |= {layer} if known else set()
            for ratio in known:
                bound = next((bound for bound in bounds if abs(ratio - bound[0]) <= _NEAR * bound[0]), None)
                if bound is None:
                    found.free.append(ratio)
                    found.ones += ratio == 1.0
                else:
                    found.held[bound] += 1
    return found


def bins(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each bar: of each panel the bins of half a power of ten that hold any ratio, then its bounds.

    A panel is a value of the facet and of the colour label. A bin has its low end but not its high one, and none of the
    ratios that a bound holds: those are in the row of the bound, whose 'low' and 'high' both are the bound, and which
    is there though it holds none. 'share' is of all n ratios of the panel.
    """
    found = _panels(result, spec)
    step = _step([ratio for _, panel in found for ratio in panel.free])
    rows: list[Row] = []
    for place, panel in found:
        of: Row = {"facet": place.facet, "colour": place.colour}
        counts = Counter(_bin(ratio, step) for ratio in panel.free)
        bars = [(10.0 ** (step * k), 10.0 ** (step * (k + 1)), "", counts[k]) for k in sorted(counts)]
        bars += [(bound[0], bound[0], bound[1], panel.held[bound]) for bound in panel.bounds]
        rows += [
            {**of, "low": low, "high": high, "held": held, "ratios": count, "share": count / panel.total,
             "n": panel.total}
            for low, high, held, count in bars
        ]  # fmt: skip
    return rows


def _panels(result: StudyResult, spec: FigureSpec) -> list[tuple[Cell, Recorded]]:
    found = [(place, recorded(place)) for place in cells(result, spec, along_x=False)]
    return [(place, panel) for place, panel in found if panel.total]


def _bin(ratio: float, step: float) -> int:
    return math.floor(math.log10(ratio) / step + 1e-9)


def _step(ratios: Sequence[float]) -> float:
    """Return the width of bins in powers of ten: the same in all panels, so that heights compare."""
    return 0.5 if not ratios or _bin(max(ratios), 0.5) - _bin(min(ratios), 0.5) < MOST_BINS else 1.0


@drawers.register("ratio-histogram")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return panels above each other on one axis of ratios; None where no training measured its ratios."""
    rows = bins(result, spec)
    if not rows:
        return None
    found = _panels(result, spec)
    own = looks_of(result, spec if spec.colour else spec.model_copy(update={"colour": spec.facet}))
    ends = [float(row[end] or 1) for row in rows for end in ("low", "high")]
    x = Axis(
        "trust ratio, logarithmic", min(ends) / 1.15, max(ends) * 1.15, log=True, ticks="format(datum.value, '~g')"
    )
    names = _LINE * max(len(panel.bounds) for _, panel in found)  # above the bars, so that none is behind a name
    top = max(float(row["share"] or 0) for row in rows) * _HEIGHT / (_HEIGHT - 8 - min(names, _HEIGHT // 2))
    y = Axis("share of ratios", 0.0, top, ticks=tick_label(percent=True))
    panels = []
    for index, (place, panel) in enumerate(found):
        mine = [row for row in rows if (row["facet"], row["colour"]) == (place.facet, place.colour)]
        look = own[place.colour if spec.colour else place.facet]
        panels.append(_panel(mine, look, x, y, [_title(spec, place), panel.words()], last=index == len(found) - 1))
    chart: alt.TopLevelMixin = alt.vconcat(*panels, spacing=14)
    rows_named = named(rows, spec, low="from", high="to", held="bound")
    return Figure(stem(spec.name), spec.title, _caption(result, spec, found, rows), rows_named, (chart,))


def _title(spec: FigureSpec, place: Cell) -> str:
    return ", ".join(filter(None, (said(spec.facet, place.facet), said(spec.colour, place.colour))))


def _caption(result: StudyResult, spec: FigureSpec, found: list[tuple[Cell, Recorded]], rows: list[Row]) -> str:
    arms = result.select(spec.only)
    wide = next((float(row["high"] or 1) / float(row["low"] or 1) for row in rows if not row["held"]), 10.0)
    told = [
        "Counted is the ratio of each layer (not of each weight) at each recorded update of each seed; "
        f"{applied_words(arms)}.",
        f"A bar is {'half a' if wide < 5 else 'a'} power of ten wide. Recorded updates are log-spaced, so early ones "
        "count for more than their share of the training.",
    ]
    if any(panel.bounds for _, panel in found):
        told.append("Dashed: a bound; the narrow bar on it: the ratios that it held.")
    ones = [
        f"{panel.ones}{f' of {name}' if (name := _title(spec, place)) else ''}" for place, panel in found if panel.ones
    ]
    if ones:
        told.append(f"Exactly 1, which stands in where a norm is 0: {listed(ones)}.")
    left_out = sum(panel.left_out for _, panel in found)
    if left_out:
        told.append(f"Not counted: {left_out} that were 0, not finite, or of a layer without a gradient.")
    return f"{spec.caption} {' '.join(told)}{missing(arms)}".strip()


def _panel(rows: list[Row], look: Look, x: Axis, y: Axis, title: list[str], *, last: bool) -> Any:
    shown = [{**row, "floor": 0.0, "words": _range(row)} for row in rows]
    held = [row for row in shown if row["held"] and row["ratios"]]
    axis = x.axis()
    if not last:
        axis.labels, axis.title = False, None
    across = alt.X("low:Q", scale=x.scale(), axis=axis)
    up = alt.Y("share:Q", scale=y.scale(), axis=alt.Axis(title=y.title, labelExpr=y.ticks, tickCount=3))
    tooltip = [alt.Tooltip("words:N", title="trust ratio"), alt.Tooltip("ratios:Q", format=","),
               alt.Tooltip("n:Q", title="of", format=","), alt.Tooltip("share:Q", format=".1%")]  # fmt: skip
    layers = []
    free = [row for row in shown if not row["held"]]
    if free:
        bars = alt.Chart(data(free)).mark_rect(color=look.tint, opacity=0.85, xOffset=1, x2Offset=-1)
        layers.append(bars.encode(x=across, x2="high:Q", y=up, y2="floor:Q", tooltip=tooltip))
    if held:
        spikes = alt.Chart(data(held)).mark_rect(style="ink", xOffset=-_SPIKE, x2Offset=_SPIKE)
        layers.append(spikes.encode(x=across, x2="high:Q", y=up, y2="floor:Q", tooltip=tooltip))
    for level, row in enumerate(row for row in shown if row["held"]):
        layers += _bound(row, x, across, level)
    head, *below = filter(None, title)  # Vega draws no subtitle without a title
    title_params = alt.TitleParams(head, subtitle=below, anchor="start", fontSize=13, limit=_WIDTH)
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=title_params)


def _range(row: Row) -> str:
    return str(row["held"]) if row["held"] else f"{row['low']:.3g} to {row['high']:.3g}"


def _bound(row: Row, x: Axis, across: alt.X, level: int) -> list[alt.Chart]:
    """Return the line of a bound and, on the side where there is room, what it is and the share that it holds."""
    share = f"{100 * float(row['share'] or 0):.3g} %" if row["ratios"] else "none"
    text = f"{row['held']} holds {share}"
    base = alt.Chart(data([{"low": row["low"], "text": text}]))
    left = x.place(float(row["low"] or 1)) * _WIDTH + _LETTER * len(text) > _WIDTH
    align: Literal["left", "right"] = "right" if left else "left"
    dx, y, words = -7 if left else 7, alt.value(7 + _LINE * level), "text:N"
    return [
        base.mark_rule(style="ink-line", strokeDash=[5, 4], opacity=0.7).encode(x=across),
        base.mark_text(style="halo", fontSize=11, align=align, dx=dx).encode(x=across, y=y, text=words),
        base.mark_text(style="ink", fontSize=11, align=align, dx=dx).encode(x=across, y=y, text=words),
    ]
