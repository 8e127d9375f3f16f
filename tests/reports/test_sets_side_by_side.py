"""Two technique sets on one page: the data of the map, the table of sets, and a page that is as ever with one set."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from sample_finding import digits_finding, loss_finding, paper_finding, paper_loss_finding, problem_finding, records_of

from batchlimit.findings import Boundary
from batchlimit.reports.figures import beside, regime_map, regimes
from batchlimit.reports.page import reproduce_command, write_report
from batchlimit.reports.tables import set_rows
from batchlimit.reports.verdict import further_with_less, limit_text


def marks(name: str) -> list[dict[str, object]]:
    """Return the layers of the two-set map whose mark is `name`."""
    (spec,) = regime_map.draw(digits_finding(), (paper_finding(),)).panel_specs
    return [layer for layer in spec["layer"] if layer["mark"]["type"] == name]


def test_one_set_is_drawn_as_ever() -> None:
    alone, given = regime_map.draw(digits_finding()), regime_map.draw(digits_finding(), ())
    assert alone.panel_specs == given.panel_specs
    assert alone.panel_specs[0]["height"] == 380
    assert all("techniques" not in row for row in alone.rows)
    assert "B_H" not in alone.caption
    assert set_rows(digits_finding(), ()) == []
    assert "--techniques" not in reproduce_command(digits_finding())


def test_the_figure_has_every_point_of_both_sets_and_both_limits(tmp_path: Path) -> None:
    finding, other = digits_finding(), paper_finding()
    write_report(finding, records_of(finding), tmp_path, (other,))
    rows = list(csv.DictReader((tmp_path / "figures" / "regime-map.csv").open()))
    limits = {row["techniques"]: row["batch_size"] for row in rows if row["series"] == "B_H"}
    assert limits == {"modern": "512", "paper": "256"}
    grey = {
        int(row["batch_size"]): row for row in rows if (row["techniques"], row["series"]) == ("paper", "best recipe")
    }
    assert set(grey) == {32, 64, 128, 256, 512, 1000}
    for size in other.by_batch_size:
        if size.best is not None:
            assert float(grey[size.batch_size]["metric"]) == size.best.metric.mean
    assert {row["techniques"] for row in rows} == {"modern", "paper"}
    assert sum(row["techniques"] == "modern" for row in rows) == len(regimes.points(finding)) + 1


def test_a_point_that_both_sets_share_is_marked_once() -> None:
    rings = [row for layer in marks("point") if layer["mark"].get("style") == "muted-line" for row in values(layer)]
    assert sorted(row["batch_size"] for row in rings) == [256, 512, 1000]


def values(layer: dict[str, object]) -> list[dict[str, object]]:
    (spec,) = regime_map.draw(digits_finding(), (paper_finding(),)).panel_specs
    found = spec["datasets"][layer["data"]["name"]] if "name" in layer["data"] else layer["data"]["values"]
    assert isinstance(found, list)
    return found


def test_bars_say_how_far_each_set_reaches() -> None:
    own, grey = beside.reaches(digits_finding(), (paper_finding(),))
    assert (own.text, own.batch_size, own.own) == ("modern techniques: B_H = 512", 512, True)
    assert (grey.text, grey.batch_size, grey.own) == ("paper techniques: B_H = 256", 256, False)
    strip = beside.strip_height(2)
    assert 0 < own.text_y < own.bar_y < grey.text_y < grey.bar_y < strip
    nowhere = digits_finding(large_up_to=Boundary(next_fail=32))
    assert beside.reaches(nowhere, (paper_finding(),))[0].batch_size is None
    assert beside.reaches(digits_finding(), ()) == []


@pytest.mark.parametrize(
    ("boundary", "text"),
    [
        (Boundary(value=512, next_fail=1000), "512"),
        (Boundary(value=64, next_fail=256, undecided=(128,)), "64 (undecided: 128)"),
        (Boundary(next_fail=32), "none"),
        (Boundary(undecided=(32, 64)), "undecided"),
    ],
)
def test_a_limit_in_words(boundary: Boundary, text: str) -> None:
    assert limit_text(boundary) == text


def test_the_table_of_sets_ends_with_the_verdicts_own() -> None:
    first, last = set_rows(digits_finding(), (paper_finding(),))
    assert (first.techniques, first.linear, first.best, first.full_name) == (
        "paper",
        "64 (undecided: 128)",
        "256",
        "lars",
    )
    assert (last.techniques, last.best, last.full_name, last.trials) == ("modern", "512", "lamb", 164)
    assert first.trials == 171
    assert first.full_decision == "fail"
    assert set_rows(problem_finding(), (paper_finding(),))[1].full is None


def test_a_set_that_has_all_of_another_names_its_other_recipes() -> None:
    larger = digits_finding().model_copy(update={"recipes": ("kfac", *paper_finding().recipes, "lion")})
    rows = set_rows(larger, (paper_finding(),))
    assert [(row.contains, row.recipes) for row in rows] == [("", paper_finding().recipes), ("paper", ("kfac", "lion"))]
    apart = set_rows(digits_finding(), (paper_finding(),))
    assert [row.contains for row in apart] == ["", ""]
    assert [row.contains for row in set_rows(paper_finding(), (larger,))] == ["paper", ""]
    smaller = paper_finding().model_copy(update={"techniques": "less", "recipes": ("lars",)})
    assert set_rows(larger, (smaller, paper_finding()))[-1].contains == "paper"


@pytest.mark.parametrize(
    ("reach", "recipes", "warned"),
    [
        (Boundary(value=256, undecided=(1000,)), ("lars", "lamb"), True),
        (Boundary(value=1000), ("lars",), True),
        (Boundary(value=256, next_fail=512), ("lars", "lamb"), False),
        (Boundary(value=512, next_fail=1000), ("lars", "lamb"), False),
        (Boundary(value=1000), ("lars", "adam"), False),  # other recipes may well reach further
    ],
)
def test_a_part_of_the_recipes_that_may_reach_further_is_told(
    reach: Boundary, recipes: tuple[str, ...], warned: bool
) -> None:
    """The verdict's own set fails at 1,000."""
    other = paper_finding().model_copy(update={"large_up_to": reach, "recipes": recipes})
    told = further_with_less(digits_finding(), (other,))
    assert ("not known to fail at 1,000" in told) is warned
    assert bool(told) is warned


