"""Which arms a figure shows, where, and what is said of those it cannot show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from batchlimit.config import Scalar
from batchlimit.reports.figures.figure import Row
from batchlimit.reports.quantities import counted
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.views import FigureSpec, PaperValue


@dataclass(frozen=True)
class Cell:
    """The arms of one place of a figure: of one panel, one colour and, where it has one, one value on the axis."""

    facet: Scalar | None
    colour: Scalar | None
    x: Scalar | None
    arms: tuple[ArmResult, ...]


def cells(result: StudyResult, spec: FigureSpec, *, along_x: bool = True) -> list[Cell]:
    """Return the places of a figure, in the order of the arms; arms without the label of the axis have none.

    Without `along_x` a place is a panel and a colour.
    """
    found: dict[tuple[Scalar | None, Scalar | None, Scalar | None], list[ArmResult]] = {}
    for arm in result.select(spec.only):
        x = label_of(arm, spec.x) if along_x and spec.x else None
        if along_x and spec.x and x is None:
            continue
        facet = label_of(arm, spec.facet) if spec.facet else None
        found.setdefault((facet, label_of(arm, spec.colour) if spec.colour else None, x), []).append(arm)
    return [Cell(*place, arms=tuple(arms)) for place, arms in found.items()]


def label_of(arm: ArmResult, name: str) -> Scalar | None:
    """Return an arm's label; of one without it what the arm itself says (batch size, epochs, solver), else None."""
    if name in arm.labels:
        return arm.labels[name]
    epochs = arm.arm.epochs
    own: dict[str, Scalar] = {"batch size": arm.arm.batch_size, "solver": arm.arm.recipe.solver}
    if epochs.unit == "epochs":
        own["epochs"] = epochs.amount
    return own.get(name)


def said(name: str, value: Scalar | None) -> str:
    """Return a label in words: 'lars' for a text, 'batch size 8,192' for a number, '' for none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{name} {'yes' if value is True else 'no' if value is False else number(value)}"


def short(value: Scalar | None) -> str:
    """Return a label's value alone: 'lars', '8,192', 'yes'."""
    if value is None:
        return "others"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """Return a number as short as it can be read: 8,192, 0.05, 3e-05."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def words_of(among: Sequence[ArmResult], arm: ArmResult, besides: Sequence[str] = ()) -> str:
    """Return the labels of an arm that tell it from `among`, besides those named, in words."""
    shown = [
        said(name, value)
        for name, value in arm.labels.items()
        if name not in besides and any(other.labels.get(name) != value for other in among)
    ]
    once = [text for text in shown if not any(text != other and text in other.split() for other in shown)]
    return ", ".join(once) or ", ".join(said(name, value) for name, value in arm.labels.items() if name not in besides)


def is_comparable(result: StudyResult) -> bool:
    """Say whether numbers compare with the paper's: same model and data, and trained in earnest."""
    study = result.study
    return (
        bool(study.paper_workload)
        and result.facts.workload == study.paper_workload
        and (result.effort.scale != "smoke")
    )


def paper_of(result: StudyResult, arms: Sequence[ArmResult]) -> PaperValue | None:
    """Return the paper's figure for these arms: of those that select one of them the most specific."""
    known = [value for value in result.study.paper_values if any(arm.arm.matches(value.where) for arm in arms)]
    return max(known, key=lambda value: len(value.where)) if known else None


def missing(arms: Sequence[ArmResult]) -> str:
    """Return what is not in a figure and why, as a sentence with a space before it; '' where all is there."""
    parts = []
    unfinished = sum(arm.status == "unfinished" for arm in arms)
    diverged = sum(arm.status == "diverged" for arm in arms)
    if diverged:
        parts.append(f"{counted(diverged, 'arm')} diverged")
    if unfinished:
        parts.append(f"{counted(unfinished, 'arm')} {'is' if unfinished == 1 else 'are'} not finished")
    return f" {' and '.join(parts)}." if parts else ""


def named(rows: Sequence[Row], spec: FigureSpec, **names: str) -> tuple[Row, ...]:
    """Return rows for the CSV: with the labels' and quantities' own names as columns, and without empty columns."""
    titles = {"facet": spec.facet, "colour": spec.colour, "x": spec.x, **names}
    if not rows:
        return ()
    taken = set(rows[0]) - set(titles)
    titles = {key: (f"label {name}" if name in taken else name) for key, name in titles.items()}
    return tuple(
        {titles.get(key) or key: value for key, value in row.items() if key not in titles or titles[key]}
        for row in rows
    )


def stem(name: str) -> str:
    """Return a name as the stem of a file: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "figure"
