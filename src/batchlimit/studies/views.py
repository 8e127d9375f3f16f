"""What a study shows: tables and figures as plain descriptions, drawn by `reports`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from batchlimit.config import Frozen, Scalar
from batchlimit.studies.arm import Labels

Value = Literal["metric", "top-5", "loss", "train loss", "steps", "seconds"]
CURVES = ("train loss", "train", "selection", "test", "lr")  # quantities of a history

FigureKind = Literal[
    "lines",  # value against a numeric label, one line a colour, intervals as bars
    "dots",  # value of each category with its interval, one row a category: ladders, comparisons of solvers
    "heat",  # tuning: selection metric over LR and warmup, one panel a facet
    "curves",  # a history quantity against epochs (or steps), mean over seeds
    "scatter",  # final training loss against test metric, one dot a training
    "best-so-far",  # best selection metric against the number of tuning trials, mean and range over repeats
    "distance",  # probe weight-distance against updates on a log axis, fitted laws drawn
    "end-points",  # distances between the end points of different arms, a matrix
    "noise-scale",  # probe gradient-noise: SNR, or noise scale, against batch size or progress
    "ratios",  # probe trust-ratios: per layer against updates
    "ratio-histogram",  # probe trust-ratios: how many of each size over layers, updates and seeds, one panel a facet
    "schedules",  # the learning rate against progress, small multiples
    "timeline",  # rows of context against a date
    "regime-map",  # the map of the search for the limit
]


class TableSpec(Frozen):
    """A table: one row for each value of the label `rows`, one column for each of `columns` (a label, or empty).

    Cells are means over seeds with their interval; `only` selects arms. The paper's value of a cell stands beside ours
    where the study has one.
    """

    name: str
    title: str
    rows: str
    columns: str = ""
    value: Value = "metric"
    only: Labels = Field(default_factory=dict)
    note: str = ""


class FigureSpec(Frozen):
    """A figure: its kind, the question it answers as its title, and which labels are on which channel.

    `x`, `colour` and `facet` are names of labels; `y` is a value ('metric', 'loss', 'train loss', ...), or, for curves,
    a history quantity: 'train loss', 'train', 'selection', 'test' (metrics).
    """

    name: str
    kind: FigureKind
    title: str
    caption: str = ""
    x: str = ""
    y: str = "metric"
    colour: str = ""
    facet: str = ""
    only: Labels = Field(default_factory=dict)


class PaperValue(Frozen):
    """A figure of the paper for the arms that `where` selects: a number, or words such as 'diverges'.

    `setting` says what it was measured on, when that is not the study's first setting.
    """

    where: Labels
    value: float | None = None
    words: str = ""
    source: str = ""
    setting: str = ""


Row = dict[str, Scalar | None]
