"""What every registered schedule must do; a schedule added in one file is tested here at once."""

from __future__ import annotations

import inspect
import itertools
import pickle
import subprocess
import sys
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchlimit.config import Recipe
from batchlimit.errors import InputError
from batchlimit.schedules import schedules
from batchlimit.schedules.build import build_schedule, make_schedule, schedule_options

NAMES = schedules.names()
PLANS = st.tuples(st.integers(1, 400), st.floats(0, 600, allow_nan=False))


def test_the_built_in_schedules_are_registered() -> None:
    assert {"constant", "polynomial", "cosine", "cosine-cycles", "cyclical", "trapezoid"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(plan=PLANS, from_zero=st.booleans(), shape=st.sampled_from(["linear", "cosine"]))
def test_factors_lie_between_0_and_1_and_warmup_rises(name, plan, from_zero, shape) -> None:
    total, warmup = plan
    options = {"warmup_from_zero": from_zero, "warmup_shape": shape}
    factor = make_schedule(name, options, total_steps=total, warmup_steps=warmup)
    factors = [factor(step) for step in range(total + 2)]
    assert all(0.0 <= value <= 1.0 for value in factors)
    rising = factors[: min(total, int(warmup))]
    assert all(late > early for early, late in itertools.pairwise(rising))
    if not from_zero:
        assert factors[0] > 0.0  # no step is wasted at a learning rate of 0


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(warmup=st.integers(1, 3000), from_zero=st.booleans(), shape=st.sampled_from(["linear", "cosine"]))
def test_the_factor_does_not_jump_where_warmup_ends(name, warmup, from_zero, shape) -> None:
    options = {"warmup_from_zero": from_zero, "warmup_shape": shape}
    factor = make_schedule(name, options, total_steps=100_000, warmup_steps=warmup)
    assert factor(warmup) == pytest.approx(1.0, abs=1e-3)
    assert factor(warmup - 1) == pytest.approx(1.0, abs=3.0 / warmup)


@pytest.mark.parametrize("name", NAMES)
def test_a_warmup_longer_than_the_training_only_rises(name) -> None:
    factor = make_schedule(name, {}, total_steps=10, warmup_steps=25)
    assert [factor(step) for step in range(10)] == pytest.approx([(step + 1) / 25 for step in range(10)])


@pytest.mark.parametrize("name", NAMES)
def test_a_training_of_one_step_moves(name) -> None:
    assert make_schedule(name, {}, total_steps=1, warmup_steps=0)(0) > 0


@pytest.mark.parametrize("name", [name for name in NAMES if "end" in schedule_options(name)])
def test_a_schedule_with_an_end_gets_there(name) -> None:
    factor = make_schedule(name, {"end": 0.125}, total_steps=2000, warmup_steps=100)
    assert factor(1999) == pytest.approx(0.125, abs=1e-2)
    assert factor(2000) == factor(5000) == pytest.approx(0.125)


@pytest.mark.parametrize("name", NAMES)
def test_progress_not_length_decides(name) -> None:
    """The same share of a longer training has the same factor: batch sizes are comparable."""
    short = make_schedule(name, {}, total_steps=400, warmup_steps=40.0)
    long = make_schedule(name, {}, total_steps=4000, warmup_steps=400.0)
    assert [short(step) for step in range(40, 400)] == pytest.approx([long(10 * step) for step in range(40, 400)])


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_default_and_a_type_and_is_checked(name) -> None:
    entry = schedules.get(name)
    hints = get_type_hints(entry)
    options = schedule_options(name)
    assert {"warmup_shape", "warmup_from_zero"} <= set(options)
    for option, default in options.items():
        assert default is not inspect.Parameter.empty
        assert option in hints
        with pytest.raises(InputError, match=f"option '{option}'"):
            make_schedule(name, {option: [default]}, total_steps=10, warmup_steps=0)
    with pytest.raises(InputError, match=r"no option 'colour'.*warmup_shape"):
        make_schedule(name, {"colour": 1}, total_steps=10, warmup_steps=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_function_crosses_processes(name) -> None:
    factor = build_schedule(Recipe(schedule=name), total_steps=50, warmup_steps=3.5)
    again = pickle.loads(pickle.dumps(factor))
    assert [again(step) for step in range(50)] == [factor(step) for step in range(50)]


def test_schedules_need_no_torch() -> None:
    code = (
        "import sys; from batchlimit.schedules import schedules; from batchlimit.schedules.build import make_schedule;"
        "[make_schedule(n, {}, total_steps=9, warmup_steps=2)(3) for n in schedules]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
