"""Every command at work on problems of a few milliseconds, in this process."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from batchlimit.cli.app import app
from batchlimit.ledger import Ledger
from batchlimit.optimizers import solvers

TOYS = Path(__file__).parent / "toys.py"
# One recipe, few seeds and one job (which runs in this process) keep a search to about a second.
SMALL = ("--jobs", "1", "--seeds", "2", "--budget", "2", "max_seeds=4", "recipes=['tuned momentum']")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(TOYS, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def quick_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a word for the page, whose figures take seconds; the tests that look at the page ask for `real_page`."""

    def write(finding: Any, records: object, folder: Path, beside: Any = ()) -> Path:
        names = [each.techniques for each in (*beside, finding)]
        (folder / "report.html").write_text(f"page of {names}")
        return folder / "report.html"

    if "real_page" not in request.fixturenames:
        monkeypatch.setattr("batchlimit.reports.page.write_report", write)


@pytest.fixture
def real_page() -> None:
    """Have the page drawn for real."""


def ran(*arguments: str, code: int = 0) -> Result:
    outcome = CliRunner().invoke(app, list(arguments))
    assert outcome.exit_code == code, outcome.output
    return outcome


def found(*arguments: str, code: int = 0) -> dict[str, Any]:
    content = json.loads(ran(*arguments, "--json", code=code).stdout)
    assert isinstance(content, dict)
    return content


def test_train_prints_scores_and_progress_apart() -> None:
    outcome = ran("train", "toys.py:separable")
    assert "toys.py:separable at batch size 10, 4 epochs, seed 0: 40 steps, 400 examples" in outcome.stdout
    assert "validation" in outcome.stdout
    assert "step 40/40" in outcome.stderr
    assert ran("train", "toys.py:separable", "--quiet").stderr == ""


def test_train_takes_file_flags_and_overrides_in_this_order(folder: Path) -> None:
    (folder / "a.toml").write_text(
        "batch_size = 20\nseed = 3\nbudget = '2 epochs'\n[recipe]\nlr = 0.5\nsolver = 'adam'\n"
    )
    config = found("train", "toys.py:separable", "--config", "a.toml", "--batch-size", "25", "recipe.lr=0.01")["config"]
    assert (config["batch_size"], config["seed"], config["budget"]) == (25, 3, "2 epochs")
    assert (config["recipe"]["solver"], config["recipe"]["lr"]) == ("adam", 0.01)
    # The file's recipe replaces the baseline's, whose momentum would mean nothing to Adam.
    assert config["recipe"]["solver_options"] == {}


def test_train_changes_single_fields_of_the_baseline() -> None:
    config = found("train", "toys.py:separable", "recipe.lr=0.02", "epochs=1")["config"]
    assert config["recipe"]["solver_options"] == {"momentum": 0.9}
    assert (config["recipe"]["lr"], config["budget"]) == (0.02, "1 epochs")
    assert (
        found("train", "toys.py:separable", "recipe.solver=adam", "--epochs", "1")["config"]["recipe"]["solver_options"]
        == {}
    )


def test_train_takes_noise_and_averaging_by_name(folder: Path) -> None:
    recipe = found(
        "train",
        "toys.py:separable",
        "recipe.noise.where=weights",
        "recipe.noise.std=0.01",
        "recipe.averaging.kind=tail",
    )["config"]["recipe"]
    assert (recipe["noise"]["where"], recipe["noise"]["std"]) == ("weights", 0.01)
    assert recipe["averaging"]["kind"] == "tail"
    (folder / "a.toml").write_text("[recipe.noise]\nwhere = 'labels'\nstd = 0.1\n[recipe.averaging]\n")
    recipe = found("train", "toys.py:separable", "--config", "a.toml")["config"]["recipe"]
    assert (recipe["noise"]["where"], recipe["averaging"]["kind"]) == ("labels", "ema")
    assert "'recipe.noise.where' is missing" in ran("train", "toys.py:separable", "recipe.noise.std=1", code=2).stderr
    wrong = ran("train", "toys.py:separable", "recipe.noise.where=outputs", "recipe.noise.std=1", code=2).stderr
    assert "Valid: activations, weights, gradients, labels" in wrong


