"""The data of the regime map: points, what of them is drawn where, the regimes as ranges, and the direct labels."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

from batchlimit.findings import LimitFinding, Measurement
from batchlimit.reports.figures.figure import Row
from batchlimit.reports.palette import BASELINE, LINEAR, colour
from batchlimit.reports.quantities import count, is_percent, metric_text
from batchlimit.reports.verdict import all_sizes, reached_by

Align = Literal["left", "center", "right"]

LINEAR_SERIES = "linear scaling"
BEST_SERIES = "best recipe"
BASELINE_SERIES = "baseline"
# The axis shows this many times the allowed loss (A - target) below the target: what lies further down is drawn at the
# edge with its value, so that the half per cent that decides stays visible.
_SHOWN_LOSSES = 20.0
# About the pixels of a factor of two on a phone, and of a letter.
_OCTAVE, LETTER = 36, 6.5
_LEFT_PAD, _RIGHT_PAD = 2**1.2, 2**0.6


@dataclass(frozen=True)
class Frame:
    """What is drawn: batch sizes from `left` to `right`, metrics from `bottom` to `top`; `worst` is the losing edge."""

    left: float
    right: float
    bottom: float
    top: float
    worst: float

    @property
    def octaves(self) -> float:
        """How many factors of two the drawn batch sizes span."""
        return math.log2(self.right / self.left)

    @property
    def least_width(self) -> int:
        """The pixels that labels need to keep apart; a narrower screen scrolls the map."""
        return round(70 + _OCTAVE * self.octaves)


def points(finding: LimitFinding) -> list[Row]:
    """Return one row for each (batch size, series): the estimate, seeds, those that diverged, and the decision."""
    rows: list[Row] = []
    baseline = finding.baseline
    percent = is_percent(finding)
    if baseline is not None:
        known = baseline.metric.shown(percent=percent)
        rows.append(
            {
                "batch_size": baseline.batch_size,
                "series": BASELINE_SERIES,
                "recipe": BASELINE_SERIES,
                "solver": baseline.recipe.solver,
                "metric": baseline.metric.mean,
                "low": known.low,
                "high": known.high,
                "seeds": baseline.metric.n,
                "diverged": 0,
                "decision": "",
                "by_loss": False,
            }
        )
    for size in all_sizes(finding):
        for series, measured in ((LINEAR_SERIES, size.linear), (BEST_SERIES, reached_by(size))):
            if measured is not None:
                recipe: Row = {"recipe": LINEAR_SERIES} if measured is size.linear else {}
                rows.append(_point(series, measured, percent) | recipe)
    return rows


def _point(series: str, measured: Measurement, percent: bool) -> Row:
    known = measured.metric.shown(percent=percent)
    return {
        "batch_size": measured.batch_size,
        "series": series,
        "recipe": measured.name,
        "solver": measured.recipe.solver,
        "metric": measured.metric.mean,
        "low": known.low,
        "high": known.high,
        "seeds": measured.seeds,
        "diverged": measured.diverged,
        "decision": measured.decision,
        "by_loss": measured.decided_by_loss,
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
    bottom, top = bottom - room * (1.0 if up else 2.4), top + room * (2.4 if up else 1.0)
    return Frame(
        min(sizes) / _LEFT_PAD, max(sizes) * _RIGHT_PAD, bottom, top, worst=bottom + room / 3 if up else top - room / 3
    )


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
            text = f"{text}\nundecided{' (loss)' if row['by_loss'] else ''}".strip()
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


def gaps(shaded: list[Row], reached: int | None = None) -> list[Row]:
    """Return the ranges between two regimes, where the boundary lies but is not known more closely.

    Up to `reached`, the largest batch size at which some recipe holds, a batch is at least not huge.
    """
    rows: list[Row] = []
    for before, after in itertools.pairwise(shaded):
        start, end = before["end"], after["start"]
        if not (isinstance(start, float) and isinstance(end, float) and end > start):
            continue
        cut = float(reached) if reached is not None and start < reached < end else start
        for name, left, right in (("small or large", start, cut), ("?", cut, end)):
            if right > left:
                rows.append({"regime": name, "start": left, "end": right, "middle": math.sqrt(left * right)})
    return rows


def joined(line: list[Row]) -> list[Row]:
    """Return the points to join: up to the first that is off the axis, for beyond it a line would show a plateau."""
    inside = list(itertools.takewhile(lambda row: row["place"] == "measured", line))
    return line[: len(inside) + 1]


def starts(row: Row, series: str, drawn: list[Row]) -> bool:
    """Say whether the baseline's point starts the line of `series`: both series leave from it."""
    return row["series"] == BASELINE_SERIES and any(other["series"] == series for other in drawn)


def tint(row: Row) -> str:
    """Return the colour of a point: its recipe's, or the one of linear scaling or of the baseline."""
    if row["series"] == BASELINE_SERIES:
        return BASELINE
    return LINEAR if row["series"] == LINEAR_SERIES else colour(str(row["recipe"]), str(row["solver"]))


