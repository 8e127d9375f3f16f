"""Adding a thing is adding one file; names that are not there are refused with the nearest."""

import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

import batchlimit.registry
from batchlimit.errors import InputError
from batchlimit.registry import Registry

ONE = """
from {package} import things

@things.register("{name}")
def make():
    return "{name}"
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `plugin_things` with an empty registry; returns a function that adds a file to it."""
    name = "plugin_things"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from batchlimit.registry import Registry\nthings = Registry('thing', 'plugin_things')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(module, source):
        (folder / f"{module}.py").write_text(source)

    yield add
    for loaded in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[loaded]


def things():
    import plugin_things

    return plugin_things.things


def test_one_new_file_is_enough(package):
    package("first", ONE.format(package="plugin_things", name="one"))
    package("second", ONE.format(package="plugin_things", name="two"))
    registry = things()
    assert registry.names() == ["one", "two"]
    assert list(registry) == ["one", "two"]
    assert registry.get("two")() == "two"
    assert "one" in registry
    assert "three" not in registry


def test_unknown_names_are_refused_with_the_nearest(package):
    package("first", ONE.format(package="plugin_things", name="momentum"))
    with pytest.raises(InputError, match=r"Unknown thing 'momentun'\. Did you mean 'momentum'"):
        things().get("momentun")


def test_a_name_is_taken_once():
    registry = Registry("thing", "batchlimit")
    registry.register("one")(len)
    registry.register("one")(len)
    with pytest.raises(ValueError, match="'one' is registered twice"):
        registry.register("one")(max)


def test_a_broken_file_is_reported_every_time(package):
    package("broken", "raise RuntimeError('half written')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="half written"):
            things().names()


def test_entry_points_of_other_distributions_are_loaded(package, monkeypatch):
    package("first", ONE.format(package="plugin_things", name="one"))
    registry = things()

    @dataclass
    class Point:
        name: str

        def load(self):
            registry.register(self.name)(len)

    groups = {"batchlimit.things": [Point("from elsewhere")]}
    monkeypatch.setattr(batchlimit.registry, "entry_points", lambda group: groups.get(group, []))
    assert registry.names() == ["from elsewhere", "one"]


@dataclass
class Broken:
    """An entry point of another distribution whose module is not there."""

    name: str
    dist: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name="my-package"))

    def load(self):
        return EntryPoint(self.name, "my_package_nowhere.solver", "batchlimit.things").load()


def test_a_broken_entry_point_disables_its_own_name_alone(package, monkeypatch, caplog):
    package("first", ONE.format(package="plugin_things", name="one"))
    monkeypatch.setattr(batchlimit.registry, "entry_points", lambda group: [Broken("my-thing")])
    registry = things()
    with pytest.raises(
        InputError,
        match=r"The thing 'my-thing' of the package 'my-package' cannot be loaded: "
        r"ModuleNotFoundError: No module named 'my_package_nowhere'\.",
    ):
        registry.get("my-thing")
    assert caplog.messages == []
    for _ in range(2):
        assert registry.get("one")() == "one"
        assert registry.names() == ["one"]
    (line,) = caplog.messages
    assert "The thing 'my-thing' of the package 'my-package' cannot be loaded" in line
    with pytest.raises(InputError, match=r"Unknown thing 'nothing'.* Valid: one\."):
        registry.get("nothing")


def test_an_entry_point_that_registers_nothing_says_so(package, monkeypatch, caplog, tmp_path):
    package("first", ONE.format(package="plugin_things", name="one"))
    for name, source in {
        "elsewhere_empty": "",
        "elsewhere_full": ONE.format(package="plugin_things", name="two"),
    }.items():
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
    points = [EntryPoint(name, module, "batchlimit.things") for name, module in
              (("two", "elsewhere_full"), ("again", "elsewhere_full"), ("empty", "elsewhere_empty"))]  # fmt: skip
    monkeypatch.setattr(batchlimit.registry, "entry_points", lambda group: points)
    assert things().names() == ["one", "two"]
    (line,) = caplog.messages
    words = (
        "The thing 'empty' of the package 'unknown' cannot be loaded: its module 'elsewhere_empty' registers no thing"
    )
    assert words in line
    assert "again" not in line
