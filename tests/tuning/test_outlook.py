"""The estimate of how many trials are left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from synthetic_world import World

from batchlimit.tuning.outlook import Outlook, halvings


@given(st.integers(1, 500), st.data())
def test_halvings_are_the_worst_of_any_bisection(gap: int, data: st.DataObject) -> None:
    low, high, steps = 0, gap, 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if data.draw(st.booleans()) else (low, middle)
        steps += 1
    assert halvings(gap) - 1 <= steps <= halvings(gap)


def test_less_is_left_the_less_there_is_to_decide() -> None:
    outlook = Outlook(World(limits={}).question())
    start = outlook.trials()
    outlook.linear -= 1
    later = outlook.trials()
    outlook.tries -= 1
    assert start > later > outlook.trials() > 0
    outlook.linear = outlook.tries = 0
    assert outlook.trials() == 0


def test_an_exhaustive_search_expects_its_whole_grid() -> None:
    outlook = Outlook(World(limits={}).question(exhaustive=True))
    outlook.linear = outlook.tries = 1
    assert outlook.trials() >= 3 * 21
