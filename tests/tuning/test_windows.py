"""Where learning rates are looked for: on one grid, whatever the batch size and wherever the window went."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_world import World

from batchlimit.config import Recipe
from batchlimit.tuning.question import Candidate
from batchlimit.tuning.search_space import SearchSpace
from batchlimit.tuning.windows import centre, first_window, grid_space, next_window, range_space, snapped

CANDIDATES = st.builds(
    Candidate,
    name=st.just("lars"),
    recipe=st.floats(1e-4, 50).map(lambda lr: Recipe(solver="lars", lr=float(f"{lr:.3g}"))),
    anchor=st.sampled_from(["baseline", "full"]),
    exponent=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    step=st.sampled_from([1.5, 2.0, 3.0, 10**0.5]),
    reach=st.integers(0, 4),
)
QUESTION = World(limits={}, dataset_size=60_000, baseline_batch_size=256).question()


def rates(space: SearchSpace) -> list[float]:
    return [float(lr) for lr in space.dimensions[0].choices]


def on_grid(candidate: Candidate, lr: float) -> bool:
    """Whether `lr` is, to the last bit, what the candidate's grid has there: then no trial is run for a near twin."""
    rung = round(math.log(lr / candidate.recipe.lr, candidate.step))
    return lr == float(f"{candidate.recipe.lr * candidate.step**rung:.4g}")


@given(CANDIDATES, st.integers(256, 60_000))
def test_all_windows_lie_on_one_grid(candidate: Candidate, batch_size: int) -> None:
    middle = centre(candidate, batch_size, QUESTION)
    whole = rates(grid_space(candidate, batch_size, QUESTION))
    assert len(whole) == 2 * candidate.reach + 1
    found = [*whole, *rates(first_window(candidate, middle, learned=False))]
    for lr in whole:
        found += rates(next_window(candidate, lr))
        found += rates(first_window(candidate, lr, learned=True))
    assert all(on_grid(candidate, lr) for lr in found)


@given(CANDIDATES, st.integers(256, 60_000))
def test_the_centre_follows_the_batch_size(candidate: Candidate, batch_size: int) -> None:
    anchor = 60_000 if candidate.anchor == "full" else 256
    meant = candidate.recipe.lr * (batch_size / anchor) ** candidate.exponent
    found = centre(candidate, batch_size, QUESTION)
    assert abs(math.log(found / meant)) <= math.log(candidate.step) / 2 + 1e-3


@given(CANDIDATES, st.floats(1e-6, 1e3))
def test_snapping_twice_is_snapping_once(candidate: Candidate, lr: float) -> None:
    once = snapped(candidate, lr)
    assert snapped(candidate, once) == once


def test_windows_begin_wide_where_nothing_is_known_and_close_in() -> None:
    candidate = Candidate(name="lars", recipe=Recipe(solver="lars", lr=8.0))
    assert first_window(candidate, 8.0, learned=False).dimensions[0].choices == (2.0, 8.0, 32.0)
    assert first_window(candidate, 8.0, learned=False).dimensions[1].choices == ("10%",)
    assert first_window(candidate, 8.0, learned=True).dimensions[0].choices == (4.0, 8.0, 16.0)
    assert next_window(candidate, 4.0).dimensions[0].choices == (2.0, 4.0, 8.0)
    assert next_window(candidate, 4.0).dimensions[1].choices == ("0%", "10%", "30%")


def test_the_range_is_as_wide_as_the_grid() -> None:
    candidate = Candidate(name="lars", recipe=Recipe(solver="lars", lr=8.0))
    whole = rates(grid_space(candidate, 256, QUESTION))
    lr = range_space(candidate, 8.0).dimensions[0]
    assert (lr.low, lr.high, lr.log) == (min(whole), max(whole), True)
    assert range_space(candidate, 8.0).dimensions[1].choices == candidate.warmups


def test_a_candidate_with_one_warmup_has_one() -> None:
    candidate = Candidate(name="lars", recipe=Recipe(solver="lars", lr=8.0), warmups=("5%",))
    assert first_window(candidate, 8.0, learned=True).grid_size() == 3
    assert grid_space(candidate, 256, QUESTION).grid_size() == 7


def test_a_step_must_lead_somewhere() -> None:
    with pytest.raises(ValueError, match="greater than 1"):
        Candidate(name="lars", recipe=Recipe(), step=1.0)
