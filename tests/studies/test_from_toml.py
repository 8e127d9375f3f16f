"""A user's own study as a file: its grid becomes arms, its mistakes one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchlimit.config import Recipe
from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.finding import find_study
from batchlimit.studies.from_toml import read_study, study_from_toml

FACTS = Facts(workload="w", dataset_size=1000, batch_size=16, baseline=Recipe(lr=0.1), epochs=30)
EFFORT = Effort(epochs=Duration(30, "epochs"))
FILE = """
name = "mine"
question = "Does smoothing help?"
batch_size = ["baseline", "full", 64]
solver = ["momentum", "lars"]
epochs = ["10 epochs", "20 epochs"]
seeds = 3
budget = 4

[variants.plain]
[variants.smoothed]
label_smoothing = 0.1

[[claims]]
text = "smoothing helps at the full batch"
left = { variant = "smoothed", "batch size" = 1000 }
right = { variant = "plain", "batch size" = 1000 }
"""


def test_the_grid_becomes_arms() -> None:
    arms = study_from_toml(FILE, "mine.toml").arms(FACTS, EFFORT)
    assert len(arms) == 3 * 2 * 2 * 2
    assert {arm.batch_size for arm in arms} == {16, 64, 1000}
    assert {arm.recipe.solver for arm in arms} == {"momentum", "lars"}
    assert {arm.recipe.label_smoothing for arm in arms if arm.labels["variant"] == "smoothed"} == {0.1}
    assert all(arm.seeds == 3 and arm.budget == 4 and arm.tuned for arm in arms)
    assert len({str(sorted(arm.labels.items())) for arm in arms}) == len(arms)


def test_a_size_that_is_there_twice_is_one_arm() -> None:
    text = 'name = "mine"\nquestion = "?"\nbatch_size = ["full", 1000, 64, "full"]\nsolver = ["lars", "lars"]\n'
    arms = study_from_toml(text, "mine.toml").arms(FACTS, EFFORT)
    assert [arm.batch_size for arm in arms] == [1000, 64]


def test_without_tuning_the_recipe_is_taken_as_it_is() -> None:
    text = 'name = "mine"\nquestion = "?"\ntune = false\n'
    arms = study_from_toml(text, "mine.toml").arms(FACTS, EFFORT)
    assert arms
    assert not any(arm.tuned for arm in arms)


def test_a_space_of_its_own_is_tuned() -> None:
    text = 'name = "mine"\nquestion = "?"\n[tune]\nlr = [0.1, 0.2]\n'
    assert study_from_toml(text, "mine.toml").arms(FACTS, EFFORT)[0].space == {"lr": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "is not TOML"),
        ('name = "mine"', "question"),
        ('name = "mine"\nquestion = "?"\nsolvers = ["lars"]', "solvers"),
        ('name = "../mine"\nquestion = "?"', "name"),
        (
            'name = "mine"\nquestion = "?"\n[[claims]]\ntext = "x"\nkind = "wins"',
            "claims[0].kind = 'wins' is not valid. Valid: better, reaches, fails.",
        ),
        (
            'name = "mine"\nquestion = "?"\n[[figures]]\nname = "x"\nkind = "pie"\ntitle = "?"',
            "figures[0].kind = 'pie' is not valid.",
        ),
        ('name = "mine"\nquestion = "?"\nsolver = []', "solver: must not be empty."),
        ('name = "mine"\nquestion = "?"\nbatch_size = []', "batch_size: must not be empty."),
        ('name = "mine"\nquestion = ""', "question = '': must not be empty."),
        ('name = ""\nquestion = "?"', "name: must be letters, digits"),
        ('name = "mine"\nquestion = "?"\n[[claims]]\ntext = "x"', "claims[0]: a claim of kind 'better' needs left and"),
        (
            'name = "mine"\nquestion = "?"\n[[claims]]\ntext = "x"\nkind = "reaches"\nwhere = {solver = "lars"}',
            "claims[0]: a claim of kind 'reaches' needs where and value.",
        ),
        (
            'name = "mine"\nquestion = "?"\n[[claims]]\ntext = "x"\nkind = "fails"\nwhere = {}\nby = 0.1',
            "claims[0]: a claim of kind 'fails' takes no by.",
        ),
        ('name = "mine"\nquestion = "?"\nsolver = {a = 1}', "solver: must be a list."),
        ('name = "mine"\nquestion = "?"\nbatch_size = true', "batch_size = true: must be a list."),
        ('name = "mine"\nquestion = "?"\ntune = 3', "tune = 3: must be a table of keys."),
        ('name = "mine"\nquestion = "?"\nepochs = [-3]', "'60000 examples', '5%'."),
        ('name = "mine"\nquestion = "?"\nepochs = ["5%"]', "'5%' must be a positive number of steps"),
        (
            'name = "mine"\nquestion = "?"\n[[tables]]\nname = "x"\nrows = "solver"',
            "'tables[0].title' is missing.",
        ),
        (
            'name = "mine"\nquestion = "?"\n[[tables]]\nname = "x"\nrows = "solver"\ntitel = "?"\ntitle = "?"',
            "Unknown key 'tables[0].titel'. Did you mean 'tables[0].title'? Valid in [tables[0]]: columns, name",
        ),
    ],
)
def test_mistakes_are_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=r"mine\.toml") as error:
        study_from_toml(text, "mine.toml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert ".." not in str(error.value).replace("../mine", "")


def test_a_size_that_is_none() -> None:
    study = study_from_toml('name = "mine"\nquestion = "?"\nbatch_size = ["big"]', "mine.toml")
    with pytest.raises(InputError, match="baseline, large, huge, full"):
        study.arms(FACTS, EFFORT)


def test_one_value_is_a_list_of_one() -> None:
    text = 'name = "mine"\nquestion = "?"\nsolver = "lars"\nbatch_size = 64\nepochs = 3\nprobes = "trust-ratios"'
    (arm,) = study_from_toml(text, "mine.toml").arms(FACTS, EFFORT)
    assert (arm.recipe.solver, arm.batch_size, str(arm.epochs), arm.probes) == (
        "lars",
        64,
        "3 epochs",
        ("trust-ratios",),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[variants.a]\nfoo = 3", "Study 'mine': Unknown key 'variants.a.foo'. Valid in [variants.a]: adascale"),
        (
            "[variants.a]\nlayerwise = {uper = 3}",
            "Unknown key 'variants.a.layerwise.uper'. Did you mean 'variants.a.layerwise.upper'?",
        ),
        ("[variants.a]\nlr = -1", "Study 'mine': variants.a.lr = -1: must be greater than 0."),
        ('[variants.a]\nlr_rule = "linear"', "needs reference_batch_size"),
        ('solver = "nope"', "Unknown solver 'nope'"),
        ('solver = "kfac"', "Study 'mine': kfac found no layer to factor."),
        ('batch_size = "medium"', "batch_size 'medium' is no size. Valid: a number, or baseline"),
        ("batch_size = [5000]", "batch_size 5000 does not fit the 1000 training examples of 'w'. Valid: 1 to 1000"),
        ("batch_size = [0]", "batch_size 0 does not fit"),
    ],
)
def test_what_does_not_fit_the_workload_is_one_line(text: str, said: str) -> None:
    known = {"solvers": ("lars", "momentum"), "refused": {"kfac": "kfac found no layer to factor."}}
    facts = FACTS.model_copy(update=known)
    with pytest.raises(InputError) as error:
        study_from_toml(f'name = "mine"\nquestion = "?"\n{text}', "mine.toml").arms(facts, EFFORT)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_study(tmp_path / "none.toml")
    assert str(error.value) == f"Cannot read the study '{tmp_path / 'none.toml'}': No such file or directory."


def test_files_modules_and_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(FILE)
    (tmp_path / "own_study.py").write_text(
        "from batchlimit.studies import Study\nquick = Study(name='quick-one', question='?')\nother = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    assert find_study("mine.toml")[0].name == read_study(tmp_path / "mine.toml")[0].name == "mine"
    assert find_study("own_study.py:quick")[0].name == "quick-one"
    assert find_study("own_study:quick")[0].name == "quick-one"
    for wrong, said in (
        ("own_study.py:other", "quick"),
        ("nothing.py:x", "no file"),
        ("no_such_module_at_all:x", "Cannot import"),
        ("missing.toml", "Cannot read"),
        ("no-such-study", "no-such-study"),
    ):
        with pytest.raises(InputError, match=said):
            find_study(wrong)
