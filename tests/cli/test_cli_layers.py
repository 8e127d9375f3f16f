"""Settings laid over each other, and what is said about values that are not valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from batchlimit.cli.layers import Layers, own_options, toml_value
from batchlimit.config import Averaging, Frozen, Recipe, TrialConfig
from batchlimit.errors import InputError
from batchlimit.validation import fields_at


class Settings(Frozen):
    seeds: int = Field(default=5, ge=2)
    epochs: str | None = None
    sizes: tuple[int, ...] | None = None
    ratio: float = Field(default=0.5, gt=0, le=1)
    exhaustive: bool = False
    recipe: Recipe = Recipe()


def built(*overrides: str) -> Settings:
    layers = Layers()
    layers.put_overrides(overrides)
    return layers.build(Settings)


def refused(*overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        built(*overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("0.2", 0.2),
        ("1e-3", 1e-3),
        ("true", True),
        ("'a b'", "a b"),
        ("[1, 2]", [1, 2]),
        ("{low = 1}", {"low": 1}),
        ("momentum", "momentum"),
        ("5%", "5%"),
        ("", ""),
        ("2026-01-01", "2026-01-01"),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_values_are_toml_or_bare_text(text: str, value: object) -> None:
    assert toml_value(text) == value


def test_what_is_put_later_wins(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("seeds = 3\nratio = 0.1\nepochs = '9'\n[recipe]\nlr = 0.3\nsolver = 'lars'\n")
    layers = Layers()
    layers.put_file(file)
    layers.put_flags({"seeds": ("--seeds", 4), "ratio": ("--ratio", 0.2), "epochs": ("--epochs", None)})
    layers.put_overrides(["ratio=0.4", "recipe.lr=0.7"])
    settings = layers.build(Settings)
    assert (settings.seeds, settings.ratio, settings.epochs) == (4, 0.4, "9")
    assert (settings.recipe.lr, settings.recipe.solver) == (0.7, "lars")


def test_a_number_is_taken_as_text_where_text_is_wanted_as_it_was_typed() -> None:
    assert built("epochs=30").epochs == "30"
    assert built("recipe.solver=1e3").recipe.solver == "1e3"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("sed=3", ["Unknown key 'sed'", "Did you mean 'seeds'", "Valid: epochs, exhaustive"]),
        ("lr=0.1", ["Unknown key 'lr'", "Did you mean 'recipe.lr'"]),
        (
            "recipe.lrr=0.1",
            ["Unknown key 'recipe.lrr'", "Did you mean 'recipe.lr'", "Valid in [recipe]: adascale, averaging"],
        ),
        ("recipe.layerwise.uper=3", ["'recipe.layerwise.uper'", "'recipe.layerwise.upper'", "in [recipe.layerwise]"]),
        ("seeds=1", ["seeds = 1 (from 'seeds=1'): must be at least 2."]),
        ("seeds=x", ["seeds = 'x'", "must be a whole number"]),
        ("seeds=2.5", ["seeds = 2.5", "must be a whole number"]),
        ("ratio=0", ["ratio = 0", "must be greater than 0."]),
        ("ratio=2", ["ratio = 2", "must be at most 1."]),
        ("ratio=nan", ["ratio = nan", "must be a finite number"]),
        ("recipe.schedule_options.power=nan", ["recipe.schedule_options.power = nan", "must be a finite number."]),
        ("recipe.solver_options.eps=[1]", ["(from 'recipe", "must be a number, text, or true or false."]),
        ("exhaustive=perhaps", ["exhaustive = 'perhaps'", "must be true or false"]),
        ("sizes=[1, two]", ["sizes", "must be a list"]),
        ("sizes=[1, 'two']", ["sizes[1] = 'two'", "must be a whole number"]),
        ("recipe=lars", ["recipe = 'lars'", "must be a table of keys"]),
        ("recipe.lr_rule=liner", ["recipe.lr_rule = 'liner'", "Did you mean 'linear'", "Valid: none, linear, sqrt"]),
        ("recipe.warmup=soon", ["recipe.warmup (from 'recipe.warmup=soon')", "Cannot read the duration 'soon'"]),
        ("recipe.lr_rule=linear", ["recipe", "needs reference_batch_size"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(override: str, parts: list[str]) -> None:
    message = refused(override)
    for part in parts:
        assert part in message


def test_what_is_valid_is_said_once_for_several_unknown_keys() -> None:
    message = refused("sed=1", "rato=7", "recipe.lrr=1")
    assert "Unknown key 'sed' (from 'sed=1'). Did you mean 'seeds'?; Unknown key 'rato'" in message
    assert message.count(" Valid: ") == message.count(" Valid in [recipe]: ") == 1


def test_several_problems_are_told_at_once_and_counted_beyond_three() -> None:
    message = refused("sed=1", "seeds=1", "ratio=7")
    assert message.index("'sed'") < message.index("seeds = 1")
    assert "ratio = 7" in message
    assert refused("a=1", "b=1", "c=1", "d=1", "e=1").endswith("and 2 more.")


def test_a_missing_key_is_named() -> None:
    layers = Layers()
    layers.put_overrides(["workload=x", "budget=3"])
    with pytest.raises(InputError, match="'batch_size' is missing"):
        layers.build(TrialConfig)


@pytest.mark.parametrize("override", ["seeds", "=3", ".a=3", "a..b=3"])
def test_an_argument_that_is_no_key_and_value(override: str) -> None:
    with pytest.raises(InputError, match="Valid"):
        Layers().put_overrides([override])


def test_a_key_below_a_value_is_refused() -> None:
    layers = Layers()
    with pytest.raises(InputError, match="'seeds' is a value"):
        layers.put_overrides(["seeds=3", "seeds.lr=1"])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read the config file"):
        Layers().put_file(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("seeds = = 3")
    with pytest.raises(InputError, match="is not TOML"):
        Layers().put_file(broken)
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not TOML"):
        Layers().put_file(broken)


def test_origins_name_the_file_or_the_flag(tmp_path: Path) -> None:
    file = tmp_path / "search.toml"
    file.write_text("[recipe]\nlr = -1\n")
    layers = Layers()
    layers.put_file(file)
    layers.put_flags({"seeds": ("--seeds", 0)})
    with pytest.raises(InputError, match=r"seeds = 0 \(from --seeds\).*recipe.lr = -1 \(from search.toml\)"):
        layers.build(Settings)


def test_taken_keys_leave_and_keep_their_origins() -> None:
    layers = Layers()
    layers.put_overrides(["seeds=1", "ratio=0.5"])
    taken = layers.take(["seeds"])
    assert layers.data == {"ratio": 0.5}
    assert taken.origin(("seeds",)) == "'seeds=1'"
    assert layers.origin(("seeds",)) is None


def test_defaults_go_below_single_values_but_not_into_a_files_table(tmp_path: Path) -> None:
    layers = Layers()
    layers.put_overrides(["recipe.lr=0.7"])
    layers.underlay({"recipe": {"lr": 0.1, "solver": "lars"}, "seeds": 9})
    assert layers.data == {"recipe": {"lr": 0.7, "solver": "lars"}, "seeds": 9}

    file = tmp_path / "a.toml"
    file.write_text("[recipe]\nlr = 0.3\n")
    whole = Layers()
    whole.put_file(file)
    whole.underlay({"recipe": {"solver": "lars"}})
    assert whole.data == {"recipe": {"lr": 0.3}}


def test_another_solver_does_not_inherit_options_but_the_same_one_keeps_them() -> None:
    base = Recipe(solver="momentum", solver_options={"momentum": 0.9, "nesterov": True}, schedule_options={"end": 0.1})
    for overrides, options in (
        (["baseline.solver=adam"], {}),
        (["baseline.solver=adam", "baseline.solver_options.beta1=0.8"], {"beta1": 0.8}),
        (["baseline.solver_options.momentum=0.8"], {"momentum": 0.8, "nesterov": True}),
    ):
        layers = Layers()
        layers.put_overrides(overrides)
        own_options(layers, "baseline")
        changed = base.updated(layers.data["baseline"])
        assert changed.solver_options == options
        assert changed.schedule_options == {"end": 0.1}


def test_a_recipes_own_tables_change_field_by_field() -> None:
    base = Recipe.model_validate({"noise": {"where": "labels", "std": 0.1}})
    layers = Layers()
    layers.put_overrides(["baseline.noise.std=0.3", "baseline.averaging.kind=tail"])
    own_options(layers, "baseline")
    layers.check_changes("baseline", base)
    changed = base.updated(layers.data["baseline"])
    assert changed.noise is not None
    assert (changed.noise.where, changed.noise.std) == ("labels", 0.3)
    assert changed.averaging == Averaging(kind="tail")
    whole = Layers()
    whole.put_overrides(["baseline.averaging={}"])
    own_options(whole, "baseline")
    assert base.updated(whole.data["baseline"]).averaging == Averaging()


def test_changes_of_a_recipe_are_checked_by_their_own_names() -> None:
    layers = Layers()
    layers.put_overrides(["baseline.lrr=3", "baseline.batch_size=4"])
    with pytest.raises(
        InputError,
        match=r"Unknown key 'baseline.lrr'.*'baseline.lr'.*in \[baseline\]: "
        r"adascale, averaging, batch_norm_statistics, batch_size",
    ):
        layers.check_changes("baseline", Recipe(), also=["batch_size"])


def test_a_key_can_stand_for_another() -> None:
    layers = Layers({"epochs": "budget"})
    layers.put_flags({"budget": ("--epochs", "2")})
    layers.put_overrides(["epochs=3"])
    assert layers.data == {"budget": 3}
    assert layers.origin(("budget",)) == "'epochs=3'"
    with pytest.raises(InputError, match="'epochs' is a value"):
        layers.put_overrides(["epochs.x=3"])


def test_true_and_false_are_no_numbers() -> None:
    assert refused("ratio=true") == "ratio = true (from 'ratio=true'): must be a number, not true or false."
    assert "sizes = false" in refused("sizes=[1, false]")
    assert built("exhaustive=true", "recipe.solver_options.nesterov=true").exhaustive
    layers = Layers()
    layers.put_overrides(["baseline.noise.std=true"])
    own_options(layers, "baseline")
    with pytest.raises(InputError, match=r"baseline.noise.std = true \(from 'baseline.noise.std=true'\)"):
        layers.check_changes("baseline", Recipe.model_validate({"noise": {"where": "labels", "std": 0.1}}))


def test_fields_of_nested_tables() -> None:
    assert "upper" in fields_at(Settings, ["recipe", "layerwise"])
    assert fields_at(Settings, ["recipe", "solver_options"]) == []