def test_train_keeps_its_record_where_asked(folder: Path) -> None:
    printed = found("train", "toys.py:separable", "--out", "record.json", "--ledger", "kept.db")
    assert json.loads((folder / "record.json").read_text()) == printed
    with Ledger.open(folder / "kept.db", create=False) as kept:
        (record,) = kept.records()
    assert json.loads(record.model_dump_json()) == printed


def test_a_loss_that_is_nan_at_step_1_is_a_failed_run() -> None:
    outcome = ran("train", "toys.py:broken", code=1)
    assert "diverged" in outcome.stdout
    assert "step 1" in outcome.stdout
    record = found("train", "toys.py:broken", code=1)
    assert record["status"] == "diverged"
    assert record["test"] is None


def test_find_ends_with_a_verdict_and_its_places(folder: Path, real_page: None) -> None:
    outcome = ran("find", "toys.py:separable", *SMALL)
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("On toys.py:separable, ")
    assert lines[-2] == "Ledger: batchlimit-toys-separable/ledger.db"
    assert lines[-1] == "Report: batchlimit-toys-separable/report.html"
    assert (folder / "batchlimit-toys-separable" / "report.html").stat().st_size > 10_000
    assert "baseline at batch size 10: " in outcome.stderr


def test_find_again_trains_nothing_and_says_the_same(folder: Path) -> None:
    first = found("find", "toys.py:separable", *SMALL)
    with Ledger.open(folder / "batchlimit-toys-separable" / "ledger.db", create=False) as kept:
        before = kept.records()
    again = ran("find", "toys.py:separable", *SMALL, "--json")
    assert json.loads(again.stdout) == first
    assert "from the ledger" in again.stderr
    with Ledger.open(folder / "batchlimit-toys-separable" / "ledger.db", create=False) as kept:
        assert kept.records() == before


def test_find_as_json_has_what_programs_read() -> None:
    content = found("find", "toys.py:separable", *SMALL)
    assert {"workload", "baseline", "small_up_to", "large_up_to", "full", "by_batch_size", "cost", "report"} <= set(
        content
    )
    assert content["workload"] == "toys.py:separable"
    assert content["cost"]["trials"] > 4
    assert {size["batch_size"] for size in content["by_batch_size"]} >= {100}
    assert Path(content["report"]).is_file()


def test_find_takes_batch_sizes_and_a_changed_baseline() -> None:
    content = found("find", "toys.py:separable", *SMALL, "--batch-size", "50,25", "baseline.lr=0.05", "--epochs", "2")
    assert [size["batch_size"] for size in content["by_batch_size"]] == [25, 50, 100]
    assert content["baseline"]["recipe"]["lr"] == 0.05
    assert content["baseline"]["recipe"]["solver_options"] == {"momentum": 0.9}
    assert content["training_budget"] == "2 epochs"


def test_find_reads_all_of_its_settings_from_a_file(folder: Path) -> None:
    (folder / "search.toml").write_text(
        "jobs = 1\nseeds = 2\nmax_seeds = 2\nbudget = 1\nout = 'elsewhere'\nbatch_sizes = [50]\n"
        "recipes = ['tuned momentum']\nepochs = 2\n[baseline]\nlr = 0.05\n"
    )
    content = found("find", "toys.py:separable", "--config", "search.toml")
    assert content["report"] == "elsewhere/report.html"
    assert content["baseline"]["recipe"]["lr"] == 0.05
    assert content["seeds"] == [2, 2]


def test_find_says_so_where_everything_diverges() -> None:
    outcome = ran("find", "toys.py:broken", *SMALL, code=1)
    assert outcome.stdout.startswith("No verdict for toys.py:broken: ")
    assert "nan at step 1" in outcome.stdout
    content = found("find", "toys.py:broken", *SMALL, code=1)
    assert content["problem"]
    assert (content["small_up_to"], content["large_up_to"]) == (None, None)


