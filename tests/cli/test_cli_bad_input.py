"""Bad input ends with 2 and one line, before any training and without leaving anything behind."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from batchlimit.cli.app import app

TOYS = Path(__file__).parent / "toys.py"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(TOYS, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*arguments: str) -> str:
    """Return the one line that the command line refuses `arguments` with."""
    outcome = CliRunner().invoke(app, list(arguments))
    assert outcome.exit_code == 2, outcome.output
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1, outcome.stderr
    assert lines[0].startswith("batchlimit: ")
    return lines[0]


def left_behind() -> list[str]:
    return sorted(entry for entry in os.listdir() if entry not in ("toys.py", "__pycache__"))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        # Names, each with the nearest valid one.
        (["find", "digit"], ["Unknown workload 'digit'", "Did you mean 'digits'"]),
        (["train", "toys.py:seperable"], ["'toys.py' has no 'seperable'", "separable"]),
        (["train", "nowhere.py:net"], ["There is no file 'nowhere.py'"]),
        (["train", "toys.py:separable", "recipe.solver=adamm"], ["'adamm'", "'adam'"]),
        (["train", "toys.py:separable", "recipe.schedule=cosin"], ["'cosin'", "'cosine'"]),
        (["find", "toys.py:separable", "--techniques", "modrn"], ["'modrn'", "'modern'"]),
        (["find", "toys.py:separable", "--tuner", "gird"], ["'gird'", "'grid'"]),
        (["find", "toys.py:separable", "recipes=['lras']"], ["'lras'", "lars"]),
        (["find", "toys.py:separable", "baseline.solver=momentun"], ["'momentun'", "'momentum'"]),
        (["find", "toys.py:separable", "baseline.lrr=1"], ["'baseline.lrr'", "'baseline.lr'"]),
        (["tune", "toys.py:separable", "space.lrr=[1]"], ["lrr"]),
        (["list", "solver"], ["Unknown kind 'solver'", "'solvers'"]),
        (["data", "fetch", "mnits"], ["'mnits'", "'mnist'"]),
        (["data", "fetsh"], ["'fetsh'", "'fetch'"]),
        (["trian"], ["No such command 'trian'", "'train'"]),
        (["train", "toys.py:separable", "--device", "cdua"], ["'cdua'", "Valid: auto, cpu"]),
        # Sizes.
        (["train", "toys.py:separable", "--batch-size", "0"], ["batch_size = 0", "--batch-size"]),
        (["train", "toys.py:separable", "--batch-size", "-4"], ["batch_size = -4"]),
        (["train", "toys.py:separable", "--batch-size", "101"], ["101", "100"]),
        (["tune", "toys.py:separable", "--batch-size", "101"], ["101", "100"]),
        (["find", "toys.py:separable", "--batch-size", "20,101"], ["101", "100"]),
        (["find", "toys.py:separable", "--batch-size", "0"], ["batch_sizes", "0"]),
        (["find", "toys.py:separable", "--batch-size", "64,,128"], ["--batch-size '64,,128'", "as '512,2048'"]),
        (["find", "toys.py:separable", "--batch-size", ""], ["--batch-size ''", "as '512,2048'"]),
        (["find", "toys.py:separable", "recipe.lr=1"], ["'recipe.lr' (from 'recipe.lr=1')", "'baseline.lr'"]),
        (["find", "toys.py:separable", "baseline.lr=true"], ["baseline.lr = true", "must be a number"]),
        (["find", "toys.py:separable", "baseline.batch_size=0"], ["batch_size is 0. Valid: 1 to 99."]),
        (["find", "toys.py:separable", "baseline.batch_size=-1"], ["batch_size is -1. Valid: 1 to 99."]),
        (["find", "toys.py:separable", "baseline.batch_size=100"], ["batch_size is 100. Valid: 1 to 99."]),
        (["train", "toys.py:normed", "recipe.ghost_batch_size=3"], ["ghost", "3"]),
        (["train", "toys.py:separable", "--epochs", "0"], ["budget"]),
        (["train", "toys.py:separable", "--epochs", "many"], ["--epochs", "'many'", "30 epochs"]),
        (["train", "toys.py:separable", "recipe.lr=-1"], ["recipe.lr = -1", "greater than 0"]),
        (["find", "toys.py:separable", "--seeds", "1"], ["seeds = 1", "at least 2"]),
        (["find", "toys.py:separable", "--jobs", "0"], ["jobs = 0"]),
        # The command line itself.
        (["find", "toys.py:separable", "--out", "~nosuch/x"], ["'~nosuch/x'", "no home folder '~nosuch'"]),
        (["find", "toys.py:separable", "--ledger", "~nosuch/x"], ["'~nosuch/x'", "no home folder '~nosuch'"]),
        (["find", "toys.py:separable", "--data-dir", "~nosuch"], ["'~nosuch'", "no home folder"]),
        (["train", "toys.py:separable", "--out", "~nosuch/x"], ["'~nosuch/x'", "no home folder '~nosuch'"]),
        (["train", "toys.py:separable", "--ledger", "~nosuch/x"], ["'~nosuch/x'", "no home folder '~nosuch'"]),
        (["schedules", "cosine", "--out", "~nosuch/x.svg"], ["'~nosuch/x.svg'", "no home folder '~nosuch'"]),
        (["report", "~nosuch/x"], ["'~nosuch/x'", "no home folder '~nosuch'"]),
        (["report", "--out", "~nosuch/x"], ["'~nosuch/x'", "no home folder '~nosuch'"]),
        (["train"], ["WORKLOAD", "batchlimit train --help"]),
        (["find", "toys.py:separable", "--sedes", "3"], ["--sedes", "batchlimit find --help"]),
        (["find", "toys.py:separable", "--seeds", "x"], ["--seeds"]),
        (["find", "toys.py:separable", "--config", "none.toml"], ["Cannot read the config file 'none.toml'"]),
        (["data", "status", "mnist"], ["takes no name"]),
        (["data", "fetch"], ["Say which data set"]),
        (["report"], ["There is no batchlimit-"]),
        (["report", "digits"], ["There is no ledger at 'batchlimit-digits/ledger.db'"]),
        (["report", "batchlimit-digits"], ["There is no ledger at 'batchlimit-digits/ledger.db'"]),
        (["study", ","], ["There is no study in ','", "batchlimit list studies"]),
        (["study", ""], ["There is no study in ''"]),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: list[str], parts: list[str]) -> None:
    message = refused(*arguments)
    for part in parts:
        assert part in message
    assert left_behind() == []


def test_an_output_folder_that_cannot_be_made_is_refused_before_training(folder: Path) -> None:
    (folder / "file").write_text("in the way")
    for command in ("find", "tune"):
        assert "Cannot write to the output folder" in refused(command, "toys.py:separable", "--out", "file/out")
    study = ("study", "solvers", "--scale", "smoke", "--workload", "toys.py:separable")
    assert "Cannot write to the output folder" in refused(*study, "--out", "file/out")
    assert "file/ledger.db" in refused(*study, "--out", "out", "--ledger", "file/ledger.db")
    assert "Cannot write" in refused("train", "toys.py:separable", "--out", "file/record.json")
    assert left_behind() == ["file"]


def test_a_file_that_is_no_ledger_is_refused_and_kept(folder: Path) -> None:
    (folder / "notes.txt").write_text("precious")
    for command in ("find", "train", "tune"):
        refused(command, "toys.py:separable", "--ledger", "notes.txt")
    refused("report", "--ledger", "notes.txt")
    assert (folder / "notes.txt").read_text() == "precious"


def test_an_unexpected_error_is_short_and_says_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    import batchlimit.workloads.resolve as resolving

    def fail(text: str) -> None:
        raise ZeroDivisionError("a fault\nof ours")

    monkeypatch.setattr(resolving, "resolve", fail)
    monkeypatch.delenv("BATCHLIMIT_DEBUG", raising=False)
    outcome = CliRunner().invoke(app, ["train", "digits"])
    assert outcome.exit_code == 1
    assert len(outcome.stderr.splitlines()) == 1
    assert "ZeroDivisionError: a fault of ours" in outcome.stderr
    assert "BATCHLIMIT_DEBUG=1" in outcome.stderr
    monkeypatch.setenv("BATCHLIMIT_DEBUG", "1")
    assert "Traceback" in CliRunner().invoke(app, ["train", "digits"]).stderr


FAULTY = """
from dataclasses import replace

