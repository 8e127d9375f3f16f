"""`batchlimit train`: which workload, how long, and where the record goes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from batchlimit.cli.app import app
from batchlimit.cli.train import how_to_go_on
from batchlimit.config import TrialConfig
from batchlimit.engine import Execution
from batchlimit.ledger import Ledger

TOYS = Path(__file__).parent / "toys.py"
PASTED = 'workload = "toys.py:separable"\nbatch_size = 20\nbudget = "2 epochs"\n\n[recipe]\nlr = 0.05\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(TOYS, tmp_path)
    (tmp_path / "trial.toml").write_text(PASTED)
    (tmp_path / "two.toml").write_text("epochs = 2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(*arguments: str, code: int = 0) -> Result:
    outcome = CliRunner().invoke(app, ["train", *arguments])
    assert outcome.exit_code == code, outcome.output
    return outcome


def config(*arguments: str) -> dict[str, Any]:
    found = json.loads(ran(*arguments, "-q", "--json").stdout)["config"]
    assert isinstance(found, dict)
    return found


def refused(*arguments: str) -> str:
    lines = ran(*arguments, code=2).stderr.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_folder_in_the_place_of_the_record_is_refused_before_training(folder: Path) -> None:
    (folder / "adir").mkdir()
    said = refused("toys.py:separable", "--out", "adir")
    assert said == "batchlimit: --out 'adir' is a folder. Name a file in it, as 'adir/record.json'."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_file_that_cannot_be_written_at_the_end_does_not_lose_the_record() -> None:
    outcome = ran("toys.py:separable", "epochs=1", "--out", "/dev/full", "--ledger", "l.db", "-q", code=1)
    assert "No space left on device" in outcome.stderr
    with Ledger.open("l.db", create=False) as ledger:
        assert len(ledger) == 1


def test_a_pasted_recipe_names_its_workload() -> None:
    trained = config("--config", "trial.toml")
    assert (trained["workload"], trained["batch_size"], trained["budget"]) == ("toys.py:separable", 20, "2 epochs")


def test_settings_may_follow_where_the_file_names_the_workload() -> None:
    trained = config("recipe.lr=0.3", "seed=4", "--config", "trial.toml")
    assert (trained["workload"], trained["recipe"]["lr"], trained["seed"]) == ("toys.py:separable", 0.3, 4)
    assert config("workload=toys.py:separable", "epochs=1")["workload"] == "toys.py:separable"


def test_the_argument_wins_over_the_files_workload_and_says_so() -> None:
    outcome = ran("toys.py:normed", "--config", "trial.toml", "-q", "--json")
    assert json.loads(outcome.stdout)["config"]["workload"] == "toys.py:normed"
    (note,) = outcome.stderr.splitlines()
    assert note == "batchlimit: training 'toys.py:normed', not 'toys.py:separable' (from trial.toml)."
    assert ran("toys.py:separable", "--config", "trial.toml", "-q").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "WORKLOAD"),
        (("--config", "two.toml"), "WORKLOAD"),
        (("recipe.lr=0.3",), "WORKLOAD"),
        (("workload=3",), "must be text"),
    ],
)
def test_without_a_workload_one_line_says_so(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "length"),
    [
        (("--config", "two.toml"), "2 epochs"),
        (("--config", "two.toml", "--epochs", "1"), "1 epochs"),
        (("--config", "two.toml", "--epochs", "1", "epochs=3"), "3 epochs"),
        (("--config", "trial.toml", "epochs=1"), "1 epochs"),
        (("--config", "trial.toml", "epochs=1", "budget=30 steps"), "30 steps"),
    ],
)
def test_the_last_layer_decides_how_long(arguments: tuple[str, ...], length: str) -> None:
    assert config("toys.py:separable", *arguments)["budget"] == length


def test_epochs_and_budget_in_one_file_contradict_each_other(folder: Path) -> None:
    (folder / "both.toml").write_text("epochs = 2\nbudget = 3\n")
    assert "both 'epochs' and 'budget'" in refused("toys.py:separable", "--config", "both.toml")


def test_epochs_is_a_valid_key_and_no_table() -> None:
    assert (
        "Did you mean 'epochs'? Valid: batch_size, budget, checkpoint_seconds, checkpoints, data_dir, device, epochs"
        in refused("toys.py:separable", "epoch=3")
    )
    assert "Cannot read the duration" in refused("toys.py:separable", "epochs.x=3")


@pytest.mark.parametrize("setting", ["seed=true", "recipe.lr=true", "batch_size=true", "recipe.noise.std=true"])
def test_true_is_no_number(setting: str) -> None:
    more = ("recipe.noise.where=labels",) if "noise" in setting else ()
    key = setting.removesuffix("=true")
    assert f"{key} = true (from '{setting}'): must be a number" in refused("toys.py:separable", *more, setting)


def test_without_a_validation_split_the_progress_is_of_the_test_split(folder: Path) -> None:
    whole = "replace(separable(), load=lambda: replace(separable().load(), validation_size=0))"
    (folder / "whole.py").write_text(
        f"from dataclasses import replace\nfrom toys import separable\nworkload = {whole}\n"
    )
    outcome = ran("whole.py:workload", "epochs=1")
    assert "at batch size 10, 1 epoch, seed 0: 13 steps" in outcome.stdout
    said = outcome.stderr
    assert "test " in said
    assert "validation" not in said
    assert "validation " in ran("toys.py:separable", "epochs=1").stderr


@pytest.mark.parametrize(
    ("probes", "kept", "words"),
    [
        ((), True, "The same command goes on where this trial was last saved"),
        ((), False, "This trial is lost; the same command starts it again. With --ledger FILE"),
        (("sharpness",), True, "This trial is lost, as one with probes is not kept"),
    ],
)
def test_an_interruption_says_what_becomes_of_the_trial(
    probes: tuple[str, ...], kept: bool, words: str, tmp_path: Path
) -> None:
    trial = TrialConfig(workload="digits", batch_size=16, budget="1 epoch", probes=probes)
    assert how_to_go_on(trial, Execution(checkpoints=tmp_path if kept else None)).startswith(words)


def test_a_folder_of_checkpoints_that_is_a_file_is_bad_input(folder: Path) -> None:
    (folder / "taken").write_text("")
    for given, words in (
        ("taken", "checkpoints is 'taken': File exists. Valid: a folder"),
        ("taken/in", "checkpoints is 'taken/in': Not a directory. Valid: a folder"),
        ("~nosuch/x", "The path '~nosuch/x': there is no home folder '~nosuch'."),
        ("n" * 300, "File name too long. Valid: a folder"),
        ("", "checkpoints is empty. Valid: a folder"),
    ):
        assert words in refused("toys.py:separable", f"checkpoints={given}")
    assert "checkpoint_seconds" in refused("toys.py:separable", "checkpoint_seconds=-1")
