"""Trust ratios over training, a line a layer, with the bounds."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from batchlimit.config import Scalar
from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import cells, missing
from batchlimit.reports.figures.studies.curves import SHADED, band_figure, final_records
from batchlimit.reports.figures.studies.looks import Look
from batchlimit.reports.figures.studies.measures import Measure
from batchlimit.reports.palette import BASELINE, ramp
from batchlimit.reports.quantities import listed
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.views import FigureSpec

PROBE = "trust-ratios"
# More lines than these cannot be told apart: of a deep model a few layers, evenly chosen, are drawn.
MOST_LAYERS = 8


def layers(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each (panel, layer, update): geometric mean, least and greatest ratio over seeds.

    A panel is a value of the facet label, or of the colour label where there is no facet. All layers are in the rows.
    """
    rows: list[Row] = []
    for facet, arms in _panels(result, spec).items():
        found: dict[tuple[str, float], list[float]] = {}
        for one in (record.measurements[PROBE] for record in final_records(arms) if PROBE in record.measurements):
            for layer, ratios in one["layers"].items():
                for update, ratio in zip(one["updates"], ratios, strict=True):
                    if ratio is not None and ratio > 0:
                        found.setdefault((layer, float(update)), []).append(ratio)
        rows += [
            {
                "facet": facet,
                "colour": layer,
                "x": update,
                "mean": math.exp(math.fsum(map(math.log, values)) / len(values)),
                "low": min(values),
                "high": max(values),
                "n": len(values),
            }
            for (layer, update), values in found.items()
        ]
    return rows


def _panels(result: StudyResult, spec: FigureSpec) -> dict[Scalar | None, tuple[ArmResult, ...]]:
    own = spec if spec.facet else spec.model_copy(update={"facet": spec.colour})
    found: dict[Scalar | None, tuple[ArmResult, ...]] = {}
    for place in cells(result, own.model_copy(update={"colour": ""}), along_x=False):
        found[place.facet] = (*found.get(place.facet, ()), *place.arms)
    return found


def bounds(result: StudyResult, spec: FigureSpec, facet: Scalar | None) -> list[tuple[float, str]]:
    """Return the bounds that were in force in a panel, with their names."""
    measured = [record.measurements.get(PROBE) for record in final_records(_panels(result, spec)[facet])]
    return list(dict.fromkeys(bound for one in measured if one is not None for bound in in_force(one)))


def in_force(one: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Return the bounds that held what the probe measured of one training, with their names."""
    if not one["applied"]:
        return []
    return [(float(one[name]), f"{name} bound {one[name]:g}") for name in ("lower", "upper") if one.get(name)]


def applied_words(arms: Sequence[ArmResult]) -> str:
    """Return what ratios these are: those that solvers applied, those that they would have had, or both."""
    applied = {
        bool(record.measurements[PROBE]["applied"]) for record in final_records(arms) if PROBE in record.measurements
    }
    words = {True: "applied", False: "not applied, but what layer-wise scaling would have given"}
    return f"ratios were {listed([words[one] for one in sorted(applied, reverse=True)])}"


@drawers.register("ratios")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a panel for each facet; None where no training measured its ratios."""
    rows = layers(result, spec)
    if not rows:
        return None
    names = list(dict.fromkeys(str(row["colour"]) for row in rows))
    chosen = names
    if len(names) > MOST_LAYERS:
        chosen = [names[round(place * (len(names) - 1) / (MOST_LAYERS - 1))] for place in range(MOST_LAYERS)]
    own: dict[Scalar | None, Look] = {
        name: Look(tint) for name, tint in zip(chosen, ramp(len(chosen)), strict=True)
    } or {None: Look(BASELINE)}  # fmt: skip
    few = (
        f" {MOST_LAYERS} of {len(names)} layers, evenly chosen, are drawn; the CSV has all." if chosen != names else ""
    )
    caption = (
        f"{spec.caption} Geometric mean over seeds{SHADED}; {applied_words(result.select(spec.only))}; layers from the "
        f"input (blue) to the output (ochre).{few}{missing(result.select(spec.only))}"
    ).strip()
    facet = spec.facet or spec.colour
    shown = [row for row in rows if row["colour"] in own]
    figure = band_figure(
        spec.model_copy(update={"facet": facet, "colour": "layer"}),
        shown,
        own,
        "weight updates",
        Measure("trust ratio", log=True),
        caption,
        log_x=True,
        rules=functools.partial(bounds, result, spec),
        called="trust ratio",
    )
    everything = tuple({(facet or "panel"): row["facet"], "layer": row["colour"], "update": row["x"],
                        "trust ratio": row["mean"], "low": row["low"], "high": row["high"], "n": row["n"]}
                       for row in rows)  # fmt: skip
    return Figure(figure.name, figure.title, figure.caption, everything, figure.panels, figure.columns)
