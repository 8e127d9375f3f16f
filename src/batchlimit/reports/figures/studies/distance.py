"""How far the weights travel: their distance from the start against updates, with the law that fits best."""

from __future__ import annotations

import functools

from batchlimit.analysis.laws import Diffusion, LawFit, curves, diffusion
from batchlimit.config import Scalar
from batchlimit.errors import InputError
from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import Cell, cells, missing, said
from batchlimit.reports.figures.studies.curves import SHADED, band_figure, final_records
from batchlimit.reports.figures.studies.looks import Look, looks_of
from batchlimit.reports.figures.studies.measures import Measure
from batchlimit.reports.figures.studies.panels import Series
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

PROBE = "weight-distance"
_RESAMPLES = 200


def travelled(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each (panel, series, number of updates): mean, least and greatest distance over seeds."""
    rows: list[Row] = []
    for place in cells(result, spec, along_x=False):
        updates, distances = _curves(place)
        for index, update in enumerate(updates):
            found = [curve[index] for curve in distances]
            rows.append(
                {
                    "facet": place.facet,
                    "colour": place.colour,
                    "x": float(update),
                    "mean": sum(found) / len(found),
                    "low": min(found),
                    "high": max(found),
                    "n": len(found),
                }
            )
    return rows


def _curves(place: Cell) -> tuple[list[int], list[list[float]]]:
    """Return the curves of the most seeds that share their updates: arms of one place have to be as long."""
    records = [record for record in final_records(place.arms[:1]) if PROBE in record.measurements]
    return curves([record.measurements[PROBE] for record in records])


def fits(result: StudyResult, spec: FigureSpec) -> dict[tuple[Scalar | None, Scalar | None], Diffusion]:
    """Return the laws fitted to each (panel, series); those with too few points have none."""
    found = {}
    for place in cells(result, spec, along_x=False):
        updates, distances = _curves(place)
        try:
            found[place.facet, place.colour] = diffusion(updates, distances, resamples=_RESAMPLES)
        except InputError:
            continue
    return found


def law_words(fit: LawFit) -> str:
    """Return a fitted law as a reader writes it: '(log t)^1.2', 't^0.41' or 'a + b log t'."""
    exponent = fit.parameters["p"].mean if "p" in fit.parameters else None
    if exponent is None:
        return "a + b·log t"
    return f"(log t)^{exponent:.2f}" if fit.law == "log-power" else f"t^{exponent:.2f}"


@drawers.register("distance")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a panel for each facet; None where no training measured the distance."""
    rows = travelled(result, spec)
    if not rows:
        return None
    found = fits(result, spec)
    own = looks_of(result, spec)
    for row in rows:
        fit = found.get((row["facet"], row["colour"]))
        row |= {"best law": law_words(fit.fit(fit.best)) if fit else "", "fitted": _at(fit, float(row["x"] or 0))}
    laws = [
        f"{', '.join(filter(None, (said(spec.facet, facet), said(spec.colour, colour)))) or 'all'}: "
        f"{law_words(fit.fit(fit.best))}"
        for (facet, colour), fit in found.items()
    ]
    caption = (
        f"{spec.caption} Mean over seeds of ||w_t - w_0||{SHADED}; on this axis a law "
        f"of log t is straight. Dashed: the law of three that fits best ({'; '.join(laws) or 'too few points to fit'})."
        f"{missing(result.select(spec.only))}"
    ).strip()
    guides = functools.partial(_guides, rows, own)
    y = Measure("distance from the start")
    return band_figure(spec, rows, own, "weight updates t", y, caption, log_x=True, guides=guides, called="distance")


def _at(fit: Diffusion | None, update: float) -> float | None:
    if fit is None or update < fit.first:
        return None
    return fit.fit(fit.best).at([update])[0]


def _guides(rows: list[Row], own: dict[Scalar | None, Look], facet: Scalar | None) -> list[Series]:
    lines = []
    for colour, look in own.items():
        fitted = [
            {"x": row["x"], "mean": row["fitted"]}
            for row in rows
            if row["facet"] == facet and row["colour"] == colour and row["fitted"] is not None
        ]
        if fitted:
            lines.append(Series("", Look(look.tint, (3, 3)), fitted))
    return lines
