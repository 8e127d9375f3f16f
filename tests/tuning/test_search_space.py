"""Search spaces: values that round the same way everywhere, and input that makes no sense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from batchlimit.config import Recipe
from batchlimit.errors import InputError
from batchlimit.tuning.search_space import Dimension, SearchSpace, rounded

positive = st.floats(min_value=1e-8, max_value=1e8)


def test_grid_of_a_log_interval_is_evenly_spaced_in_log() -> None:
    lr = Dimension(name="lr", low=0.001, high=10, log=True, points=5)
    assert lr.grid() == (0.001, 0.01, 0.1, 1.0, 10.0)
    assert lr.middle() == 0.1


def test_grid_of_an_interval_with_a_unit_is_durations() -> None:
    warmup = Dimension(name="warmup", low=0, high=4, unit="epochs", points=3)
    assert warmup.grid() == ("0 epochs", "2 epochs", "4 epochs")
    assert Dimension(name="warmup", low=0, high=50, unit="%", points=2).grid() == ("0%", "50%")
    assert warmup.number("2.5 epochs") == 2.5
    assert Dimension(name="warmup", low=0, high=50, unit="%").number("12%") == 12


def test_a_point_interval_has_one_value() -> None:
    assert Dimension(name="lr", low=0.1, high=0.1, log=True).grid() == (0.1,)
    assert Dimension(name="lr", low=0.1, high=2, points=1).grid() == (1.05,)


def test_choices_keep_their_types() -> None:
    given = Dimension(name="solver_options.nesterov", choices=(True, False, 1, 0.5, "x"))
    assert [type(value) for value in given.grid()] == [bool, bool, int, float, str]
    assert Dimension(name="warmup", choices=("0 epochs", "1 epochs", "5 epochs", "9 epochs")).middle() == "1 epochs"


@given(positive, positive, st.integers(1, 9), st.booleans())
def test_grid_values_lie_within_the_rounded_bounds_in_order(a: float, b: float, points: int, log: bool) -> None:
    dimension = Dimension(name="lr", low=min(a, b), high=max(a, b), log=log, points=points)
    values = [float(value) for value in dimension.grid()]
    low, high = dimension.bounds
    assert values == sorted(set(values))
    assert all(low <= value <= high for value in values)
    if points > 1:
        assert (values[0], values[-1]) == (low, high)


@given(positive)
def test_rounding_is_idempotent_and_close(number: float) -> None:
    assert rounded(rounded(number)) == rounded(number)
    assert math.isclose(rounded(number), number, rel_tol=5.1e-4)


@given(positive)
def test_a_duration_gives_its_number_back(number: float) -> None:
    dimension = Dimension(name="warmup", low=1e-9, high=1e9, unit="epochs")
    assert dimension.number(dimension.value(number)) == rounded(number)


def test_centring_moves_the_window_and_keeps_its_width() -> None:
    moved = Dimension(name="lr", low=0.01, high=1, log=True).centred(2.0)
    assert (moved.low, moved.high) == (0.2, 20.0)
    assert moved.middle() == 2.0
    linear = Dimension(name="warmup", low=0, high=4, unit="epochs")
    assert linear.centred("5 epochs").bounds == (3, 7)
    assert linear.centred("1 epochs").bounds == (0, 4)  # never below zero
    choices = Dimension(name="warmup", choices=("0 epochs",))
    assert choices.centred("9 epochs") == choices
    space = SearchSpace.parse({"lr": {"low": 0.01, "high": 1, "log": True}, "weight_decay": {"low": 0.1, "high": 0.2}})
    assert space.centred("lr", 0.2).dimensions[0].bounds == (0.02, 2.0)
    assert space.centred("lr", 0.2).dimensions[1] == space.dimensions[1]


def test_parsing_plain_data_and_applying_to_a_recipe() -> None:
    space = SearchSpace.parse(
        {"lr": {"low": 0.1, "high": 1}, "warmup": ["0 epochs", "1 epochs"], "solver_options.momentum": 0.9}
    )
    space.check(Recipe())
    recipe = Recipe().updated(space.middle())
    assert (recipe.lr, str(recipe.warmup), recipe.solver_options) == (0.55, "0 epochs", {"momentum": 0.9})


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"low": 1}, "needs either choices or low and high"),
        ({"low": 1, "high": 2, "choices": [1]}, "needs either choices or low and high"),
        ({"low": 2, "high": 1}, r"low \(2\) of 'lr' is above high \(1\)"),
        ({"low": 0, "high": 1, "log": True}, r"low \(0\) must be above 0"),
        ({"low": 1, "high": 2, "points": 0}, "points"),
        ({"low": 1, "high": 2, "steps": 3}, "steps"),
        ({"low": float("nan"), "high": 2}, "low"),
        ([], "needs either choices or low and high"),
        ([1, 1], "a choice twice"),
    ],
)
def test_descriptions_that_make_no_sense(description: object, message: str) -> None:
    with pytest.raises(InputError, match=f"Search space, field 'lr'.*{message}") as error:
        SearchSpace.parse({"lr": description})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("learning_rate", [0.1], "Unknown key 'learning_rate'.*solver_options"),
        ("lr", [0.1, -1.0], r"lr = -1\.0: must be greater than 0\.$"),
        ("lr.lo", [1], r"lr: must be a number\.$"),
        ("warmup", ["soon"], "warmup: Cannot read the duration 'soon'"),
        ("layerwise.colour", [1], r"Unknown key 'layerwise\.colour'.*Valid in \[layerwise\]: coefficient"),
    ],
)
def test_fields_and_values_that_a_recipe_does_not_take(field: str, values: list[object], message: str) -> None:
    with pytest.raises(InputError, match=f"^Search space, field '{field}': {message}") as error:
        SearchSpace.parse({field: values}).check(Recipe())
    assert "\n" not in str(error.value)


def test_a_field_only_once() -> None:
    with pytest.raises(ValidationError, match="twice"):
        SearchSpace(dimensions=(Dimension(name="lr", choices=(1.0,)), Dimension(name="lr", choices=(2.0,))))
