"""The index over the studies of a ledger: each question with its state, its claims and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchlimit.reports import study_account, study_tables
from batchlimit.reports.document import render
from batchlimit.reports.embedding import data_uri
from batchlimit.reports.export import as_svg
from batchlimit.reports.figures.studies.cells import stem
from batchlimit.reports.folder import check_writable, write_atomically
from batchlimit.reports.quantities import counted, listed
from batchlimit.reports.study_page import FIGURES, MARKS, figures, page_name, page_stem
from batchlimit.studies.results import StudyResult

PAGE = "index.html"


@dataclass(frozen=True)
class Entry:
    """What the index says of one study."""

    name: str
    question: str
    paper: str
    workload: str
    scale: str
    state: str
    finished: bool
    trials: int
    agreement: dict[str, int]
    of_a_paper: bool
    picture: str
    link: str


def write_index(results: Sequence[StudyResult], folder: str | Path) -> Path:
    """Write `index.html` over studies whose pages are in `folder`; return its path.

    A study's picture is its first figure, as `write_study` left it, or drawn again where it did not.

    Raises:
        InputError: the folder cannot be written to.
    """
    folder = check_writable(folder)
    entries = [entry(result, folder) for result in results]
    page = render(
        "index.html.j2",
        {},
        entries=entries,
        workloads=listed(list(dict.fromkeys(entry.workload for entry in entries))),
        summary=_summary(entries),
        marks=MARKS,
        counted=counted,
        agreed=study_tables.agreed,
    )
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def entry(result: StudyResult, folder: Path) -> Entry:
    """Return what the index says of a study whose page is in `folder`."""
    study = result.study
    return Entry(
        name=study.name,
        question=study.question,
        paper=study.paper,
        workload=result.facts.workload,
        scale=result.effort.scale,
        state=study_account.state_words(result),
        finished=study_account.is_finished(result),
        trials=study_account.trial_count(result),
        agreement=study_tables.agreement_counts(study_tables.claim_rows(result)),
        of_a_paper=bool(study.paper),
        picture=_picture(result, folder),
        link=page_name(study),
    )


def _picture(result: StudyResult, folder: Path) -> str:
    for spec in result.study.figures:
        kept = folder / FIGURES / page_stem(result.study) / f"{stem(spec.name)}.svg"
        if kept.is_file():
            return data_uri(kept.read_text(encoding="utf-8", errors="replace"))
    drawn, _ = figures(result)
    return data_uri(as_svg(drawn[0])) if drawn else ""


def _summary(entries: Sequence[Entry]) -> str:
    finished = sum(entry.finished for entry in entries)
    counts = {name: sum(entry.agreement.get(name, 0) for entry in entries) for name in study_tables.AGREEMENTS}
    words = study_tables.agreement_words({name: number for name, number in counts.items() if number})
    claims = sum(counts.values())
    whose = " of the paper" if all(entry.of_a_paper for entry in entries if entry.agreement) else ""
    told = f" {counted(claims, 'claim')}{whose}: {words}." if claims else ""
    return f"{finished} of {len(entries)} finished.{told}"
