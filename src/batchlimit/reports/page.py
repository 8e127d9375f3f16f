"""The report: one HTML page that works offline, opened from disk, and its figures as files beside it."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchlimit.findings import LimitFinding
from batchlimit.records import TrialRecord
from batchlimit.reports import quantities, tables, verdict
from batchlimit.reports.assignments import assignments
from batchlimit.reports.document import ShownFigure, render, show, unbroken
from batchlimit.reports.figures import cost, heat_maps, learning_curves, regime_map, regimes
from batchlimit.reports.figures.beside import spoken_beside
from batchlimit.reports.figures.figure import Figure
from batchlimit.reports.folder import check_writable, write_atomically
from batchlimit.reports.recipe_toml import train_command
from batchlimit.reports.verdict import all_sizes

PAGE = "report.html"
FIGURES = "figures"


def write_report(
    finding: LimitFinding, records: Sequence[TrialRecord], folder: str | Path, beside: Sequence[LimitFinding] = ()
) -> Path:
    """Write `report.html` and `figures/*.{svg,png,pdf,csv}` to `folder`; return the path of the page.

    `beside` are findings of the same question with other technique sets: their limits are shown beside this one's.

    Raises:
        InputError: the folder cannot be written to.
    """
    folder = check_writable(folder)
    check_writable(folder / FIGURES)
    specs: dict[str, Any] = {}
    shown = {
        name: _shown(finding, figure, folder, specs, beside) if figure is not None else None
        for name, figure in _figures(finding, records, beside).items()
    }
    page = _render(finding, records, shown, specs, beside)
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def _figures(
    finding: LimitFinding, records: Sequence[TrialRecord], beside: Sequence[LimitFinding]
) -> dict[str, Figure | None]:
    best, every = heat_maps.draw(finding, only_best=True), heat_maps.draw(finding)
    if best is not None and every is not None and len(best.panels) == len(every.panels):
        best = None
    return {
        "regime_map": regime_map.draw(finding, beside) if not finding.problem and all_sizes(finding) else None,
        "tuning_best": best,
        "tuning": every,
        "learning_curves": learning_curves.draw(finding, records),
        "cost": cost.draw(finding),
    }


def _shown(
    finding: LimitFinding, figure: Figure, folder: Path, specs: dict[str, Any], beside: Sequence[LimitFinding]
) -> ShownFigure:
    spoken = _spoken_map(finding, beside) if figure.name == "regime-map" else ""
    return show(figure, folder, FIGURES, specs, spoken=spoken)


def _spoken_map(finding: LimitFinding, beside: Sequence[LimitFinding]) -> str:
    return regimes.spoken(finding) + spoken_beside(finding, beside)


def _render(
    finding: LimitFinding,
    records: Sequence[TrialRecord],
    shown: dict[str, ShownFigure | None],
    specs: dict[str, Any],
    beside: Sequence[LimitFinding],
) -> str:
    percent = quantities.is_percent(finding)
    return render(
        "report.html.j2",
        specs,
        finding=finding,
        sentence=verdict.sentence(finding),
        rests_on=verdict.rests_on(finding),
        unfinished=verdict.is_unfinished(finding),
        cards=cards(finding),
        shown=shown,
        sets=tables.set_rows(finding, beside),
        sets_warning=verdict.further_with_less(finding, beside),
        sizes=tables.size_rows(finding),
        blocks=tables.recipe_blocks(finding),
        devices=tables.device_rows(finding),
        environment=tables.environment_rows(finding, records),
        command=reproduce_command(finding, beside),
        train=train_command(finding.workload),
        estimate=lambda known: unbroken(quantities.estimate_text(known, percent=percent)),
        metric=functools.partial(quantities.metric_text, percent=percent, digits=2),
        count=quantities.count,
        counted=quantities.counted,
        large_count=quantities.large_count,
        length=quantities.length,
        span=quantities.span,
        decisions={"pass": "reaches the target", "fail": "falls short", "undecided": "undecided", None: ""},
    )


def cards(finding: LimitFinding) -> list[tuple[str, str, str]]:
    """Return the headline numbers as (number, name, what is known about it); none where there is no verdict."""
    if finding.problem:
        return []
    end, percent, full = finding.dataset_size, quantities.is_percent(finding), finding.full
    limits = [
        ("linear scaling holds up to (B_L)", finding.small_up_to),
        ("best recipe reaches the target up to (B_H)", finding.large_up_to),
    ]
    shown = [
        (
            quantities.count(limit.value) if limit.value is not None else "undecided" if limit.undecided else "none",
            name,
            verdict.boundary_text(limit, end=end),
        )
        for name, limit in limits
    ]
    if full is not None:
        best = verdict.reached_by(full)
        mean = quantities.metric_text(best.metric.mean if best else None, percent=percent)
        known = verdict.in_vain_words(finding, full) if verdict.tried_in_vain(full) else "not measured"
        if best is not None:
            known = f"{best.name}: {quantities.estimate_text(best.metric, percent=percent)}"
        number = "diverged" if best is not None and best.metric.mean is None else mean
        shown.append((number, f"best {finding.metric_name} at full batch (B_F = {quantities.count(end)})", known))
    return shown


def reproduce_command(finding: LimitFinding, beside: Sequence[LimitFinding] = ()) -> str:
    """Return the command that asks the same question again (its trials are found in the ledger, where it is kept)."""
    words = ["batchlimit", "find", finding.workload, "--epochs", finding.training_budget.removesuffix(" epochs")]
    words += ["--budget", str(finding.budget), "--seeds", str(finding.seeds[0])]
    words += ["--tuner", finding.tuner] if finding.tuner != "grid" else []
    sets = ",".join(found.techniques for found in (*beside, finding))
    words += ["--techniques", sets] if sets != "modern" else []
    words += ["--exhaustive"] if finding.search == "exhaustive" else []
    words += ["--paper-protocol"] if finding.protocol == "paper" else []
    return shlex.join([*words, *assignments(finding.changes)])
