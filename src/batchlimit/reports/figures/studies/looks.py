"""How the series of a figure are told apart: by colour, then by dash and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchlimit.config import Scalar
from batchlimit.reports.figures.studies.cells import label_of, short
from batchlimit.reports.palette import BASELINE, FREE, colour, own_colour, ramp
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

_DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (6, 3), (2, 3), (8, 3, 2, 3))
_SHAPES = ("circle", "square", "triangle-up", "diamond")


@dataclass(frozen=True)
class Look:
    """A series' colour, the dash of its line and the shape of its points."""

    tint: str
    dash: tuple[int, ...] = (1, 0)
    shape: str = "circle"


def looks(
    values: Sequence[Scalar | None], solvers: dict[Scalar | None, str] | None = None
) -> dict[Scalar | None, Look]:
    """Return a look for each value: numbers in order along a ramp, solvers in their own colours, others in free ones.

    Two variants of one solver share its colour, and differ in dash and shape. `solvers` names the solver of a value
    that does not name it itself.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    found: dict[Scalar | None, Look] = {}
    if len(numbers) > 1:
        tints = ramp(len(numbers))
        found = {
            value: Look(tints[place], shape=_SHAPES[place % len(_SHAPES)])
            for place, value in enumerate(sorted(numbers))
        }
    used: list[str] = []
    for value in values:
        if value not in found:
            tint = _tint(value, solvers or {}, used)
            again = used.count(tint)
            found[value] = Look(tint, _DASHES[again % len(_DASHES)], _SHAPES[again % len(_SHAPES)])
            used.append(tint)
    return found


def _tint(value: Scalar | None, solvers: dict[Scalar | None, str], used: list[str]) -> str:
    name = short(value)
    own = own_colour(name) or (own_colour(solvers[value]) if value in solvers else None)
    if own is not None:
        return own
    if value is None:
        return BASELINE
    first = FREE.index(colour(name))
    turned = [*FREE[first:], *FREE[:first]]
    return min(turned, key=used.count)


def looks_of(result: StudyResult, spec: FigureSpec) -> dict[Scalar | None, Look]:
    """Return a look for each value of a figure's colour, the same in every figure of the study.

    A value that names no solver gets the colour of the one that its arms use, where each value has one of its own.
    """
    found: dict[Scalar | None, set[str]] = {}
    for arm in result.arms:
        found.setdefault(label_of(arm, spec.colour) if spec.colour else None, set()).add(arm.arm.recipe.solver)
    single = {value: next(iter(names)) for value, names in found.items() if len(names) == 1}
    return looks(list(found), single if len(set(single.values())) == len(found) else None)