from toys import nn, separable


class Net(nn.Linear):
    def forward(self, inputs):
        if self.training:
            raise ValueError("no such layer")
        return super().forward(inputs)


def faulty():
    return replace(separable(), make_model=lambda: Net(4, 2))
"""


@pytest.mark.parametrize("command", [["train"], ["find", "--jobs", "1"]])
def test_an_error_in_a_users_model_is_one_line_that_says_where(folder: Path, command: list[str]) -> None:
    (folder / "faulty.py").write_text(FAULTY)
    outcome = CliRunner().invoke(app, [*command, "faulty.py:faulty", "-q"])
    assert outcome.exit_code == 1
    assert len(outcome.stderr.splitlines()) == 1
    assert "raised ValueError: no such layer (faulty.py, line 10)." in outcome.stderr
    assert "bug" not in outcome.stderr


PICKY = """
from dataclasses import replace

from toys import Recipe, cross_entropy, separable


def loss(outputs, targets, *, label_smoothing=0.0):
    if label_smoothing:
        raise IndexError("no room")
    return cross_entropy(outputs, targets)


def picky():
    recipes = {"plain": Recipe(solver="momentum", lr=0.1)}
    for name in ("lower", "smoothed all over"):
        recipes[name] = Recipe(solver="lars", lr=1.0, label_smoothing=0.1 if name != "lower" else 0.0)
    return replace(separable(), name="picky", loss=loss, recipes=recipes)
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_error_of_one_recipe_names_it_and_says_how_to_go_on_without_it(folder: Path, jobs: str) -> None:
    (folder / "picky.py").write_text(PICKY)
    command = ["find", "picky.py:picky", "-q", "--jobs", jobs, "--exhaustive", "--batch-size", "100", "--seeds", "2"]
    outcome = CliRunner().invoke(app, [*command, "max_seeds=2"])
    assert outcome.exit_code == 1
    assert len(outcome.stderr.splitlines()) == 1
    said = "raised IndexError: no room (picky.py, line 9). It was training the recipe 'smoothed all over'; the rest"
    assert said in outcome.stderr
    assert ("A trial of 'picky.py:picky' with 'lars' at batch size 100 raised" in outcome.stderr) == (jobs == "2")
    _, _, settings = outcome.stderr.partition("the same command with ")
    added = shlex.split(settings.partition("]'")[0] + "]'")
    assert added == ["techniques=modern", 'recipes=["plain", "lower"]']
    assert CliRunner().invoke(app, [*command, "max_seeds=2", *added]).exit_code == 0