def test_the_command_asks_for_both_sets() -> None:
    assert "--techniques paper,modern" in reproduce_command(digits_finding(), (paper_finding(),))
    assert "--techniques modern,paper" in reproduce_command(paper_finding(), (digits_finding(),))


def test_the_page_shows_both_and_says_which_is_the_verdict(pages: dict[str, Path]) -> None:
    text, alone = pages["two sets"].read_text(encoding="utf-8"), pages["digits"].read_text(encoding="utf-8")
    assert 'id="sets"' in text
    assert "the verdict above" in text
    assert "modern techniques: B_H = 512; paper techniques: B_H = 256" in text  # spoken
    assert 'id="sets"' not in alone
    assert "paper techniques" not in alone


@pytest.mark.parametrize(
    ("finding", "other"), [(digits_finding(), paper_finding()), (loss_finding(), paper_loss_finding())]
)
def test_the_name_of_the_other_line_stands_at_one_of_its_own_points(finding: object, other: object) -> None:
    rows, grey = regimes.points(finding), beside.beside_points(other)  # type: ignore[arg-type]
    box = regimes.frame(finding, [*rows, *grey])  # type: ignore[arg-type]
    drawn, line = (regimes.drawn_points(finding, part, box) for part in (rows, grey))  # type: ignore[arg-type]
    label = beside.beside_label(line, drawn, regimes.labels(finding, drawn, "modern"), box, 380)  # type: ignore[arg-type]
    assert label is not None
    assert label.style == "muted"
    (at,) = [row for row in line if row["batch_size"] == label.batch_size]
    assert label.text == f"paper: {at['recipe']}"
    assert at in beside.apart(line, drawn)
