"""Other technique sets on the regime map: their best recipes' points, how far each set reaches, and free places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from batchlimit.findings import LimitFinding
from batchlimit.reports.figures.figure import EXPORT_WIDTH, Cell, Row
from batchlimit.reports.figures.regimes import (
    BASELINE_SERIES,
    BEST_SERIES,
    LETTER,
    LINEAR_SERIES,
    Align,
    Frame,
    Label,
    joined,
    points,
)
from batchlimit.reports.verdict import limit_text

# Pixels: the names of the regimes, then a line of text over a bar for each set.
_NAMES, _ROW, _BAR = 38, 30, 9
_AXIS, _LINE = 70, 14
_TURNS: tuple[tuple[Align, int, int], ...] = (
    ("left", 10, 4),
    ("right", -10, 4),
    ("center", 0, 20),
    ("center", 0, -16),
    ("left", 8, 18),
    ("right", -8, 18),
    ("left", 8, -12),
    ("right", -8, -12),
    ("center", 0, 36),
    ("center", 0, -32),
)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Reach:
    """How far one set reaches: B_H (None: no bar), its words, and where it stands in the strip, from its outer edge."""

    techniques: str
    batch_size: int | None
    text: str
    text_y: int
    bar_y: int
    own: bool


def strip_height(sets: int) -> int:
    """Return the pixels that the limits of `sets` technique sets take at the better edge; 0 for a single one."""
    return _NAMES + _ROW * sets if sets > 1 else 0


def reaches(finding: LimitFinding, beside: Sequence[LimitFinding]) -> list[Reach]:
    """Return one bar a technique set, the verdict's own first; none where it stands alone."""
    found = []
    for place, each in enumerate((finding, *beside) if beside else ()):
        top = _NAMES + _ROW * place
        text = f"{each.techniques} techniques: B_H = {limit_text(each.large_up_to)}"
        found.append(Reach(each.techniques, each.large_up_to.value, text, top, top + _BAR + 7, each is finding))
    return found


def beside_points(other: LimitFinding) -> list[Row]:
    """Return the points of another set's best recipes."""
    return [{**row, "techniques": other.techniques} for row in points(other) if row["series"] == BEST_SERIES]


def reach_rows(finding: LimitFinding, beside: Sequence[LimitFinding]) -> list[Row]:
    """Return the limits of all sets as rows of the figure's data."""
    return [
        {"batch_size": reach.batch_size, "series": "B_H", "techniques": reach.techniques}
        for reach in reaches(finding, beside)
    ]


def spoken_beside(finding: LimitFinding, beside: Sequence[LimitFinding]) -> str:
    """Return the limits of all sets in words, for those who cannot see the bars; '' for one alone."""
    return "".join(f"; {reach.text}" for reach in reaches(finding, beside))


def beside_label(drawn: list[Row], own: list[Row], placed: list[Label], box: Frame, height: int) -> Label | None:
    """Return the name of another set's line where it hides least; `own` are the points and `placed` the labels there.

    The places tried are around its points, those that the verdict's line does not share before others; each is judged
    on a page and on a phone.
    """
    inside = [row for row in drawn if row["place"] == "measured" and row["recipe"] != LINEAR_SERIES]
    choices = []
    for row, (align, dx, dy) in itertools.product(apart(inside, own) or inside or drawn, _TURNS):
        assert isinstance(row["y"], float)
        text = f"{row['techniques']}: {row['recipe']}"
        choices.append(Label(int(row["batch_size"] or 1), row["y"], text, "", align, dx, dy, style="muted"))
    if not choices:
        return None
    maps = [_Map(box, width - _AXIS, height) for width in (EXPORT_WIDTH, box.least_width)]
    hidden = [each.obstacles([*own, *drawn], placed) for each in maps]
    return min(choices, key=lambda choice: sum(m.cost(choice, o) for m, o in zip(maps, hidden, strict=True)))


@dataclass(frozen=True)
class _Map:
    """Where things are in pixels, on a plot of one size."""

    box: Frame
    width: float
    height: float

    def place(self, batch_size: float, y: float) -> tuple[float, float]:
        x = math.log2(batch_size / self.box.left) / self.box.octaves * self.width
        return x, (self.box.top - y) / (self.box.top - self.box.bottom) * self.height

    def of_label(self, label: Label) -> Box:
        x, y = self.place(label.batch_size, label.y)
        lines = label.text.split("\n")
        wide = LETTER * max(len(line) for line in lines)
        left = x + label.dx - {"left": 0.0, "center": wide / 2, "right": wide}[label.align]
        bottom = y + label.dy + (_LINE * (len(lines) - 1) if label.dy >= 0 else 0)
        return left, bottom - _LINE * len(lines), left + wide, bottom + 3

    def obstacles(self, rows: list[Row], placed: list[Label]) -> list[Box]:
        boxes = [self.of_label(label) for label in placed]
        for row in rows:
            x, y = self._of(row)
            ends = [self.place(1, end)[1] for end in (row["y_low"], row["y_high"]) if isinstance(end, float)]
            boxes.append((x - 8, min([y, *ends]) - 7, x + 8, max([y, *ends]) + 7))
        for series in (LINEAR_SERIES, BEST_SERIES):
            for techniques in {row.get("techniques") for row in rows}:
                starts = [row for row in rows if row["series"] == BASELINE_SERIES]
                line = [row for row in rows if row["series"] == series and row.get("techniques") == techniques]
                for before, after in itertools.pairwise(map(self._of, joined([*starts, *line]))):
                    boxes += _along(before, after)
        return boxes

    def _of(self, row: Row) -> tuple[float, float]:
        assert isinstance(row["y"], float)
        return self.place(float(row["batch_size"] or 1), row["y"])

    def cost(self, label: Label, obstacles: list[Box]) -> float:
        left, top, right, bottom = own = self.of_label(label)
        outside = max(0.0, -left) + max(0.0, right - self.width) + max(0.0, -top) + max(0.0, bottom - self.height)
        return 40 * outside + sum(_shared(own, other) for other in obstacles)


def _along(before: tuple[float, float], after: tuple[float, float]) -> list[Box]:
    steps = max(1, round(math.dist(before, after) / 6))
    middles = (
        tuple(a + (b - a) * step / steps for a, b in zip(before, after, strict=True)) for step in range(1, steps)
    )
    return [(x - 2, y - 2, x + 2, y + 2) for x, y in middles]


def _shared(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def apart(rows: list[Row], own: list[Row]) -> list[Row]:
    """Return the points of another set that are marked: where both sets have one best, the verdict's mark stands."""
    mine = {_same(row) for row in own}
    return [row for row in rows if row["recipe"] != LINEAR_SERIES and _same(row) not in mine]


def _same(row: Row) -> tuple[Cell, ...]:
    return row["batch_size"], row["recipe"], row["metric"]


def caption(beside: Sequence[LimitFinding]) -> str:
    """Return what a reader must know of the other sets' marks; '' where there are none."""
    if not beside:
        return ""
    names = " and ".join(f"'{other.techniques}'" for other in beside)
    return (
        f" Grey rings: the best recipe of the {names} techniques, the same question otherwise. The bars show up to "
        "which batch size some recipe of a set reaches the target (B_H); the shades are the verdict's own."
    )
