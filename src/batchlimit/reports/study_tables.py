"""The tables of a study as plain typed rows: results beside the paper's, claims, recipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchlimit.config import Scalar
from batchlimit.findings import Estimate
from batchlimit.reports.figures.studies.cells import is_comparable, label_of, said, short
from batchlimit.reports.figures.studies.measures import Measure, measure
from batchlimit.reports.quantities import length
from batchlimit.reports.recipe_toml import trial_toml
from batchlimit.studies.claims import Agreement
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.study import Study
from batchlimit.studies.views import PaperValue, TableSpec

JUDGED = (
    "Judged by 95 % intervals over seeds (bootstrap; of fewer than five, Student's t), each claim by itself: corrected "
    "neither for their number nor, where a claim is of the best of several arms, for picking it by the same scores."
)
EDGE = " †"
AGREEMENTS: tuple[Agreement, ...] = ("agrees", "differs", "undecided", "not comparable")


@dataclass(frozen=True)
class Cell:
    """One cell: the best of its arms (None: there is none), its mean with interval, and the paper's figure beside it.

    `arms` counts the arms that share the cell. `status` is 'measured', 'diverged', 'unfinished' or ''.
    """

    text: str
    estimate: Estimate | None = None
    diverged: int = 0
    status: str = ""
    paper: str = ""
    arms: int = 0
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table as it is shown: a head for each column, a name and cells for each row, and what is said under it."""

    title: str
    corner: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClaimRow:
    """A claim of the paper, its source and figures, ours, whether they agree, and why."""

    text: str
    source: str
    paper: str
    ours: str
    agreement: Agreement
    reason: str


@dataclass(frozen=True)
class PaperRow:
    """A figure of the paper: for which arms, on what, where it is printed, and ours (empty: nothing like it here)."""

    where: str
    value: str
    setting: str
    source: str
    ours: str


@dataclass(frozen=True)
class ArmRow:
    """An arm: its name, what was spent on it, what it reached, and its recipe as TOML ('' before tuning ends)."""

    name: str
    batch_size: int
    epochs: str
    tuning: int
    seeds: int
    result: str
    status: str
    toml: str


def table(result: StudyResult, spec: TableSpec) -> Table:
    """Return a table of a study; rows and columns in the order of the arms, numbers in rising order."""
    arms = [arm for arm in result.select(spec.only) if label_of(arm, spec.rows) is not None]
    names = _ordered([label_of(arm, spec.rows) for arm in arms])
    columns = _ordered([label_of(arm, spec.columns) for arm in arms]) if spec.columns else [None]
    quantity = measure(result, spec.value)
    rows = []
    for name in names:
        cells = []
        for column in columns:
            mine = [
                arm
                for arm in arms
                if label_of(arm, spec.rows) == name and (not spec.columns or label_of(arm, spec.columns) == column)
            ]
            cells.append(_cell(result, mine, spec, quantity))
        rows.append((short(name), tuple(cells)))
    heads = tuple(said(spec.columns, column) if spec.columns else quantity.title for column in columns)
    return Table(spec.title, spec.rows, heads, _marked(rows, quantity), _notes(result, spec, rows, quantity))


def _ordered(values: Sequence[Scalar | None]) -> list[Scalar | None]:
    """Return each value once: numbers in rising order, anything else in the order given."""
    once = list(dict.fromkeys(value for value in values if value is not None))
    numbers = [value for value in once if isinstance(value, int | float) and not isinstance(value, bool)]
    ordered: list[Scalar | None] = []
    ordered += sorted(numbers) if len(numbers) == len(once) else once
    return ordered


def _cell(result: StudyResult, arms: Sequence[ArmResult], spec: TableSpec, quantity: Measure) -> Cell:
    if not arms:
        return Cell("")
    tried = [arm for arm in arms if arm.status != "unfinished"]
    best = result.best(tried) or (tried[0] if tried else None)
    paper = _paper_text(result, best or arms[0], quantity) if spec.value == "metric" else ""
    if best is None:
        return Cell("not finished", status="unfinished", paper=paper, arms=len(arms))
    if best.status == "diverged":
        return Cell("diverged", diverged=best.diverged, status="diverged", paper=paper, arms=len(arms))
    found = quantity.shown(best.estimate(spec.value))
    mark = EDGE if best.at_edge else ""
    return Cell(estimate_words(found, quantity) + mark, found, best.diverged, "measured", paper, len(arms))


def estimate_words(found: Estimate, quantity: Measure) -> str:
    """Return '98.21 % (98.10 to 98.32, n = 5)'."""
    if found.mean is None:
        return "no finite value"
    if found.low is None or found.high is None:
        return f"{quantity.text(found.mean)} (n = {found.n})"
    low, high = quantity.text(found.low), quantity.text(found.high)
    if low == high:
        return f"{quantity.text(found.mean)} (n = {found.n})"
    return f"{quantity.text(found.mean)} ({low.removesuffix(' %')} to {high}, n = {found.n})"


