"""A study's results as a page of the documentation: Markdown with compact pictures beside it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import vl_convert
from PIL import Image

from batchlimit.reports import study_account, study_comparisons, study_tables
from batchlimit.reports.export import as_svg
from batchlimit.reports.figures.figure import Figure
from batchlimit.reports.folder import check_writable, write_atomically
from batchlimit.reports.study_page import FIGURES, figures, page_stem, reproduce_command
from batchlimit.reports.study_tables import Cell, Table
from batchlimit.studies.results import StudyResult

PICTURE_BYTES = 100_000
_COLOURS = 96
_SCALES = (1.5, 1.2, 1.0, 0.8, 0.6)
_MOST_COMPARISONS = 30
# What can begin markup anywhere in a line (an underscore within a word does not), and what can only at its beginning:
# items of lists, rules, underlines of headings, definitions, comments, targets. '98.4 %' and '+0.3' begin nothing.
_SPECIAL = re.compile(r"([\\`*{}\[\]#|~$^<>&]|(?<![^\W_])_|_(?![^\W_]))")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
_BEGINNING = re.compile(r"^(?:[-+](?=[-+\s]|$)|[=:%]|\((?=.*\)=))")


def write_markdown(result: StudyResult, folder: str | Path) -> Path:
    """Write `<study>.md` and `figures/<study>/*.png` (at most 100 kB each) to `folder`; return the path of the page.

    Raises:
        InputError: the folder cannot be written to.
    """
    folder = check_writable(folder)
    below = f"{FIGURES}/{page_stem(result.study)}"
    drawn, _ = figures(result)
    if drawn:
        check_writable(folder / below)
    for figure in drawn:
        write_atomically(folder / below / f"{figure.name}.png", compact_png(as_svg(figure)))
    path = folder / f"{page_stem(result.study)}.md"
    write_atomically(path, page_text(result, drawn, below))
    return path


def compact_png(svg: str) -> bytes:
    """Return an SVG as a PNG of few colours, smaller where it would be above 100 kB."""
    data = b""
    for scale in _SCALES:
        drawn = Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=scale, ppi=72))).convert("RGB")
        held = io.BytesIO()
        drawn.quantize(_COLOURS, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
        data = held.getvalue()
        if len(data) <= PICTURE_BYTES:
            break
    return data


def page_text(result: StudyResult, drawn: Sequence[Figure], below: str) -> str:
    """Return the page: what was asked, claims, pictures, tables, and what it took."""
    study = result.study
    lines = [f"# {escaped(study.question)}", ""]
    about = f"Study `{page_stem(study)}`" + (f", {escaped(study.paper)} of the paper" if study.paper else "")
    lines += [f"{about}. {escaped(study_account.effort_line(result))}", ""]
    state = study_account.state_words(result)
    if state != "finished":
        lines += [f"**Not the whole study:** {escaped(state)}.", ""]
    for words in study_account.refusals(result):
        lines += [escaped(words), ""]
    if study.note:
        lines += [escaped(study.note), ""]
    lines += _claims(result)
    for figure in drawn:
        lines += [f"## {escaped(figure.title)}", ""]
        lines += [f"![{escaped(figure.title)}]({below}/{figure.name}.png)", "", escaped(figure.caption), ""]
    for spec in study.tables:
        lines += _table(study_tables.table(result, spec))
    heads, rows = study_tables.context_table(study)
    if heads:
        lines += ["## As published", "", *grid(heads, rows), ""]
    lines += _papers(result) + _comparisons(result)
    lines += ["## What it took", "", escaped(study_account.cost_line(result)), ""]
    command = " ".join(reproduce_command(result).split())
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", command)), 0)
    lines += [f"{fence}console", f"$ {command}", fence, ""]
    return "\n".join(lines)


def _claims(result: StudyResult) -> list[str]:
    claims = study_tables.claim_rows(result)
    if not claims:
        return []
    counts = study_tables.agreement_words(study_tables.agreement_counts(claims))
    of_a_paper = result.study.of_a_paper
    rows = [
        (
            f"{claim.text} ({claim.source})" if claim.source else claim.text,
            *([claim.paper] if of_a_paper else []),
            claim.ours,
            "; ".join(filter(None, (claim.agreement, claim.reason))),
        )
        for claim in claims
    ]
    heads = ("claim", *(["the paper"] if of_a_paper else []), "here", "verdict")
    title = "## Does our data agree with the paper?" if result.study.paper else "## Do the data support the claims?"
    return [title, "", f"**{escaped(counts)}.** {escaped(study_tables.JUDGED)}", "", *grid(heads, rows), ""]


def _table(table: Table) -> list[str]:
    if not table.rows:
        return []
    rows = ["| " + " | ".join([escaped(name), *(_cell(cell) for cell in cells)]) + " |" for name, cells in table.rows]
    return [f"## {escaped(table.title)}", "", *_head((table.corner, *table.heads)), *rows, "",
            escaped(" ".join(table.notes)), ""]  # fmt: skip


def _cell(cell: Cell) -> str:
    text = escaped(cell.text) or "–"
    text = f"**{text}**" if cell.best else text
    if cell.diverged and cell.status == "measured":
        text += f"; {cell.diverged} diverged"
    return f"{text}; paper: {escaped(cell.paper)}" if cell.paper else text


def _papers(result: StudyResult) -> list[str]:
    papers = study_tables.paper_rows(result)
    if not papers:
        return []
    rows = [(row.where, row.value, row.ours, row.setting, row.source) for row in papers]
    heads = ("for", "the paper", "here", "measured by the paper on", "source")
    return ["## What does the paper report?", "", *grid(heads, rows), ""]


def _comparisons(result: StudyResult) -> list[str]:
    compared = study_comparisons.comparisons(result)
    if not compared:
        return []
    title = "## Which differences are more than chance?"
    told = [row for row in compared if row.decided]
    if not told:
        return [title, "", escaped(study_comparisons.undecided_note(compared)), ""]
    by_p = sorted(told, key=lambda row: 2.0 if row.corrected is None else row.corrected)
    rows = [
        (
            f"{row.first} − {row.second}",
            row.where,
            row.text,
            str(row.n),
            study_comparisons.p_words(row.corrected),
            row.verdict,
        )
        for row in by_p[:_MOST_COMPARISONS]
    ]
    note = study_comparisons.comparison_note(compared)
    if len(told) < len(compared):
        note += f" {len(compared) - len(told)} are not decided, and not shown."
    if len(by_p) > _MOST_COMPARISONS:
        note += f" Of the others the {_MOST_COMPARISONS} with the smallest p-values are shown."
    heads = ("compared", "where", "difference (95 % interval)", "seeds", "p, corrected", "verdict")
    return [title, "", *grid(heads, rows), "", escaped(note), ""]


def grid(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; an empty cell gets a dash."""
    return [*_head(heads), *("| " + " | ".join(escaped(text) or "–" for text in row) + " |" for row in rows)]


def _head(heads: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(escaped(head) or " " for head in heads) + " |", "|" + "---|" * len(heads)]


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, no role, no line of its own."""
    flat = " ".join(text.split())
    shown = _SPECIAL.sub(r"\\\1", flat)
    return _BEGINNING.sub(r"\\\g<0>", _NUMBERED.sub(r"\1\\\2", shown))
