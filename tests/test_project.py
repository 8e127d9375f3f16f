"""The project as a whole: what is pinned, what is shipped, and rules that no linter knows."""

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "batchlimit"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VAGUE = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
ANALYSIS = ("findings", "records", "config", "ledger", "analysis", "reports")


def modules():
    return sorted(SOURCE.rglob("*.py"))


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def declared():
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in (*project["dependencies"], *extras["dev"], *extras["docs"])]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_what_ci_uses_is_pinned_within_what_is_declared(requirement):
    pin = pins()[canonicalize_name(requirement.name)]
    (exact,) = pin.specifier
    assert exact.operator == "=="
    assert requirement.specifier.contains(exact.version)


def test_constraints_name_no_place_and_no_build():
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|@|\+|^-|^/", text, flags=re.MULTILINE)


def test_names_of_modules_say_something():
    parts = {part for path in modules() for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert "registry" in parts
    assert not parts & VAGUE


def test_files_stay_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_names_of_test_files_are_unique_as_pytest_needs_them():
    names = Counter(
        path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("conftest.py", "__init__.py")
    )
    assert [name for name, count in names.items() if count > 1] == []


def uses_collectives(source):
    """Say whether a module's source imports torch.distributed or reaches into it by attribute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if origin.startswith("torch.distributed"):
                return True
            if origin == "torch" and any(alias.name == "distributed" for alias in node.names):
                return True
        if isinstance(node, ast.Import) and any(alias.name.startswith("torch.distributed") for alias in node.names):
            return True
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.distributed":
            return True
    return False


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.distributed as dist", True),
        ("from torch import distributed", True),
        ("from torch.distributed import all_reduce", True),
        ("import torch\ntorch.distributed.all_reduce(x)", True),
        ("import torch\nfrom torch import nn\ntorch.distributions.Normal(0, 1)", False),
    ],
)
def test_the_search_for_collectives_finds_them(source, expected):
    assert uses_collectives(source) is expected


def test_collectives_are_called_in_one_file():
    users = {str(path.relative_to(SOURCE)) for path in modules() if uses_collectives(path.read_text())}
    assert users <= {os.path.join("engine", "distributed.py")}


def test_analysis_loads_neither_torch_nor_ray():
    names = [
        ".".join(("batchlimit", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for path in modules()
        if path.relative_to(SOURCE).with_suffix("").parts[0] in ANALYSIS
    ]
    assert "batchlimit.records" in names
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code) == "[]"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of a freshly built wheel, unpacked into a folder."""
    built = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built), folder=ROOT)
    (archive,) = built.glob("*.whl")
    unpacked = built / "unpacked"
    zipfile.ZipFile(archive).extractall(unpacked)
    return unpacked


def test_the_wheel_has_every_file_of_the_package(wheel):
    def files(folder):
        found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(folder)) for path in found}

    assert files(wheel / "batchlimit") == files(SOURCE)
    assert "py.typed" in files(wheel / "batchlimit")


def test_the_wheel_alone_gives_a_working_command(wheel):
    (metadata,) = wheel.glob("*.dist-info")
    assert "batchlimit = batchlimit.__main__:main" in (metadata / "entry_points.txt").read_text()
    code = (
        "import sys, batchlimit, batchlimit.cli\n"
        "print(batchlimit.__file__)\n"
        "sys.argv[1:] = ['--version']\n"
        "batchlimit.cli.main()"
    )
    where, version = run(sys.executable, "-c", code, PYTHONPATH=str(wheel)).splitlines()
    assert Path(where).is_relative_to(wheel)
    assert version.split()[-1] in metadata.name


def test_the_guide_to_contributing_shows_the_example_in_full():
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    assert shown == (ROOT / "examples" / "solver_signsgd.py").read_text()


def test_the_guide_says_where_everything_that_has_a_name_is_added():
    from batchlimit.cli.list import KINDS

    guide = (ROOT / "docs" / "guides" / "add-a-solver.md").read_text()
    for kind in KINDS:
        registry = registry_of(kind)
        assert f"| `{registry._package}` | `batchlimit.{registry._plural}` |" in guide


def test_the_changelog_speaks_of_this_version():
    source = (SOURCE / "__init__.py").read_text()
    version = re.search(r'__version__ = "(.+)"', source)[1]
    assert version in (ROOT / "CHANGELOG.md").read_text()


def test_every_registered_name_and_command_is_in_the_reference():
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    from batchlimit.cli.list import KINDS

    names = generate.names_page()
    for kind in KINDS:
        assert f"## {kind.capitalize()}" in names
        assert all(f"| `{name}` |" in names for name in registry_of(kind))
    commands = generate.commands_page()
    for command in ("find", "train", "tune", "study", "report", "list", "schedules", "data"):
        assert f"## `batchlimit {command}`" in commands
    assert "[cyan]" not in commands
    assert "| `label_smoothing` | `float` | `0.0` |" in generate.settings_page()


def registry_of(kind):
    from batchlimit.cli.list import KINDS

    module, attribute = KINDS[kind].split(":")
    return getattr(importlib.import_module(module), attribute)


def run(*command, folder=None, **environment):
    """Run a command without the checkout's folder as a place to import from; return what it prints."""
    done = subprocess.run(
        command, cwd=folder or "/", env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
