"""The map of a study's search for the limit, as the report draws it."""

from __future__ import annotations

import dataclasses

from batchlimit.reports.figures import regime_map
from batchlimit.reports.figures.figure import Figure
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import stem
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec


@drawers.register("regime-map")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return the map; None where no search was made or it came to no verdict."""
    limit = result.limit
    if limit is None or limit.problem or not (limit.by_batch_size or limit.full):
        return None
    drawn = regime_map.draw(limit)
    caption = f"{spec.caption} {drawn.caption}".strip()
    return dataclasses.replace(drawn, name=stem(spec.name), title=spec.title or drawn.title, caption=caption)