def test_a_ledger_of_another_workload_by_the_same_name_is_refused(folder: Path) -> None:
    ran("find", "toys.py:separable", *SMALL)
    toys = folder / "other" / "toys.py"
    toys.parent.mkdir()
    toys.write_text(TOYS.read_text().replace("nn.Linear(4, 2)", "nn.Linear(4, 2, bias=False)"))
    kept = (folder / "batchlimit-toys-separable" / "ledger.db").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toys.parent)
        outcome = ran("find", "toys.py:separable", *SMALL, "--ledger", "../batchlimit-toys-separable/ledger.db", code=2)
        assert len(outcome.stderr.splitlines()) == 1
        assert "was made with another 'toys.py:separable'" in outcome.stderr
    assert (folder / "batchlimit-toys-separable" / "ledger.db").read_bytes() == kept


def test_report_draws_again_what_find_found(folder: Path) -> None:
    first = found("find", "toys.py:separable", *SMALL)
    page = folder / "batchlimit-toys-separable" / "report.html"
    page.unlink()
    again = found("report")
    assert page.is_file()
    assert again == first
    assert found("report", "toys.py:separable") == first
    assert found("report", "batchlimit-toys-separable") == first
    moved = found("report", "--ledger", "batchlimit-toys-separable/ledger.db", "--out", "elsewhere")
    assert moved["report"] == "elsewhere/report.html"
    assert "Did you mean" in ran("report", "toys.py:seperable", "--out", "batchlimit-toys-separable", code=2).stderr


def test_report_of_a_ledger_with_several_searches_asks_which() -> None:
    for name in ("separable", "normed"):
        ran("find", f"toys.py:{name}", *SMALL, "--out", "both")
    assert "toys.py:normed, toys.py:separable" in ran("report", "--out", "both", code=2).stderr
    assert found("report", "toys.py:normed", "--out", "both")["workload"] == "toys.py:normed"


FEW = ("--jobs", "1", "--seeds", "2", "--budget", "1", "--batch-size", "100", "--epochs", "1", "max_seeds=2")


def test_find_with_two_sets_reports_both_and_report_draws_both_again(folder: Path) -> None:
    outcome = ran("find", "toys.py:separable", *FEW, "--techniques", "paper,modern", "--out", "both")
    assert outcome.stderr.index("With the 'paper' techniques:") < outcome.stderr.index("With the 'modern' techniques:")
    rows = [line.split()[0] for line in outcome.stdout.splitlines() if line.startswith(("paper ", "modern "))]
    assert rows == ["paper", "modern"]
    page = folder / "both" / "report.html"
    assert page.read_text() == "page of ['paper', 'modern']"
    page.unlink()
    again = found("report", "--out", "both")
    assert (again["techniques"], [other["techniques"] for other in again["beside"]]) == ("modern", ["paper"])
    assert again["beside"][0]["by_batch_size"][0]["batch_size"] == 100
    assert page.read_text() == "page of ['paper', 'modern']"


def test_find_takes_a_list_of_sets_from_a_file_and_one_set_after_the_other(folder: Path) -> None:
    (folder / "sets.toml").write_text('techniques = ["paper", "modern"]\n')
    both = found("find", "toys.py:separable", *FEW, "--config", "sets.toml", "--out", "a")
    assert found("find", "toys.py:separable", *FEW, "--techniques", "paper", "--out", "b")["beside"] == []
    apart = found("find", "toys.py:separable", *FEW, "--techniques", "modern", "--out", "b")
    assert [other["techniques"] for other in apart["beside"]] == ["paper"]

    def limits(content: dict[str, Any]) -> list[object]:
        return [content[name] for name in ("verdict", "large_up_to", "small_up_to", "recipes")]

    assert limits(both) == limits(apart)
    assert limits(both["beside"][0]) == limits(apart["beside"][0])


@pytest.mark.parametrize(
    ("sets", "parts"),
    [
        ("paper,modren", ("Unknown technique set 'modren'", "Did you mean 'modern'")),
        ("papre,modern", ("Unknown technique set 'papre'", "Did you mean 'paper'")),
        ("paper,", ("an empty name in the techniques 'paper,' (from --techniques)", "Valid: modern, paper")),
        ("paper,,modern", ("an empty name in the techniques 'paper,,modern'",)),
    ],
)
def test_an_unknown_set_in_the_list_is_bad_input(folder: Path, sets: str, parts: tuple[str, ...]) -> None:
    outcome = ran("find", "toys.py:separable", *FEW, "--techniques", sets, code=2)
    assert len(outcome.stderr.splitlines()) == 1
    assert all(part in outcome.stderr for part in parts)
    assert not (folder / "batchlimit-toys-separable").exists()


