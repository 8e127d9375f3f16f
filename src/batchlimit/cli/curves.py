"""Curves between 0 and 1 in letters: a plot with axes and a one-line sketch."""

from __future__ import annotations

from collections.abc import Sequence

from batchlimit.reports.quantities import counted

_BRAILLE = 0x2800
# The bit of each dot of a braille letter: by column (0, 1), from its top (0) to its bottom (3).
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_MARGIN = 6


def plot(values: Sequence[float], last: int, *, width: int, height: int, braille: bool) -> list[str]:
    """Return the lines of a plot of `values` (0 to 1) over 0 to `last`, `width` letters wide with its axes.

    Each value is held until the next one. With `braille` a letter has 2 x 4 dots, without it is one '*' or nothing.
    """
    across, down = (2, 4) if braille else (1, 1)
    columns = max(20, width - _MARGIN - 2)
    spans = _spans(values, columns * across, height * down)
    lines = []
    for row in range(height):
        label = {0: "1", height // 2: "0.5", height - 1: "0"}.get(row, "")
        letters = (_letter(spans, row, column, across, down) for column in range(columns))
        lines.append(f"{label:>{_MARGIN - 2}} {'┤' if braille else '|'}{''.join(letters)}".rstrip())
    ends = f"{0}{last // 2:>{columns // 2 - 1},}"
    corner, line = ("└", "─") if braille else ("+", "-")
    lines.append(f"{'':{_MARGIN - 1}}{corner}{line * columns}")
    lines.append(f"{'':{_MARGIN}}{ends}{counted(last, 'step'):>{columns - len(ends)}}")
    return lines


def sketch(values: Sequence[float], *, width: int) -> str:
    """Return `values` (0 to 1) as one line of `width` braille letters; waves too fine for it fill it solidly."""
    spans = _spans(values, 2 * width, 4)
    return "".join(_letter(spans, 0, column, 2, 4) for column in range(width))


def _spans(values: Sequence[float], columns: int, rows: int) -> list[tuple[int, int]]:
    """Return for each column of dots the (highest, lowest) row it fills, counted from the top, joined to the last."""
    spans = []
    before = values[0]
    for column in range(columns):
        begin = column * len(values) // columns
        end = max(begin + 1, (column + 1) * len(values) // columns)
        seen = [before, *values[begin:end]]
        before = seen[-1]
        high, low = ((1.0 - value) * (rows - 1) for value in (max(seen), min(seen)))
        spans.append((round(high), round(low)))
    return spans


def _letter(spans: Sequence[tuple[int, int]], row: int, column: int, across: int, down: int) -> str:
    dots = 0
    for x in range(across):
        high, low = spans[column * across + x]
        for y in range(down):
            if high <= row * down + y <= low:
                dots |= _DOTS[x][y]
    if down == 1:
        return "*" if dots else " "
    return chr(_BRAILLE + dots) if dots else " "