def test_an_error_in_a_worker_is_one_line_and_its_traceback_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import batchlimit.workloads.resolve as resolving
    from batchlimit.errors import TrialError

    def fail(text: str) -> None:
        error = TrialError("A trial of 'w' at batch size 16 raised ValueError: no such layer (mine.py, line 7).")
        error.add_note("Traceback of the worker")
        raise error

    monkeypatch.setattr(resolving, "resolve", fail)
    monkeypatch.delenv("BATCHLIMIT_DEBUG", raising=False)
    outcome = CliRunner().invoke(app, ["find", "digits"])
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("batchlimit: A trial of 'w' at batch size 16 raised ValueError")
    assert len(outcome.stderr.splitlines()) == 1
    assert "Traceback" not in outcome.stderr
    monkeypatch.setenv("BATCHLIMIT_DEBUG", "1")
    assert "Traceback of the worker" in CliRunner().invoke(app, ["find", "digits"]).stderr


def test_terminal_controls_in_a_name_are_not_printed() -> None:
    assert "\x1b" not in refused("find", "dig\x1b[31mits")


def test_every_command_teaches_by_example() -> None:
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        outcome = CliRunner().invoke(app, [name, "--help"])
        assert outcome.exit_code == 0
        assert f"batchlimit {name}" in outcome.stdout
