"""What a search is about: which batch sizes, which recipes, whose baseline."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from synthetic_world import CANDIDATES
from torch import nn

from batchlimit.api.opening import question_of
from batchlimit.config import Recipe
from batchlimit.data.splits import DataSet
from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.studies.facts import StudySettings
from batchlimit.tuning.question import (
    FindSettings,
    Question,
    asked_baseline,
    checked_batch_sizes,
    ladder,
    make_question,
)
from batchlimit.tuning.single import TuneSettings
from batchlimit.workloads.workload import LOSS, Workload


def nothing() -> DataSet:
    raise AssertionError("a question is made without the data")


WORKLOAD = Workload(
    name="toy",
    make_model=lambda: nn.Linear(1, 1),
    load=nothing,
    baseline=Recipe(lr=0.3, weight_decay=1e-4),
    batch_size=16,
    budget="12 epochs",
)


def question(dataset_size: int = 1000, **settings: object) -> Question:
    chosen = FindSettings.model_validate(settings)
    return make_question(WORKLOAD, chosen, dataset_size=dataset_size, candidates=CANDIDATES)


@given(st.integers(1, 2000), st.integers(2, 2_000_000), st.floats(1.1, 16))
def test_a_ladder_is_log_spaced_and_ends_at_the_full_batch(smallest: int, largest: int, resolution: float) -> None:
    assume(smallest < largest)
    sizes = ladder(smallest, largest, resolution)
    assert sizes[-1] == largest
    assert all(left < right for left, right in pairwise((smallest, *sizes)))
    for size in sizes[:-1]:
        rungs = math.log(size / smallest) / math.log(resolution)
        slack = math.log(1 + 0.5 / (size - 0.5)) / math.log(resolution)  # sizes are whole
        assert abs(rungs - round(rungs)) <= slack + 1e-9
        assert math.log(largest / size) / math.log(resolution) >= 0.5 - slack - 1e-9
    first = sizes[0] / smallest
    assert first <= resolution**1.5 * (1 + 1 / smallest)


def test_the_ladder_of_digits() -> None:
    assert ladder(16, 1000, 2.0) == (32, 64, 128, 256, 512, 1000)
    assert ladder(16, 20, 2.0) == (20,)


def test_batch_sizes_are_sorted_and_end_at_the_full_batch() -> None:
    assert checked_batch_sizes((256, 64, 64, 16, 8), 16, 1000) == (64, 256, 1000)
    assert question(batch_sizes=(512, 128)).batch_sizes == (128, 512, 1000)


@pytest.mark.parametrize("sizes", [(0,), (-4,), (1001,), (64, 2000)])
def test_a_batch_size_that_cannot_be_is_bad_input(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=rf"batch_sizes has {sizes[-1]}\. Valid: 17 to 1000 "):
        question(batch_sizes=sizes)


def test_no_batch_sizes_are_bad_input() -> None:
    with pytest.raises(InputError, match=r"batch_sizes is empty\. Valid: sizes from 17 to 1000"):
        question(batch_sizes=())


@pytest.mark.parametrize("sizes", [(8,), (16,), (4, 16)])
def test_batch_sizes_that_are_all_no_larger_than_the_baseline_s_are_bad_input(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"no size above the baseline's 16\. Valid: 17 to 1000, or a smaller"):
        question(batch_sizes=sizes)


def test_a_question_takes_what_it_is_not_told_from_the_workload() -> None:
    asked = question()
    assert (asked.workload, asked.metric_name, asked.metric_direction) == ("toy", "accuracy", "up")
    assert (asked.baseline, asked.baseline_batch_size) == (WORKLOAD.baseline, 16)
    assert asked.budget == Duration(12.0, "epochs")
    assert asked.batch_sizes == ladder(16, 1000, 2.0)
    assert asked.candidates == CANDIDATES
    down = make_question(replace(WORKLOAD, metric=LOSS), FindSettings(), dataset_size=1000, candidates=CANDIDATES)
    assert (down.metric_name, down.metric_direction) == ("loss", "down")


def test_settings_change_the_baseline_and_the_budget() -> None:
    asked = question(baseline={"batch_size": 32, "lr": 0.5, "solver_options.momentum": 0.8}, epochs="3 epochs")
    assert asked.baseline_batch_size == 32
    assert asked.baseline == Recipe(lr=0.5, weight_decay=1e-4, solver_options={"momentum": 0.8})
    assert asked.batch_sizes[0] == 64
    assert asked.budget == Duration(3.0, "epochs")
    assert asked_baseline(WORKLOAD, FindSettings(), 1000) == (16, WORKLOAD.baseline)


def test_every_batch_size_is_trained_on_as_many_examples() -> None:
    steps = replace(WORKLOAD, budget="200 steps")
    own = make_question(steps, FindSettings(), dataset_size=1000, candidates=CANDIDATES)
    assert str(own.budget) == "3200 examples"
    asked = question(epochs="50 steps", baseline={"batch_size": 32})
    assert str(asked.budget) == "1600 examples"


@pytest.mark.parametrize("epochs", ["5%", "0", "0 steps"])
@pytest.mark.parametrize("settings", [FindSettings, TuneSettings, StudySettings])
def test_a_length_that_trains_nothing_is_refused(settings: type[BaseModel], epochs: str) -> None:
    with pytest.raises(ValidationError, match="must be a positive number of steps, epochs or examples"):
        settings.model_validate({"epochs": epochs})


@pytest.mark.parametrize("size", ["abc", 16.7, True])
def test_a_baseline_s_batch_size_is_a_whole_number(size: object) -> None:
    with pytest.raises(ValidationError, match="no whole number"):
        FindSettings.model_validate({"baseline": {"batch_size": size}})


def test_a_workload_s_own_recipe_is_tried_with_its_warmup_and_its_lr_rule_counts_once() -> None:
    ruled = Recipe(lr=0.4, warmup="5 epochs", lr_rule="linear", reference_batch_size=16)
    own = replace(WORKLOAD, recipes={"ruled": ruled, "plain": Recipe(lr=0.4)})
    found = {candidate.name: candidate for candidate in question_of(own, FindSettings(), 1000).candidates}
    assert (found["ruled"].warmups, found["ruled"].exponent) == (("0%", "5 epochs", "30%"), 0.0)
    assert (found["plain"].warmups, found["plain"].exponent) == (("0%", "10%", "30%"), 0.5)


def test_a_baseline_with_adascale_can_be_asked_about() -> None:
    baseline = {"adascale": True, "reference_batch_size": 16}
    asked = question_of(WORKLOAD, FindSettings(baseline=baseline), 1000)
    assert asked.baseline.adascale
    assert [c.name for c in asked.candidates if c.recipe.adascale] == ["adascale momentum"]


@pytest.mark.parametrize("size", [0, -1, 1000, 5000])
def test_a_baseline_that_is_no_smaller_than_the_data_is_bad_input(size: int) -> None:
    with pytest.raises(InputError, match=rf"baseline's batch_size is {size}\. Valid: 1 to 999"):
        question(baseline={"batch_size": size})


def test_recipes_are_chosen_by_name() -> None:
    assert [c.name for c in question(recipes=("adamw", "lamb")).candidates] == ["lamb", "adamw"]
    with pytest.raises(InputError, match=r"Unknown recipe 'lambda'\. Did you mean 'lamb'\? Valid: adamw, lamb, lars"):
        question(recipes=("lambda",))


def test_fewer_seeds_at_most_than_at_least_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"max_seeds \(4\) is below seeds \(5\)"):
        FindSettings(max_seeds=4)


def test_a_question_survives_being_stored() -> None:
    asked = question(recipes=("lars",), epochs="90 steps", baseline={"lr": 0.25}, batch_sizes=(100, 200))
    assert Question.model_validate_json(asked.model_dump_json(exclude_defaults=True)) == asked