@dataclass(frozen=True)
class Label:
    """A direct label at a point: its text (lines), colour ('' for that of `style`), alignment and offset in pixels."""

    batch_size: float
    y: float
    text: str
    tint: str
    align: Align
    dx: int
    dy: int
    style: str = "ink"


def labels(finding: LimitFinding, drawn: list[Row], first: str = "best") -> list[Label]:
    """Return the direct labels: each series by name once, a best recipe where it changes, notes on single points.

    `first` is the word before the first best recipe.
    """
    better = -1 if finding.metric_direction == "up" else 1
    placed = [
        _label(row, BASELINE_SERIES, "", "center", 0, 18 * better) for row in drawn if row["series"] == BASELINE_SERIES
    ]
    line = [row for row in drawn if row["series"] == LINEAR_SERIES or starts(row, LINEAR_SERIES, drawn)]
    placed += _linear_labels(line, better)
    before = ""
    named: list[Label] = []
    for row in drawn:
        if row["series"] != BEST_SERIES:
            continue
        recipe = str(row["recipe"])
        if recipe not in (before, LINEAR_SERIES):
            text = f"{first}: {recipe}" if before in ("", LINEAR_SERIES) else recipe
            beyond_note = row["note"] and row["place"] != "measured"
            named.append(_label(row, text, tint(row), "center", 0, (32 if beyond_note else 18) * better))
        before = recipe
        told = any(label.text == row["note"] and label.batch_size == row["batch_size"] for label in placed)
        if row["note"] and recipe != LINEAR_SERIES and not told:
            edge = row["place"] != "measured"
            placed.append(_label(row, str(row["note"]), "", "right", -10, (14 if edge else -18) * better))
    return [*placed, *_staggered(named, better)]


def _staggered(named: list[Label], better: int) -> list[Label]:
    """Return labels in a row with every other one further out where two would overlap on a phone."""
    placed: list[Label] = []
    for label in named:
        before = placed[-1] if placed else None
        if before is not None and before.dy == 18 * better:
            apart = math.log2(label.batch_size / before.batch_size) * _OCTAVE
            if apart < LETTER * (min(len(before.text), 28) + min(len(label.text), 28)) / 2:
                label = replace(label, dy=32 * better)
        placed.append(label)
    return placed


def _linear_labels(line: list[Row], better: int) -> list[Label]:
    """Name the line where it has failed clearly, else at its end, and write the notes; `line` may be empty."""
    placed = []
    failed = [place for place, row in enumerate(line) if row["decision"] == "fail"]
    inside = [place for place in failed if line[place]["place"] == "measured"]
    named = (inside[-1:] or failed[:1] or [len(line) - 1])[0]
    for place, row in enumerate(line):
        if row["series"] == BASELINE_SERIES:
            continue
        edge = row["place"] != "measured"
        if place == named and edge and place and line[place - 1]["place"] == "measured":
            placed.append(_halfway(line[place - 1], row))
        elif place == named and edge:
            placed.append(_label(row, LINEAR_SERIES, LINEAR, "right", -9, 30 * better))
        elif place == named:
            placed.append(_label(row, LINEAR_SERIES, LINEAR, "right", -12, -4 * better))
        if not row["note"] or (row["place"] == "diverged" and line[place - 1]["place"] == "diverged" and place):
            continue  # of a row of crosses the first is named
        align: Align = "center" if row is line[-1] else "right"
        dx = 0 if row is line[-1] or not edge else -9
        note = _label(row, str(row["note"]), "", align, dx, (14 if edge else -18) * better)
        if edge and place and line[place - 1]["place"] != "measured" and _crowded(line[place - 1], note):
            lines = str(line[place - 1]["note"]).count("\n") + 1
            note = replace(note, dy=note.dy + 14 * lines * better)
        placed.append(note)
    return placed


def _crowded(before: Row, note: Label) -> bool:
    """Say whether a note would reach the one of the point before on a phone."""
    apart = math.log2(note.batch_size / int(before["batch_size"] or 1)) * _OCTAVE
    width = LETTER * max(len(line) for line in note.text.split("\n"))
    return apart < (width if note.align == "right" else width / 2 - 9)


def _halfway(before: Row, after: Row) -> Label:
    """Name linear scaling left of the middle of a steep line: at its ends other labels stand."""
    ends = [_label(row, LINEAR_SERIES, LINEAR, "right", -8, 0) for row in (before, after)]
    middle = math.sqrt(ends[0].batch_size * ends[1].batch_size)
    return replace(ends[0], batch_size=middle, y=(ends[0].y + ends[1].y) / 2)


def _label(row: Row, text: str, colour: str, align: Align, dx: int, dy: int) -> Label:
    y = row["y"]
    return Label(int(row["batch_size"] or 1), y if isinstance(y, float) else 0.0, text, colour, align, dx, dy)


def spoken(finding: LimitFinding) -> str:
    """Return the map as a sentence, for those who cannot see it."""
    parts = []
    for row in points(finding):
        value = row["metric"]
        shown = metric_text(value if isinstance(value, float) else None, percent=is_percent(finding))
        parts.append(
            f"{row['series']} at {count(int(row['batch_size'] or 0))}: {shown if value is not None else 'diverged'}"
        )
    return "; ".join(parts)