def _marked(rows: list[tuple[str, tuple[Cell, ...]]], quantity: Measure) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """Return rows with the best cell of each column marked, where there are several and better is known."""
    if quantity.better is None or len(rows) < 2:
        return tuple(rows)
    pick = max if quantity.better == "up" else min
    width = len(rows[0][1])
    best = []
    for column in range(width):
        means = [
            cell.estimate.mean
            for _, cells in rows
            if (cell := cells[column]).estimate is not None and cell.estimate.mean is not None
        ]
        best.append(pick(means) if len(means) > 1 else None)
    return tuple(
        (
            name,
            tuple(
                Cell(
                    **{
                        **vars(cell),
                        "best": top is not None and cell.estimate is not None and cell.estimate.mean == top,
                    }
                )
                for cell, top in zip(cells, best, strict=True)
            ),
        )
        for name, cells in rows
    )


def _notes(
    result: StudyResult, spec: TableSpec, rows: Sequence[tuple[str, tuple[Cell, ...]]], quantity: Measure
) -> tuple[str, ...]:
    cells = [cell for _, row in rows for cell in row]
    notes = [spec.note] if spec.note else []
    notes.append(
        f"{quantity.title[:1].upper()}{quantity.title[1:]}: mean over n seeds (95 % interval). Bold: the "
        "best mean of its column, by however little."
    )
    if any(cell.arms > 1 for cell in cells):
        notes.append("Where several arms share a cell, the best of them is shown.")
    if any(cell.paper for cell in cells):
        where = f", on {result.study.paper_setting}" if result.study.paper_setting else ""
        compares = "" if is_comparable(result) else ": another setting than ours, so the numbers do not compare"
        notes.append(f"“Paper” is the paper's figure{where}{compares}.")
    if any(cell.text.endswith(EDGE) for _, cells in rows for cell in cells):
        notes.append(f"{EDGE.strip()}: the learning rate chosen is at the edge of those tried; more may be possible.")
    return tuple(notes)


def _paper_text(result: StudyResult, arm: ArmResult, quantity: Measure) -> str:
    known = [value for value in result.study.paper_values if arm.arm.matches(value.where)]
    if not known:
        return ""
    best = max(known, key=lambda value: len(value.where))
    return value_words(best, quantity)


def value_words(value: PaperValue, quantity: Measure) -> str:
    """Return a figure of the paper: a number as the paper prints it, or its words."""
    if value.value is None:
        return value.words or "–"
    digits = f"{100 * value.value:.4g}"
    number = f"{digits if '.' in digits else f'{digits}.0'} %" if quantity.percent else f"{value.value:.4g}"
    return f"{number} ({value.words})" if value.words else number


def claim_rows(result: StudyResult) -> list[ClaimRow]:
    """Return each claim of the study with its judgement."""
    rows = []
    for claim in result.study.claims:
        judged = claim.judge(result)
        rows.append(ClaimRow(claim.text, claim.source, claim.paper, judged.ours, judged.agreement, judged.reason))
    return rows


def agreement_counts(rows: Sequence[ClaimRow]) -> dict[str, int]:
    """Return how many claims agree, differ, are undecided or not comparable, those that there are."""
    found = {agreement: sum(row.agreement == agreement for row in rows) for agreement in AGREEMENTS}
    return {agreement: number for agreement, number in found.items() if number}


def agreement_words(counts: dict[str, int]) -> str:
    """Return '3 agree, 1 differs, 2 undecided'."""
    return ", ".join(agreed(name, number) for name, number in counts.items())


def agreed(name: str, number: int) -> str:
    """Return '1 agrees' or '3 agree'."""
    verbs = {"agrees": ("agrees", "agree"), "differs": ("differs", "differ")}
    return f"{number} {verbs.get(name, (name, name))[number != 1]}"


def paper_rows(result: StudyResult) -> list[PaperRow]:
    """Return the paper's figures with ours beside them."""
    quantity, study = measure(result, "metric"), result.study
    rows = []
    for value in study.paper_values:
        arms = result.select(value.where)
        best = result.best(arms) or (arms[0] if arms else None)
        rows.append(
            PaperRow(
                where=", ".join(dict.fromkeys(said(name, wanted) for name, wanted in value.where.items())),
                value=value_words(value, quantity),
                setting=value.setting or study.paper_setting,
                source=value.source or study.paper,
                ours=_said_of(best, quantity) if best is not None else "",
            )
        )
    return rows


def _said_of(arm: ArmResult, quantity: Measure) -> str:
    if arm.status != "measured":
        return "not finished" if arm.status == "unfinished" else arm.status
    lost = f"; {arm.diverged} diverged" if arm.diverged else ""
    return estimate_words(quantity.shown(arm.estimate()), quantity) + lost


def arm_rows(result: StudyResult) -> list[ArmRow]:
    """Return each arm of the study with its recipe to paste."""
    quantity = measure(result, "metric")
    rows = []
    for arm in result.arms:
        recipe = arm.chosen
        config = arm.arm.trial(result.facts.workload, recipe, 1, final=False) if recipe is not None else None
        rows.append(
            ArmRow(
                name=", ".join(said(name, value) for name, value in arm.labels.items()) or "the arm",
                batch_size=arm.arm.batch_size,
                epochs=length(arm.arm.epochs),
                tuning=len(arm.tuning),
                seeds=len(arm.final),
                result=_said_of(arm, quantity),
                status=arm.status,
                toml=trial_toml(config) if config is not None else "",
            )
        )
    return rows


def context_table(study: Study) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the study's rows of context as heads and texts."""
    heads = tuple(dict.fromkeys(name for row in study.context for name in row))
    return heads, tuple(tuple(_context(row.get(name)) for name in heads) for row in study.context)


def _context(value: Scalar | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
