"""The page of a study: one HTML file that works offline, opened from disk, and its figures as files beside it."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from batchlimit.reports import study_account, study_comparisons, study_tables
from batchlimit.reports.assignments import assignments
from batchlimit.reports.document import ShownFigure, render, show, unbroken
from batchlimit.reports.export import FORMATS
from batchlimit.reports.figures.figure import Figure
from batchlimit.reports.figures.studies import draw
from batchlimit.reports.figures.studies.cells import stem
from batchlimit.reports.folder import check_writable, write_atomically
from batchlimit.reports.quantities import counted
from batchlimit.reports.recipe_toml import train_command
from batchlimit.studies.results import StudyResult
from batchlimit.studies.study import Study

FIGURES = "figures"
MARKS = {"agrees": "pass", "differs": "fail", "undecided": "undecided", "not comparable": "neutral"}


def write_study(result: StudyResult, folder: str | Path, formats: Collection[str] = FORMATS) -> Path:
    """Write `<study>.html` and `figures/<study>/*` to `folder`; return the path of the page.

    `formats` are the kinds of files written of each figure: 'svg', 'png', 'pdf', 'csv'. The page itself needs none.

    Raises:
        InputError: the folder cannot be written to, or a figure asks for a quantity that is not known.
    """
    folder = check_writable(folder)
    below = f"{FIGURES}/{page_stem(result.study)}"
    check_writable(folder / below)
    drawn, undrawn = figures(result)
    specs: dict[str, Any] = {}
    shown = [show(figure, folder, below, specs, formats=formats) for figure in drawn]
    path = folder / page_name(result.study)
    write_atomically(path, _render(result, shown, undrawn, specs))
    return path


def page_stem(study: Study) -> str:
    """Return the name of a study as part of file names; never that of the index."""
    name = stem(study.name)
    return f"{name}-study" if name == "index" else name


def page_name(study: Study) -> str:
    """Return the name of a study's page."""
    return f"{page_stem(study)}.html"


def figures(result: StudyResult) -> tuple[list[Figure], list[str]]:
    """Return the figures of a study under names of their own, and the titles of those that have no data."""
    drawn: list[Figure] = []
    undrawn: list[str] = []
    for spec in result.study.figures:
        used = {figure.name for figure in drawn}
        name = next(name for name in _names(stem(spec.name)) if name not in used)
        figure = draw(result, spec.model_copy(update={"name": name}))
        if figure is None:
            undrawn.append(spec.title)
        else:
            drawn.append(figure)
    return drawn, undrawn


def _names(name: str) -> list[str]:
    return [name, *(f"{name}-{number}" for number in range(2, 200))]


def reproduce_command(result: StudyResult) -> str:
    """Return the command that asks the same question again (its trials are found in the ledger, where it is kept)."""
    effort = result.effort
    words = ["batchlimit", "study", result.reference or result.study.name]
    words += ["--workload", result.facts.workload, "--scale", effort.scale]
    if result.arms:
        words += ["--epochs", str(effort.epochs).removesuffix(" epochs"), "--seeds", str(effort.seeds)]
        words += ["--budget", str(effort.budget)]
    words += ["--paper-protocol"] if effort.protocol == "paper" and effort.scale != "paper" else []
    return shlex.join([*words, *assignments({"recipe": effort.recipe})])


def _render(result: StudyResult, shown: list[ShownFigure], undrawn: list[str], specs: dict[str, Any]) -> str:
    claims = study_tables.claim_rows(result)
    compared = study_comparisons.comparisons(result)
    return render(
        "study.html.j2",
        specs,
        result=result,
        effort=study_account.effort_line(result),
        cost=study_account.cost_line(result),
        state=study_account.state_words(result),
        refusals=study_account.refusals(result),
        hardware=study_account.hardware(result),
        claims=claims,
        counts={name: study_tables.agreed(name, n) for name, n in study_tables.agreement_counts(claims).items()},
        marks=MARKS,
        shown=shown,
        undrawn=undrawn,
        tables=[study_tables.table(result, spec) for spec in result.study.tables],
        context=study_tables.context_table(result.study),
        papers=study_tables.paper_rows(result),
        compared=compared,
        judged=study_tables.JUDGED,
        none_decided=None if any(row.decided for row in compared) else study_comparisons.undecided_note(compared),
        compared_note=study_comparisons.comparison_note(compared),
        labels_compared=len({row.label for row in compared}),
        arms=study_tables.arm_rows(result),
        command=reproduce_command(result),
        train=train_command(result.facts.workload),
        counted=counted,
        unbroken=unbroken,
        p_value=study_comparisons.p_words,
    )
