"""A schedule as a figure: its rows are the schedule, and each kind of file is what its name says."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from batchlimit.errors import InputError
from batchlimit.reports.export import write_figure
from batchlimit.reports.figures.schedule import draw, factors


def test_the_rows_are_the_schedule_by_hand() -> None:
    rows = factors("polynomial", {"power": 2.0}, total_steps=6, warmup_steps=2)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["factor"] for row in rows] == pytest.approx([0.5, 1.0, 1.0, 0.5625, 0.25, 0.0625])


def test_a_long_training_is_drawn_by_some_of_its_steps_and_the_caption_says_so() -> None:
    figure = draw("cosine", {}, total_steps=1_000_001, warmup_steps=0)
    steps = [row["step"] for row in figure.rows]
    assert len(steps) == 2000
    assert (steps[0], steps[-1]) == (0, 1_000_000)
    assert steps == sorted(set(steps))
    assert "2,000 of the steps are drawn" in figure.caption
    assert "are drawn" not in draw("cosine", {}, total_steps=2000, warmup_steps=0).caption


def test_the_end_of_warmup_is_marked_where_there_is_one() -> None:
    marked = [
        "warmup ends" in str(draw("cosine", {}, total_steps=50, warmup_steps=warmup).panel_specs[0])
        for warmup in (0, 5, 50, 60)
    ]
    assert marked == [False, True, False, False]


def test_each_kind_of_file_is_what_its_name_says(tmp_path: Path) -> None:
    figure = draw("cosine", {"end": 0.5}, total_steps=4, warmup_steps=1, title="A <title> & more")
    for kind in ("svg", "png", "pdf", "csv", "html"):
        write_figure(figure, tmp_path / f"curve.{kind}")
    assert "A <title> & more" in "".join(ET.parse(tmp_path / "curve.svg").getroot().itertext())
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "curve.pdf").read_bytes().startswith(b"%PDF")
    with (tmp_path / "curve.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["factor"]) for row in table] == [row["factor"] for row in figure.rows]
    page = (tmp_path / "curve.html").read_text()
    assert "<script src" not in page
    assert "<title>A &lt;title&gt; &amp; more</title>" in page
    assert "A <title>" not in page  # escaped within the script too
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".html", ".pdf", ".png", ".svg"]


def test_other_names_are_refused(tmp_path: Path) -> None:
    figure = draw("cosine", {}, total_steps=4, warmup_steps=0)
    with pytest.raises(InputError, match=r"'curve.gif'. Valid: .*\.svg"):
        write_figure(figure, tmp_path / "curve.gif")
    with pytest.raises(InputError, match="Cannot write the figure"):
        write_figure(figure, tmp_path / "nowhere" / "curve.csv")
    assert not list(tmp_path.iterdir())
