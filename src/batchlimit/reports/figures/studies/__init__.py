"""The figures of studies: one registered file for each kind, a function for its data and one that draws them."""

from __future__ import annotations

from collections.abc import Callable

from batchlimit.registry import Registry
from batchlimit.reports.figures.figure import Figure
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

Drawer = Callable[[StudyResult, FigureSpec], Figure | None]

drawers: Registry[Drawer] = Registry("figure kind", "batchlimit.reports.figures.studies")


def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return the figure that `spec` describes, None where the result has no data for it.

    Raises:
        InputError: a quantity that this kind of figure does not know.
    """
    return drawers.get(spec.kind)(result, spec)
