"""Mistakes of a study are one clear line before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchlimit.config import Recipe
from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.checks import arms_of, check_views
from batchlimit.studies.claims import Claim, better
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.finding import find_study
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, TableSpec

FACTS = Facts(workload="w", dataset_size=1000, batch_size=16, baseline=Recipe(lr=0.1), epochs=30)
EFFORT = Effort(epochs=Duration(30, "epochs"))
VALUES = ("metric", "loss")


def arm(average: str = "none", **changes: Any) -> Arm:
    labels = {"average": average, "batch size": 64}
    fields = {"labels": labels, "batch_size": 64, "epochs": "30 epochs", "recipe": Recipe(lr=0.1), **changes}
    return Arm.model_validate(fields)


def study(**changes: Any) -> Study:
    given = {"name": "own", "question": "?", "arms": lambda facts, effort: (arm(), arm("tail")), **changes}
    return Study(**given)


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (
            lambda facts, effort: 1 / 0,
            "its arms cannot be made: ZeroDivisionError: division by zero (test_study_checks.py, line ",
        ),
        (lambda facts, effort: None, "its arms cannot be made: TypeError: 'NoneType' object is not iterable."),
        (lambda facts, effort: (arm(seed=3),), "made: Arm.seed: Extra inputs are not permitted."),
        (lambda facts, effort: (arm(watch=("validation",)),), "Input should be 'train' or 'test'."),
        (lambda facts, effort: (1,), "gave 1, which is no Arm."),
        (lambda facts, effort: (), "has no arms, so there is nothing to train."),
    ],
)
def test_arms_that_cannot_be(arms: Callable[[Facts, Effort], Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        arms_of(study(arms=arms), FACTS, EFFORT)
    assert str(error.value).startswith("Study 'own'")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_or_a_generator_of_arms_will_do() -> None:
    assert arms_of(study(arms=lambda facts, effort: [arm()]), FACTS, EFFORT) == (arm(),)
    assert arms_of(study(arms=lambda facts, effort: (a for a in [arm()])), FACTS, EFFORT) == (arm(),)


def table(**changes: Any) -> dict[str, Any]:
    return {"tables": (TableSpec.model_validate({"name": "t", "title": "?", "rows": "average", **changes}),)}


def figure(**changes: Any) -> dict[str, Any]:
    return {"figures": (FigureSpec.model_validate({"name": "f", "kind": "dots", "title": "?", **changes}),)}


def claim(**where: Any) -> dict[str, Any]:
    selects: tuple[Labels, Labels] = ({"average": "tail"}, dict(where))
    return {"claims": (Claim("x", "", better(*selects), selects=selects),)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (table(rows="averag"), "table 't': there is no label 'averag'. Did you mean 'average'? Valid: average, batch"),
        (table(columns="size"), "no label 'size'"),
        (table(only={"solver": "lars"}), "no label 'solver'. Valid: average, batch size."),
        (table(only={"average": "tial"}), "no average 'tial'. Did you mean 'tail'? Valid: none, tail."),
        (figure(colour="avg"), "figure 'f': there is no label 'avg'"),
        (figure(facet="avg"), "figure 'f': there is no label 'avg'"),
        (figure(x="avg"), "figure 'f': there is no label 'avg'"),
        (figure(colour="average", y="acc"), "no quantity 'acc'. Valid: loss, metric."),
        (figure(kind="curves", y="tset"), "no quantity 'tset'. Did you mean 'test'?"),
        (claim(averag="none"), "claim 1: there is no label 'averag'"),
        (claim(average="nine"), "claim 1: there is no average 'nine'. Did you mean 'none'?"),
    ],
)
def test_what_is_named_and_is_nowhere(changes: dict[str, Any], said: str) -> None:
    own = study(**changes)
    with pytest.raises(InputError) as error:
        check_views(own, arms_of(own, FACTS, EFFORT), VALUES)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        table(columns="batch size"),
        table(rows="solver", columns="epochs"),
        table(only={"batch size": 128}),  # of another workload
        figure(colour="average", facet="batch size", y="loss"),
        figure(kind="curves", y="train loss", x="steps"),
        claim(average="none"),
        claim(**{"batch size": 128}),
    ],
)
def test_what_may_be(changes: dict[str, Any]) -> None:
    own = study(**changes)
    check_views(own, arms_of(own, FACTS, EFFORT), VALUES)


@pytest.mark.parametrize("name", studies.names())
def test_the_registered_studies_name_what_they_have(name: str) -> None:
    own = studies.get(name)
    check_views(own, arms_of(own, FACTS, EFFORT), ("metric", "top-5", "loss", "train loss", "steps", "seconds"))


def test_a_study_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('name = "solvers"\nquestion = "?"\n')
    Path("own.py").write_text(
        "from batchlimit.studies import Study\n"
        "taken = Study(name='ladder', question='?')\nnameless = Study(name='', question='?')\n"
    )
    for reference in ("mine.toml", "own.py:taken"):
        with pytest.raises(InputError, match="as one of batchlimit's is"):
            find_study(reference)
    with pytest.raises(InputError, match="Valid names: letters, digits"):
        find_study("own.py:nameless")
    with pytest.raises(InputError, match=r"taken, nameless; say which: 'own\.py:taken'\."):
        find_study("own.py")
    assert find_study("batchlimit.studies.solvers:STUDY")[0] is studies.get("solvers")
