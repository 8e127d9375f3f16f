"""What is said where trials were run and nothing was measured: sizes tried in vain, and searches that were stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_finding import digits_finding, paper_finding, problem_finding, records_of
from test_report_page import Document

from batchlimit.findings import Boundary, Cost, LimitFinding, TunedPoint
from batchlimit.reports import tables
from batchlimit.reports.page import cards, reproduce_command, write_report
from batchlimit.reports.verdict import UNFINISHED, sentence, summary_lines, tried_in_vain


def in_vain(ends: tuple[str, ...] = ("pruned",) * 10, **changes: object) -> LimitFinding:
    """The digits finding, whose tuning trials at the full batch ended as `ends` says."""
    finding = digits_finding()
    assert finding.full is not None
    share = {"lars": len(ends) // 2, "lamb": len(ends) - len(ends) // 2}
    tried = tuple(
        tuned.model_copy(update={"best": None, "recipe": None, "trials": share[tuned.name]})
        for tuned in finding.full.tried
    )
    full = finding.full.model_copy(update={"linear": None, "best": None, "tried": tried, "trials": len(ends)})
    points = tuple(
        TunedPoint(name="lamb", batch_size=1000, lr=0.1, warmup="0 epochs", metric=None, status=end) for end in ends
    )
    elsewhere = tuple(point for point in finding.tuned_points if point.batch_size != 1000)
    sizes = (*finding.by_batch_size[:-1], full)
    return digits_finding(full=full, by_batch_size=sizes, tuned_points=(*elsewhere, *points), **changes)


def stopped(**changes: object) -> LimitFinding:
    """A search stopped before its first batch of trials was whole, as `tuning.conclusion` tells of it."""
    nothing = {
        "problem": UNFINISHED,
        "baseline": None,
        "small_up_to": Boundary(value=16),
        "large_up_to": Boundary(value=16),
        "tuned_points": (),
        "cost": Cost(),
        "by_batch_size": tuple(
            size.model_copy(update={"linear": None, "best": None, "tried": (), "trials": 0, "samples": 0})
            for size in digits_finding().by_batch_size
        ),
        "full": None,
    }
    return digits_finding(**{**nothing, **changes})


def shown(finding: LimitFinding, folder: Path, beside: tuple[LimitFinding, ...] = ()) -> Document:
    path = write_report(finding, records_of(finding), folder, beside)
    return Document(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (("pruned",) * 10, "none of 10 tuning trials came near the target (all stopped early)"),
        (("diverged",) * 10, "none of 10 tuning trials came near the target (all diverged)"),
        (
            ("pruned",) * 8 + ("diverged",) * 2,
            "none of 10 tuning trials came near the target (8 stopped early and 2 diverged)",
        ),
        (("pruned",), "the one tuning trial came nowhere near the target (stopped early)"),
    ],
)
def test_a_full_batch_tried_in_vain_was_not_left_out(ends: tuple[str, ...], words: str) -> None:
    finding = in_vain(ends)
    assert sentence(finding).endswith(f"; at full batch (1,000) {words}.")
    assert cards(finding)[-1][2] == words
    untold = finding.model_copy(update={"tuned_points": ()})
    assert "(all stopped early or diverged)" in sentence(untold) or len(ends) == 1


def test_a_size_tried_in_vain_is_not_called_skipped(tmp_path: Path) -> None:
    finding = in_vain()
    rows = tables.size_rows(finding)
    assert [row.in_vain for row in rows] == [0, 0, 0, 0, 0, 10]
    text = " ".join(shown(finding, tmp_path).visible.split())
    table = text[text.index("What was measured at each batch size?") : text.index("Which recipe should I use?")]
    assert "none near the target" in table[table.index("1,000") :]
    assert "stopped early as hopeless or diverged" in table
    assert "None near the target" not in " ".join(shown(digits_finding(), tmp_path).visible.split())


def test_a_set_whose_full_batch_was_tried_in_vain_says_so(tmp_path: Path) -> None:
    other = in_vain(techniques="other", recipes=("lamb",))
    never = paper_finding().model_copy(update={"full": None})
    rows = tables.set_rows(digits_finding(), (other, never))
    assert [row.full_known for row in rows] == ["none near the target", "not measured", ""]
    assert "none near the target" in shown(digits_finding(), tmp_path, (other,)).visible


def test_a_measured_size_is_never_in_vain() -> None:
    assert not any(tried_in_vain(size) for size in digits_finding().by_batch_size)
    full = in_vain().full
    assert full is not None
    passing = full.model_copy(update={"best": digits_finding().by_batch_size[0].linear})
    assert tried_in_vain(passing) == 0


def test_the_page_of_a_stopped_search_says_how_to_go_on(tmp_path: Path) -> None:
    finding = stopped()
    document = shown(finding, tmp_path)
    text = " ".join(document.visible.split())
    command = reproduce_command(finding)
    assert f"The search is not finished; run {command} again, with the same ledger, to go on." in text
    assert document.blocks.count(command) == 2
    ids = {attributes.get("id") for _, attributes in document.tags}
    assert not ids & {"devices", "map", "sizes"}
    assert "How many devices" not in text
    assert "0 trials" not in text
    assert not (tmp_path / "figures" / "regime-map.svg").exists()
    assert not any("Cost" in line for line in summary_lines(finding))


def test_what_a_stopped_search_has_spent_is_a_lower_bound(tmp_path: Path) -> None:
    finding = stopped(cost=digits_finding().cost)
    assert summary_lines(finding)[-1].startswith("Cost so far: at least 164 trials, 3.28 million training examples")
    assert "So far at least 164 trials" in shown(finding, tmp_path).visible
    assert summary_lines(digits_finding())[-1].startswith("Cost: 164 trials")


def test_a_search_that_cannot_go_on_is_not_said_to(tmp_path: Path) -> None:
    text = " ".join(shown(problem_finding(), tmp_path).visible.split())
    assert "to go on" not in text
    assert "5 trials" in text
    assert "So far" not in text
