"""`batchlimit study` and `batchlimit list studies` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from batchlimit.cli.app import app
from batchlimit.cli.study import _asked
from batchlimit.studies import studies

FILE = 'name = "mine"\nquestion = "Which solver?"\nbatch_size = ["full"]\nsolver = ["momentum", "adam"]\n'
OWN = """
from batchlimit.studies import Study
from batchlimit.studies.arm import Arm

def arms(facts, effort, **changes):
    labels, recipe = {"solver": "mine"}, facts.baseline
    return [Arm(labels=labels, batch_size=16, epochs="1 epochs", recipe=recipe, seeds=1, **changes)]

guessing = Study("a", "?", arms=lambda *given: arms(*given, space={"lr": [0.1, 0.2]}, budget=2, tuner="guess"))
too_large = Study("b", "?", arms=lambda *given: [arms(*given)[0].updated({"batch_size": 10**6})])
broken = Study("c", "?", arms=lambda *given: 1 / 0)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(FILE)
    (tmp_path / "probing.toml").write_text(f'{FILE}probes = ["nope"]\n')
    (tmp_path / "varied.toml").write_text(f"{FILE}[variants.a]\nlrr = 3\n")
    (tmp_path / "also-mine.toml").write_text(FILE)
    (tmp_path / "labelled.toml").write_text(f'{FILE}[[tables]]\nname = "t"\ntitle = "?"\nrows = "slover"\n')
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "choosing.toml").write_text(f'{FILE}[tune]\nsolver = ["momentum", "adma"]\n')
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_study_ends_with_a_page_and_an_index(here: Path) -> None:
    done = call("study", "mine.toml", "--scale", "smoke", "--jobs", "1", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    (study,) = answer["studies"]
    assert study["study"] == "mine"
    assert [arm["n"] for arm in study["arms"]] == [2, 2]
    assert all(0 <= arm["low"] <= arm["high"] <= 1 for arm in study["arms"])
    page = (here / study["report"]).read_text()
    assert "Which solver?" in page
    assert "mine.html" in (here / answer["index"]).read_text()


def test_a_dry_run_trains_nothing_and_leaves_nothing(here: Path) -> None:
    before = set(here.iterdir())
    done = call("study", "mine.toml", "--scale", "smoke", "--jobs", "1", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    (plan,) = json.loads(done.stdout)["studies"]
    assert (plan["trials"], plan["known"]) == (8, 0)
    assert plan["seconds"] > 0
    assert set(here.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "Valid"),
        (("solverz",), "solvers"),
        (("mine.toml", "--workload", "digitz"), "digits"),
        (("mine.toml", "--scale", "smoke", "recipe.lrr=3"), "lrr"),
        (("mine.toml", "--scale", "smoke", "--seeds", "0"), "seeds"),
        (("mine.toml", "--scale", "smoke", "--max-hours", "-1"), "max_hours"),
        (("mine.toml", "--scale", "smoke", "color=3"), "color"),
        (("probing.toml", "--scale", "smoke"), "Unknown probe 'nope'"),
        (("probing.toml", "--scale", "smoke", "--dry-run"), "Unknown probe 'nope'"),
        (("mine.toml,also-mine.toml", "--scale", "smoke"), "are both called 'mine'"),
        (("labelled.toml", "--scale", "smoke"), "there is no label 'slover'"),
        (("records,labelled.toml", "--scale", "smoke"), "there is no label 'slover'"),
        (("choosing.toml", "--scale", "smoke", "--dry-run"), "Unknown solver 'adma'"),
        (("records,own.py:guessing",), "Unknown tuner 'guess'"),
        (("own.py:too_large", "--dry-run"), "batch_size 1000000 is above the 1000 training examples"),
        (("own.py:broken",), "its arms cannot be made: ZeroDivisionError"),
        (("own.py",), "guessing, too_large, broken; say which: 'own.py:guessing'"),
        (("records", "--scale", "big"), "Invalid value for '--scale': 'big' is not one of 'smoke', 'quick', 'paper'."),
        (("varied.toml", "--scale", "smoke"), "Unknown key 'variants.a.lrr'"),
        (
            ("varied.toml", "--scale", "smoke", "--dry-run"),
            "Unknown key 'variants.a.lrr'. Did you mean 'variants.a.lr'?",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(here: Path, words: tuple[str, ...], said: str) -> None:
    done = call("study", *words)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    assert not list(here.glob("batchlimit-*"))


def test_the_list_has_every_study_with_trials_and_time(here: Path) -> None:
    from batchlimit.studies import studies

    done = call("list", "studies", "--scale", "smoke", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["studies"]
    assert [study["name"] for study in found] == studies.names()
    assert all(study["question"].endswith("?") for study in found)
    assert all(study["seconds"] > 0 for study in found if study["trials"])
    assert call("list", "studies", "--scale", "smoke").exit_code == 0


def test_all_can_stand_among_other_names(here: Path) -> None:
    everything = list(studies)
    assert _asked("all,solvers") == everything
    assert _asked("solvers, all") == ["solvers", *(name for name in everything if name != "solvers")]
    assert _asked("all,mine.toml") == [*everything, "mine.toml"]
