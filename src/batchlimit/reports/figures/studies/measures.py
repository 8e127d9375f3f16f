"""The quantities on the axes of figures: what they are called, how they are written, which way is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchlimit.errors import InputError
from batchlimit.findings import Direction, Estimate
from batchlimit.records import HistoryPoint
from batchlimit.reports.figures.figure import tick_label
from batchlimit.reports.quantities import count, metric_text, span
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import CURVES

# As an axis writes plain numbers: 0.05, 12, 8,192.
NUMBERS = "format(datum.value, abs(datum.value) >= 1000 ? ',.0f' : '.3~g')"
_PERCENTS = ("top-1", "top-5", "accuracy", "error")
# What is worse than the better half by more than this many times its spread is drawn at the edge, with its value.
REACH = 12.0
# Percentages are drawn by their errors where the best is above the first, and errors differ by more than the second.
_NEARLY_ALL, _ERRORS_DIFFER = 0.9, 6.0
_LABELLED_ERRORS = (1.0, *(digit * 10.0**power for power in range(-1, -6, -1) for digit in (5, 2, 1)))


@dataclass(frozen=True)
class Measure:
    """A quantity: its name on an axis, how its values are written, which way is better (None: neither).

    Where `least_error` is given, a percentage is drawn by what it lacks of 100 %, on a logarithmic scale down to that:
    99 % is as far from 99.9 % as 90 % is from 99 %. `place` says where a value is drawn.
    """

    title: str
    percent: bool = False
    better: Direction | None = None
    whole: bool = False
    log: bool = False
    time: bool = False
    least_error: float | None = None

    def by_errors(self, values: Sequence[float]) -> Measure:
        """Return the measure, drawn by errors if otherwise the best of `values` could not be told apart."""
        errors = [1.0 - value for value in values]
        if not self.percent or self.better != "up" or not errors or not 0.0 < min(errors) < 1.0 - _NEARLY_ALL:
            return self
        if max(errors) < _ERRORS_DIFFER * min(errors):
            return self
        return replace(self, title=f"{self.title}, logarithmic", least_error=min(errors) / 10)

    def place(self, value: float) -> float:
        """Return where `value` is drawn: at itself, or at the number of nines, so to say, that it has."""
        return value if self.least_error is None else -math.log10(max(1.0 - value, self.least_error))

    def labelled(self, low: float, high: float) -> tuple[float, ...]:
        """Return the places to label between two; none where the axis may choose."""
        if self.least_error is None:
            return ()
        places = (-math.log10(error) for error in _LABELLED_ERRORS)
        return tuple(place for place in places if low <= place <= high)

    def text(self, value: float | None) -> str:
        """Return a value in a sentence or beside a point."""
        if value is None:
            return "–"
        if self.whole:
            return count(value)
        if self.time:
            return span(value)
        return metric_text(value, percent=self.percent, digits=2 if self.percent else 1)

    def shown(self, estimate: Estimate) -> Estimate:
        """Return the estimate as it is shown: that of a percentage without what lies below 0 or above 100."""
        return estimate.shown(percent=self.percent)

    @property
    def near(self) -> float:
        """How far beyond the means ends of intervals are followed, as a share of the range of the means."""
        return 0.5 if self.least_error is None else 0.1

    @property
    def caption(self) -> str:
        """How the scale is to be read, as a sentence with a space before it; '' where it is a plain one."""
        return " Drawn by what is lacking to 100 %, logarithmically." if self.least_error is not None else ""

    @property
    def ticks(self) -> str:
        """The Vega expression that writes the labels of the axis."""
        if self.whole:
            return "format(datum.value, ',~d')"
        if self.least_error is not None:
            return "format(100 - 100 * pow(10, -datum.value), '.5~g') + ' %'"
        return tick_label(self.percent) if self.percent else NUMBERS

    @property
    def tooltip(self) -> str:
        """The number format of tooltips."""
        return ".2%" if self.percent else ".4~g"


def measure(result: StudyResult, value: str) -> Measure:
    """Return what a value is: 'metric', 'loss', 'train loss', 'steps', 'seconds' or a further metric."""
    facts = result.facts
    known = {
        "metric": Measure(f"test {facts.metric_name}", facts.metric_percent, facts.metric_direction),
        "loss": Measure("test loss", better="down"),
        "train loss": Measure("training loss at the end", better="down"),
        "steps": Measure("weight updates", whole=True),
        "seconds": Measure("seconds of compute", time=True),
    }
    percent = facts.metric_percent and any(word in value for word in _PERCENTS)
    return known.get(value) or Measure(f"test {value}", percent, facts.metric_direction)


def curve_measure(result: StudyResult, value: str) -> Measure:
    """Return what a history quantity is.

    Raises:
        InputError: there is none of this name.
    """
    facts = result.facts
    if value == "train loss":
        return Measure("training loss", better="down")
    if value == "lr":
        return Measure("learning rate")
    split = {"metric": "selection"}.get(value, value)
    if split not in CURVES:
        raise InputError(f"A figure of curves knows no '{value}'. Valid: {', '.join(CURVES)}.")
    named = {"train": "training", "selection": "selection", "test": "test"}[split]
    return Measure(f"{named} {facts.metric_name}", facts.metric_percent, facts.metric_direction)


def at_point(point: HistoryPoint, value: str) -> float | None:
    """Return a history quantity at one point of a training; None where it was not measured."""
    if value == "train loss":
        return point.train_loss
    if value == "lr":
        return point.lr
    scores = {"train": point.train, "test": point.test}.get(value, point.selection)
    return scores.metric if scores is not None else None


def shown_range(values: Sequence[float], better: Direction | None, reach: float = REACH) -> tuple[float, float]:
    """Return the least and greatest value to draw: all of them, but for what is far worse than the better half.

    Far is more than `reach` times the spread of that half.
    """
    ordered = sorted(values, reverse=better == "up")
    if not ordered:
        return (0.0, 1.0)
    best, middle, worst = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    if better is not None and len(ordered) >= 4 and 0 < reach * abs(middle - best) < abs(worst - best):
        worst = best + reach * (middle - best)
    low, high = min(best, worst), max(best, worst)
    return (low, high) if high > low else (low - 0.01 * abs(low) - 1e-9, high + 0.01 * abs(high) + 1e-9)
