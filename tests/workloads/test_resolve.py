"""From what a user types to a workload."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchlimit.errors import InputError
from batchlimit.workloads.resolve import resolve
from batchlimit.workloads.workload import Workload

FILE = """
from batchlimit import config
from batchlimit.workloads.workload import Workload
from torch import nn

made = []

def load():
    raise RuntimeError("data are not wanted when resolving")

mine = Workload(name="mine", make_model=lambda: nn.Linear(1, 1), load=load, baseline=config.Recipe(),
                batch_size=4, budget="1 epochs")

def make() -> Workload:
    made.append(1)
    return mine

def other() -> "Workload":
    return mine

def broken() -> Workload:
    raise ValueError("two\\nlines")

def number():
    return 7

value = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "own_workload_file.py").write_text(FILE)
    monkeypatch.delitem(sys.modules, "own_workload_file", raising=False)
    return tmp_path


def test_registered_names() -> None:
    assert resolve("digits").name == "digits"
    assert resolve("digits") is resolve("digits")
    with pytest.raises(InputError, match=r"Unknown workload 'digit'\. Did you mean 'digits'\?.*mnist-lenet5"):
        resolve("digit")


@pytest.mark.parametrize("attribute", ["mine", "make", "other"])
@pytest.mark.parametrize("where", ["own_workload_file", "own_workload_file.py", "./own_workload_file.py"])
def test_modules_and_files(folder: Path, where: str, attribute: str) -> None:
    found = resolve(f"{where}:{attribute}")
    assert isinstance(found, Workload)
    assert found.name == "mine"


def test_an_absolute_path_and_a_file_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = folder / "below"
    below.mkdir()
    (below / "beside_the_workload.py").write_text("NAME = 'beside'")
    (below / "json.py").write_text(
        FILE.replace('"mine"', "beside_the_workload.NAME").replace(
            "from torch", "import beside_the_workload\nfrom torch"
        )
    )
    found = resolve(f"{below / 'json.py'}:mine")
    assert found.name == "beside"
    import json

    assert hasattr(json, "dumps"), "a file named like a module must not replace it"


def test_a_workload_is_made_once(folder: Path) -> None:
    first = resolve("own_workload_file.py:make")
    assert resolve("own_workload_file.py:make") is first


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "own_workload_file:nothing",
            r"'own_workload_file' has no 'nothing'\. "
            r"Valid: broken, make, mine, other; and, if they return a workload, load, number\.$",
        ),
        ("own_workload_file.py:value", "is a int, not a batchlimit.Workload"),
        ("own_workload_file.py:number", "returned a int, not a batchlimit.Workload"),
        ("own_workload_file.py:Workload", "is the class Workload"),
        ("own_workload_file.py:broken", "failed when called: ValueError: two lines"),
        ("own_workload_file.py", "no workload in it"),
        ("absent.py:mine", "There is no file 'absent.py'"),
        ("absent_module:mine", "There is no module 'absent_module'"),
        ("own_workload_file.below:mine", "There is no module 'own_workload_file.below'"),
        (":mine", "Cannot read the workload ':mine'"),
        ("own_workload_file:", "Cannot read the workload"),
        ("json:dumps", "failed when called: TypeError"),
        ("string:digits", r"'string' has no 'digits'|is a str"),
    ],
)
def test_what_cannot_be_resolved_is_told_in_one_line(folder: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        resolve(text)
    assert "\n" not in str(raised.value)


def test_a_module_without_workloads(folder: Path) -> None:
    (folder / "empty_of_workloads.py").write_text("x = 1")
    with pytest.raises(InputError, match="It defines no workload at all"):
        resolve("empty_of_workloads.py:mine")


MAYBE = """
from functools import partial
from textwrap import dedent

import torch
from torch import nn

def plain():
    raise RuntimeError("must not be called")

def optional(size=3, *more, **changes):
    raise RuntimeError("must not be called")

def needs(size):
    ...

def says_otherwise() -> int:
    return 3

def _private():
    ...

class Model(nn.Linear):
    ...

lazy = lambda: plain()
model = nn.Linear(1, 1)
"""


def test_functions_that_say_nothing_of_what_they_return_are_named_and_not_called(folder: Path) -> None:
    (folder / "maybe_workloads.py").write_text(MAYBE)
    for where in ("maybe_workloads.py", "maybe_workloads"):
        with pytest.raises(
            InputError, match=r"has no 'nope'\. Valid: of these, if they return a workload, lazy, optional, plain\.$"
        ):
            resolve(f"{where}:nope")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import absent_dependency", "Cannot import .*absent_dependency"),
        ("def broken(:", "Cannot import .*SyntaxError"),
        ("1 / 0", "Cannot import .*ZeroDivisionError"),
    ],
)
@pytest.mark.parametrize("ending", ["", ".py"])
def test_a_module_that_fails_when_imported(folder: Path, text: str, says: str, ending: str) -> None:
    (folder / "fails_when_imported.py").write_text(text)
    for _ in range(2):
        with pytest.raises(InputError, match=says) as raised:
            resolve(f"fails_when_imported{ending}:mine")
        assert "\n" not in str(raised.value)
