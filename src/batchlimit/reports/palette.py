"""The colours of every chart: one colour per recipe everywhere, told apart by the colour-blind, on white and on black.

The hues are those of Okabe and Ito (2008), the light ones darkened until each has a contrast of at least 3:1 with both
page backgrounds (WCAG 2.2, 1.4.11).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

LIGHT_BACKGROUND = "#ffffff"
DARK_BACKGROUND = "#14171c"

LINEAR = "#d55e00"
BASELINE = "#7d8590"

_FIXED: dict[str, str] = {
    "linear scaling": LINEAR,
    "linear": LINEAR,
    "baseline": BASELINE,
    "lars": "#009473",
    "lamb": "#0a7ac4",
    "momentum": "#b8608f",
    "adam": "#3d96cf",
    "adamw": "#8a7fd6",
    "adagrad": "#a37d00",
    "rmsprop": "#c2527a",
    "muon": "#5f8f2f",
    "muon whitened": "#4178d9",
    "whitened muon": "#4178d9",
    "sgd": "#b8608f",
    "lion": "#a8763e",
    "soap": "#1f8f9e",
    "kfac": "#a45ee0",
    "schedule free": "#e0457b",
}
# Of the sizes that studies compare, where a label is just this word.
_SIZES = {"large": "#0a7ac4", "huge": "#d55e00", "full": "#a868c8"}
# Of quantities in order (batch sizes, epochs): from blue over purple to orange, in steps that the colour-blind see.
_RAMP = ("#0a7ac4", "#5c72d6", "#8f62c9", "#b8569f", "#cc5570", "#d55e00", "#a87b00")
FREE = ("#8f7a3c", "#a868c8", "#2f9298", "#bd6b4b", "#6f83c9")

REGIMES: dict[str, str] = {"small": "#009473", "large": "#0a7ac4", "huge": "#d55e00"}


@dataclass(frozen=True)
class Theme:
    """The neutral colours of one page: background, text, quieter text, lines of the grid, cells without a value."""

    background: str
    ink: str
    muted: str
    grid: str
    empty: str


LIGHT = Theme(background=LIGHT_BACKGROUND, ink="#1b1f24", muted="#59636e", grid="#e4e7eb", empty="#d0d4da")
DARK = Theme(background=DARK_BACKGROUND, ink="#e8eaed", muted="#a3acb8", grid="#2b3038", empty="#454c57")


def colour(name: str, solver: str | None = None) -> str:
    """Return the colour of the recipe called `name`: its own, else that of a solver it names, else that of `solver`.

    A name that says nothing gets one of the free colours, always the same.
    """
    known = own_colour(name) or (own_colour(solver) if solver is not None else None)
    return known or FREE[hashlib.sha256(name.encode(errors="replace")).digest()[0] % len(FREE)]


def own_colour(name: str) -> str | None:
    """Return the colour that is kept for what `name` names: a solver or a series; None where it names neither."""
    words = name.lower().replace("_", " ").replace("-", " ")
    if words in _FIXED or words in _SIZES:
        return {**_FIXED, **_SIZES}[words]
    parts = re.split(r"[^a-z0-9]+", words)
    for part, after in zip(parts, [*parts[1:], ""], strict=True):
        if f"{part} {after}" in _FIXED:
            return _FIXED[f"{part} {after}"]
        if part in _FIXED:
            return _FIXED[part]
    return None


def ramp(count: int) -> tuple[str, ...]:
    """Return `count` colours for quantities in rising order."""
    last = len(_RAMP) - 1
    return tuple(_RAMP[round(place * last / max(1, count - 1))] for place in range(count))
