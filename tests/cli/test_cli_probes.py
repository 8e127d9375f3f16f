"""Probes as `batchlimit train` and `list` show them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from batchlimit.cli.app import app
from batchlimit.ledger import Ledger
from batchlimit.probes import probes

TOYS = Path(__file__).parent / "toys.py"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(TOYS, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(*arguments: str, code: int = 0) -> Result:
    outcome = CliRunner().invoke(app, list(arguments))
    assert outcome.exit_code == code, outcome.output
    return outcome


def found(*arguments: str, code: int = 0) -> dict[str, Any]:
    content = json.loads(ran(*arguments, "--json", code=code).stdout)
    assert isinstance(content, dict)
    return content


def test_train_prints_a_line_for_each_probe() -> None:
    lines = ran("train", "toys.py:separable", "--probe", "weight-distance,trust-ratios", "-q").stdout.splitlines()
    assert lines[-2].startswith("trust-ratios: from ")
    assert lines[-1].startswith("weight-distance: the weights end ")
    assert len(lines) == len(ran("train", "toys.py:separable", "-q").stdout.splitlines()) + 2


def test_probes_given_one_by_one_are_all_taken() -> None:
    given = ("--probe", "weight-distance", "--probe", "trust-ratios")
    assert sorted(found("train", "toys.py:separable", *given)["measurements"]) == ["trust-ratios", "weight-distance"]


def test_json_a_file_and_a_ledger_have_what_was_measured() -> None:
    content = found("train", "toys.py:separable", "probes=weight-distance", "--out", "r.json", "--ledger", "kept.db")
    measured = content["measurements"]["weight-distance"]
    assert measured["updates"][-1] == content["steps"] == 40
    assert len(measured["sketch"]) == 512
    assert json.loads(Path("r.json").read_text())["measurements"] == content["measurements"]
    with Ledger.open("kept.db") as ledger:
        (record,) = ledger.records()
    assert record.measurements == content["measurements"]


def test_a_file_can_name_probes(folder: Path) -> None:
    (folder / "a.toml").write_text('probes = ["trust-ratios"]\n')
    assert list(found("train", "toys.py:separable", "--config", "a.toml")["measurements"]) == ["trust-ratios"]


def test_a_training_that_diverges_still_says_what_was_measured() -> None:
    outcome = ran("train", "toys.py:broken", "--probe", "weight-distance,trust-ratios", "-q", code=1)
    assert "trust-ratios: no trust ratio was measured" in outcome.stdout
    content = found("train", "toys.py:broken", "--probe", "weight-distance", code=1)
    assert content["measurements"]["weight-distance"]["distance"] == []


@pytest.mark.parametrize("how", [("--probe", "weight-distanc"), ("probes=trust-ratios,weight-distanc",)])
def test_an_unknown_probe_is_refused_with_the_nearest(how: tuple[str, ...]) -> None:
    outcome = ran("train", "toys.py:separable", *how, code=2)
    assert "Unknown probe 'weight-distanc'. Did you mean 'weight-distance'?" in outcome.stderr
    assert outcome.stdout == ""


def test_list_names_them() -> None:
    assert list(found("list", "probes")["probes"]) == probes.names()
    assert "probes" in found("list")
