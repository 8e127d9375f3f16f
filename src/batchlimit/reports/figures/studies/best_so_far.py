"""The best selection metric against the number of tuning trials: what each tuner has found by then."""

from __future__ import annotations

from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import cells, missing
from batchlimit.reports.figures.studies.curves import band_figure
from batchlimit.reports.figures.studies.looks import looks_of
from batchlimit.reports.figures.studies.measures import Measure
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.views import FigureSpec


def progress(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each (panel, series, number of trials): mean, least and greatest best metric over repeats.

    A tuning that has ended keeps its best; a repeat that has found nothing yet (all diverged) is left out there.
    """
    rows: list[Row] = []
    for place in cells(result, spec, along_x=False):
        runs = [_best_so_far(arm, result.facts.metric_direction) for arm in place.arms if arm.tuning]
        longest = max((len(run) for run in runs), default=0)
        for trial in range(longest):
            known = [found for run in runs if (found := run[min(trial, len(run) - 1)]) is not None]
            if known:
                rows.append(
                    {
                        "facet": place.facet,
                        "colour": place.colour,
                        "x": float(trial + 1),
                        "mean": sum(known) / len(known),
                        "low": min(known),
                        "high": max(known),
                        "n": len(known),
                    }
                )
    return rows


def _best_so_far(arm: ArmResult, direction: str) -> list[float | None]:
    better = max if direction == "up" else min
    best: float | None = None
    found: list[float | None] = []
    for told in arm.tuning:
        if told.metric is not None:
            best = told.metric if best is None else better(best, told.metric)
        found.append(best)
    return found


@drawers.register("best-so-far")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a panel for each facet; None where no tuning trial completed."""
    rows = progress(result, spec)
    if not rows:
        return None
    facts = result.facts
    y = Measure(f"best selection {facts.metric_name}", facts.metric_percent, facts.metric_direction)
    caption = (
        f"{spec.caption} Best {facts.metric_name} on the selection split after so many tuning trials: mean over "
        f"repeats of the tuning, shaded from the worst to the best.{missing(result.select(spec.only))}"
    ).strip()
    looks = looks_of(result, spec)
    return band_figure(spec, rows, looks, "tuning trials", y, caption)
