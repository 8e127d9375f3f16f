"""`batchlimit schedules`: lists everything there is, draws any of it, and loads no torch for it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from batchlimit.cli.app import app
from batchlimit.cli.curves import plot, sketch
from batchlimit.cli.schedules import asked_for
from batchlimit.schedules import schedules
from batchlimit.schedules.build import schedule_options
from batchlimit.schedules.figures import PAPER_FIGURES


def ran(*arguments: str, code: int = 0) -> str:
    outcome = CliRunner().invoke(app, ["schedules", *arguments])
    assert outcome.exit_code == code, outcome.output
    return outcome.stdout if code == 0 else outcome.stderr


def drawn(*arguments: str) -> dict[str, Any]:
    content = json.loads(ran(*arguments, "--json"))
    assert isinstance(content, dict)
    return content


def test_the_list_has_every_schedule_with_its_options_and_every_figure() -> None:
    text = ran()
    listed = drawn()
    assert list(listed["schedules"]) == schedules.names()
    assert list(listed["figures"]) == [f"figure-{number}" for number in PAPER_FIGURES]
    for name in [*listed["schedules"], *listed["figures"]]:
        assert name in text
    for name, entry in listed["schedules"].items():
        assert entry["options"] == schedule_options(name)
    assert "grain=regular (fine, regular, coarse)" in " ".join(text.split())


def test_a_drawing_is_the_schedule() -> None:
    found = drawn("polynomial", "--total", "6", "--warmup", "2", "--option", "power=2")
    assert (found["name"], found["options"], found["total_steps"]) == ("polynomial", {"power": 2}, 6)
    assert found["steps"] == [0, 1, 2, 3, 4, 5]
    assert found["factors"] == pytest.approx([0.5, 1.0, 1.0, 0.5625, 0.25, 0.0625])


@pytest.mark.parametrize("number", PAPER_FIGURES)
def test_figures_of_the_paper_have_their_own_schedule_options_and_warmup(number: int) -> None:
    title, warms_up, name, options = PAPER_FIGURES[number]
    for spelled in (f"figure-{number}", f"Figure {number}", f"fig{number}", str(number)):
        found = asked_for(spelled, 200, None, [])
        assert (found.name, found.options, found.warmup_steps) == (name, options, 20 if warms_up else 0)
        assert title in found.title
    assert asked_for(f"figure-{number}", 200, "0", []).warmup_steps == 0
    assert f"Figure {number} of the paper" in ran(f"figure-{number}", "--total", "50")


def test_options_of_a_figure_can_be_changed_and_lengths_have_units() -> None:
    assert asked_for("figure-33", 100, "5%", ["low=0.5"]).options == {"length": 0.4, "low": 0.5}
    assert [asked_for("cosine", 300, text, []).warmup_steps for text in ("7", "7 steps", "10%", "2.5")] == [
        7,
        7,
        30,
        2.5,
    ]
    assert asked_for("trapezoid", 9, None, ["decay_shape=sqrt", "warmup_from_zero=true"]).options == {
        "decay_shape": "sqrt",
        "warmup_from_zero": True,
    }


def test_a_figure_is_written_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ran("figure-28", "--total", "40", "--out", "curve.csv").splitlines()[-1] == "Figure: curve.csv"
    with (tmp_path / "curve.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(40))
    ran("cosine", "--out", "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cosin",), "Did you mean 'cosine'?"),
        (("figure-30",), "Valid: constant, cosine, cosine-cycles, cyclical, figure-23"),
        (("cosine", "--option", "power=2"), "has no option 'power'. Valid: end, warmup_from_zero, warmup_shape"),
        (("cosine", "--option", "end"), "Valid: key=value"),
        (("cosine", "--option", "end=2"), "'end' is 2. Valid: 0 to 1"),
        (("cosine", "--warmup", "5 epochs"), "Valid: '50 steps', '5%'"),
        (("cosine", "--warmup", "soon"), "Cannot read the duration 'soon'"),
        (("cosine", "--total", "0"), "--total"),
        (("cosine", "--out", "curve.gif"), "Valid: a name that ends in .svg, .png"),
        (("--warmup", "5"), "Which schedule is to be drawn?"),
        (("--total", "5"), "Which schedule is to be drawn?"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = ran(*arguments, code=2)
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_plot_in_ascii_by_hand() -> None:
    lines = plot([0.0, 1.0, 0.5, 0.5], 4, width=28, height=3, braille=False)
    assert lines == [
        "   1 |     ******",
        " 0.5 |     *    **********",
        "   0 |******",
        "     +--------------------",
        "      0        2   4 steps",
    ]
    assert plot([1.0, 1.0], 1, width=28, height=3, braille=False)[-1].endswith("  1 step")


@pytest.mark.parametrize("braille", [True, False])
@pytest.mark.parametrize("width", [10, 40, 79])
def test_a_plot_fits_its_width_and_its_curve_has_no_gaps(braille: bool, width: int) -> None:
    lines = plot([step / 99 for step in range(100)], 100, width=width, height=13, braille=braille)
    assert len(lines) == 15
    assert max(map(len, lines)) <= max(28, width)
    body = [line[6:].ljust(max(20, width - 8)) for line in lines[:13]]
    assert all(any(row[column] != " " for row in body) for column in range(max(20, width - 8)))


def test_a_sketch_tells_high_from_low() -> None:
    assert sketch([1.0, 1.0, 0.0, 0.0], width=4) == "⠉⠉⣇⣀"
    assert sketch([0.0, 1.0] * 50, width=3) == "⣿⣿⣿"


def test_drawing_loads_no_torch() -> None:
    code = (
        "import sys; from batchlimit.cli.app import app; from typer.main import get_command\n"
        "command = get_command(app)\n"
        "for arguments in (['schedules'], ['schedules', 'figure-26'], ['schedules', 'cosine', '--json']):\n"
        "    command.main(arguments, standalone_mode=False)\n"
        "heavy = {'torch', 'scipy', 'optuna', 'altair', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
