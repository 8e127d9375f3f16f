"""Gradient noise: its scale, or signal to noise, against batch size or over training."""

from __future__ import annotations

import math
from typing import Any

from batchlimit.analysis.critical_batch import NoiseCurve, critical_batch, mean_snr, noise_curve
from batchlimit.analysis.intervals import mean_interval
from batchlimit.errors import InputError
from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import Cell, cells, missing
from batchlimit.reports.figures.studies.curves import SHADED, band_figure, final_records
from batchlimit.reports.figures.studies.lines import interval_figure
from batchlimit.reports.figures.studies.looks import looks_of
from batchlimit.reports.figures.studies.measures import Measure
from batchlimit.reports.figures.studies.panels import log_axis
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureSpec

PROBE = "gradient-noise"
OVER_TRAINING = ("progress", "updates", "steps")
QUANTITIES = {
    "noise scale": ("noise_scale", "noise scale (examples)"),
    "snr": ("snr", "signal / noise of the batch's gradient"),
    "signal": ("signal", "signal, E||g∥||²"),
    "noise": ("noise", "noise, E||g⊥||²"),
    "variance": ("variance", "variance of one example's gradient"),
    "gradient": ("gradient_sq", "squared norm of the true gradient"),
}
_ALSO = {"metric": "noise scale", "noise_scale": "noise scale", "SNR": "snr", "gradient_sq": "gradient"}


def quantity(spec: FigureSpec) -> tuple[str, str]:
    """Return the measurement that a figure shows and its title.

    Raises:
        InputError: there is none of this name.
    """
    name = _ALSO.get(spec.y, spec.y)
    if name not in QUANTITIES:
        raise InputError(f"A figure of gradient noise knows no '{spec.y}'. Valid: {', '.join(QUANTITIES)}.")
    return QUANTITIES[name]


def against_label(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each place: a mean over each training, and the geometric mean over seeds with its interval.

    The noise scale of trainings as a whole is their critical batch size. It and the signal-to-noise ratio also count
    looks at which |G|^2 is estimated below 0; of all else the mean is geometric, over the looks with a value.
    """
    rows: list[Row] = []
    for place in cells(result, spec):
        name = quantity(spec)[0]
        if name == "noise_scale":
            rows += _critical(place, result.facts.full)
            continue
        if name == "snr":
            means = [mean_snr(curve) for curve in _curves(place, result.facts.full)]
            logs = [math.log(mean) for mean in means if 0 < mean < math.inf]
        else:
            logs = [mean for one in _measured(place) if (mean := _mean_log(one, name)) is not None]
        known = mean_interval(logs)
        if known.mean is not None:
            ends = {
                name: math.exp(end) if end is not None else None
                for name, end in (("mean", known.mean), ("low", known.low), ("high", known.high))
            }
            rows.append({"facet": place.facet, "colour": place.colour, "x": place.x, **ends, "n": known.n,
                         "diverged": 0, "place": "measured"})  # fmt: skip
    return rows


def _curves(place: Cell, dataset_size: int) -> list[NoiseCurve]:
    found = (noise_curve(record, dataset_size) for record in final_records(place.arms))
    return [curve for curve in found if curve is not None]


def _critical(place: Cell, dataset_size: int) -> list[Row]:
    curves = _curves(place, dataset_size)
    if not curves:
        return []
    found = critical_batch(curves)
    if found.batch_size is None:
        return []
    known: Row = {"mean": found.batch_size, "low": found.low, "high": found.high, "n": found.trainings}
    if found.low is None or found.high is None:
        known |= {"low": None, "high": None}
    return [{"facet": place.facet, "colour": place.colour, "x": place.x, **known, "diverged": 0, "place": "measured"}]


def over_training(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each (panel, series, update): geometric mean, least and greatest over seeds.

    With 'progress' as `x`, an update counts as its share of the training.
    """
    rows: list[Row] = []
    for place in cells(result, spec, along_x=False):
        by_update: dict[float, list[float]] = {}
        for record in final_records(place.arms):
            whole = float(record.steps) if spec.x == "progress" else 1.0
            for update, value in _points(record.measurements.get(PROBE) or {"updates": []}, quantity(spec)[0]):
                if value > 0:
                    by_update.setdefault(round(update / whole, 6), []).append(value)
        rows += [
            {
                "facet": place.facet,
                "colour": place.colour,
                "x": update,
                "mean": math.exp(math.fsum(map(math.log, found)) / len(found)),
                "low": min(found),
                "high": max(found),
                "n": len(found),
            }
            for update, found in sorted(by_update.items())
        ]
    return rows


def _measured(place: Cell) -> list[dict[str, Any]]:
    return [record.measurements[PROBE] for record in final_records(place.arms) if PROBE in record.measurements]


def _mean_log(one: dict[str, Any], name: str) -> float | None:
    found = [math.log(value) for _, value in _points(one, name) if value > 0]
    return math.fsum(found) / len(found) if found else None


def _points(one: dict[str, Any], name: str) -> list[tuple[float, float]]:
    pairs = zip(one["updates"], one.get(name) or [], strict=False)
    return [(float(update), float(value)) for update, value in pairs if value is not None]


@drawers.register("noise-scale")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return the figure; None where no training measured a positive value.

    Against a label (`x`, batch size by default) one value stands for a training, or, with `x` 'updates', all do.
    """
    title = quantity(spec)[1]
    if spec.x in OVER_TRAINING:
        rows = over_training(result, spec)
        if not rows:
            return None
        y = Measure(title, log=log_axis([float(row["mean"] or 0) for row in rows]))
        caption = (
            f"{spec.caption} Geometric mean over seeds{SHADED}. Updates at which the "
            f"noise hides the gradient have no value.{missing(result.select(spec.only))}"
        ).strip()
        looks = looks_of(result, spec)
        log_x, x_title = spec.x != "progress", "share of the training" if spec.x == "progress" else "weight updates"
        return band_figure(spec, rows, looks, x_title, y, caption, log_x=log_x, called=title)
    spec = spec.model_copy(update={"x": spec.x or "batch size"})
    rows = [row for row in against_label(result, spec) if isinstance(row["x"], int | float)]
    if not rows:
        return None
    how = "Geometric mean over the looks of each training, then over seeds with its 95 % interval."
    if quantity(spec)[0] == "snr":
        how = "Mean over the updates of each training, then geometric mean over seeds with its 95 % interval."
    if quantity(spec)[0] == "noise_scale":
        title = "critical batch size (examples)"
        how = "The noise scale of trainings as a whole, weighed by progress, with its 95 % interval."
    caption = f"{spec.caption} {how}{missing(result.select(spec.only))}".strip()
    log = log_axis([float(row["mean"] or 0) for row in rows])
    return interval_figure(result, spec, rows, Measure(f"{title}{', logarithmic' if log else ''}"), caption, log_y=log)