def test_tune_writes_a_recipe_that_train_reads(folder: Path) -> None:
    space = "space.lr=[0.001, 0.1]"
    content = found(
        "tune", "toys.py:separable", space, "--jobs", "1", "--seeds", "2", "--batch-size", "50", "--epochs", "3"
    )
    assert content["best"]["recipe"]["lr"] == 0.1
    recipe = tomllib.loads(Path(content["recipe"]).read_text())
    assert (recipe["batch_size"], recipe["recipe"]["lr"]) == (50, 0.1)
    config = found("train", "toys.py:separable", "--config", content["recipe"])["config"]
    assert config["recipe"] == content["best"]["recipe"]
    assert (config["batch_size"], config["budget"]) == (50, "3 epochs")


def test_tune_shows_the_best_first_and_goes_on_from_its_ledger() -> None:
    arguments = ("tune", "toys.py:separable", "space.lr=[0.0001, 0.1]", "--jobs", "1", "--seeds", "2")
    outcome = ran(*arguments)
    rows = [line.split()[0] for line in outcome.stdout.splitlines() if line.strip().startswith("0.")]
    assert rows == ["0.1", "0.0001"]
    assert outcome.stdout.splitlines()[-1] == "Recipe: batchlimit-toys-separable/tuned-10.toml"
    assert "4 from the ledger" not in outcome.stderr
    assert "2 from the ledger" in ran(*arguments).stderr


def test_tune_where_everything_diverges() -> None:
    outcome = ran("tune", "toys.py:broken", "--jobs", "1", "--budget", "2", code=1)
    assert "No best recipe for toys.py:broken at batch size 10" in outcome.stdout
    assert "diverged" in outcome.stdout


def test_tune_takes_tables_and_options_as_dimensions() -> None:
    outcome = found(
        "tune",
        "toys.py:separable",
        "space.lr={low = 0.01, high = 0.1, log = true, points = 2}",
        "space.solver_options.momentum=[0.5, 0.9]",
        *("--jobs", "1", "--seeds", "2", "--budget", "4"),
    )
    tried = {(p["fields"]["lr"], p["fields"]["solver_options.momentum"]) for p in outcome["proposals"]}
    assert tried == {(0.01, 0.5), (0.01, 0.9), (0.1, 0.5), (0.1, 0.9)}


def test_list_names_everything_registered() -> None:
    names = json.loads(ran("list", "--json").stdout)
    assert {"digits", "mnist"} <= set(names["workloads"])
    assert {"momentum", "lars", "lamb"} <= set(names["solvers"])
    assert {"grid", "tpe"} <= set(names["tuners"])
    assert all(line for kind in names.values() for line in kind.values()), "everything is described"
    shown = ran("list", "solvers").stdout
    assert "lars" in shown
    assert "mnist" not in shown
    told = " ".join(shown.split())
    assert "options: momentum=0.9, dampening=0.0, nesterov=False" in told
    assert "options: preset=default, momentum, nesterov, coefficient" in told, "what the preset says has no default"


def test_a_solver_that_takes_any_options_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(solvers._entries, "open-minded", lambda named, *, lr, weight_decay, **options: None)
    assert "any options" in ran("list", "solvers").stdout


def test_data_shows_where_sets_are() -> None:
    sets = {entry["name"]: entry for entry in json.loads(ran("data", "--json").stdout)}
    assert sets["digits"]["where"]
    assert "digits" in ran("data", "status").stdout


def test_data_folder_that_is_given_is_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLIMIT_DATA", "unset")
    monkeypatch.setenv("HOME", str(folder))
    (folder / "sets").mkdir()
    ran("data", "--data-dir", "sets")
    assert os.environ["BATCHLIMIT_DATA"] == str(folder / "sets")
