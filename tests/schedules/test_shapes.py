"""The schedules against their float64 twins, and against published values."""

from __future__ import annotations

import itertools
import math

import pytest
from naive_schedules import TWINS

from batchlimit.errors import InputError
from batchlimit.schedules import schedules
from batchlimit.schedules.build import make_schedule
from batchlimit.schedules.figures import PAPER_FIGURES


@pytest.mark.parametrize("name", sorted(TWINS))
@pytest.mark.parametrize(("total", "warmup"), [(35, 7), (141, 0), (250, 127.5), (1738, 606.0)])
def test_each_agrees_with_its_twin(name, total, warmup) -> None:
    factor = make_schedule(name, {}, total_steps=total, warmup_steps=warmup)
    expected = [TWINS[name](step, total, warmup) for step in range(total)]
    assert [factor(step) for step in range(total)] == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("polynomial", {"power": 2.0, "end": 0.3}),
        ("polynomial", {"power": 0.5}),
        ("cosine", {"end": 0.2}),
        ("cosine-cycles", {"cycles": 1}),
        ("cosine-cycles", {"cycles": 7, "end": 0.1}),
        ("cyclical", {"length": 0.37, "low": 0.0}),
        ("trapezoid", {"decay": 0.5, "end": 0.05}),
    ],
)
def test_options_agree_with_the_twin(name, options) -> None:
    factor = make_schedule(name, options, total_steps=97, warmup_steps=11)
    expected = [TWINS[name](step, 97, 11, **options) for step in range(97)]
    assert [factor(step) for step in range(97)] == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_the_authors_full_batch_recipe() -> None:
    """The author's LAMB at 60,000: peak 0.11, 7 of 35 steps of warmup, power 0.5, decay counted from step 0."""
    options = {"power": 0.5, "decay_from": "start", "warmup_from_zero": True}
    factor = make_schedule("polynomial", options, total_steps=35, warmup_steps=7)
    lrs = [0.11 * factor(step) for step in range(35)]
    assert lrs[0] == 0.0
    assert lrs[6] == pytest.approx(0.11 * 6 / 7)
    assert lrs[7] == pytest.approx(0.11 * math.sqrt(28 / 35))  # the jump where warmup ends
    assert lrs[34] == pytest.approx(0.11 * math.sqrt(1 / 35))


def test_mlperf_resnet_at_64k() -> None:
    """MLPerf's LARS at 65,536: 24.699, 31 epochs of warmup, power 2 to an absolute 1e-4 in 1738 steps."""
    peak, total = 24.699, 1738
    warmup = 31 * 1_281_167 / 65_536
    factor = make_schedule("polynomial", {"power": 2.0, "end": 1e-4 / peak}, total_steps=total, warmup_steps=warmup)
    assert peak * factor(100) == pytest.approx(24.699 * 101 / 606.02, rel=1e-4)
    halfway = round((warmup + total) / 2)
    assert peak * factor(halfway) == pytest.approx(24.699 / 4, rel=2e-3)
    assert peak * factor(total) == pytest.approx(1e-4)


def test_decay_from_the_start_and_from_the_end_of_warmup_agree_without_warmup() -> None:
    start, end = (
        make_schedule("polynomial", {"power": 2.0, "decay_from": origin}, total_steps=50, warmup_steps=0)
        for origin in ("start", "warmup_end")
    )
    assert [start(step) for step in range(50)] == [end(step) for step in range(50)]


def test_warmup_shapes() -> None:
    linear = make_schedule("constant", {}, total_steps=20, warmup_steps=8)
    bent = make_schedule("constant", {"warmup_shape": "cosine"}, total_steps=20, warmup_steps=8)
    zero = make_schedule("constant", {"warmup_from_zero": True}, total_steps=20, warmup_steps=8)
    assert [linear(step) for step in (0, 3, 7, 8)] == [0.125, 0.5, 1.0, 1.0]
    assert [zero(step) for step in (0, 4, 7, 8)] == [0.0, 0.5, 0.875, 1.0]
    assert bent(3) == pytest.approx(0.5)
    assert bent(1) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)
    assert bent(1) < linear(1)
    assert bent(5) > linear(5)


@pytest.mark.parametrize(("grain", "expected"), [("fine", 20), ("regular", 5), ("coarse", 2)])
@pytest.mark.parametrize("restarts", [False, True])
def test_grain_is_the_number_of_descents(grain, expected, restarts) -> None:
    factor = make_schedule("cosine-cycles", {"grain": grain, "restarts": restarts}, total_steps=4000, warmup_steps=0)
    curve = [factor(step) for step in range(4001)]
    lows = sum(
        left > value and (value <= right or (value < 0.01 and right > 0.9))
        for left, value, right in zip(curve, curve[1:], curve[2:], strict=False)
    )
    assert lows + 1 == expected  # the last low is the end itself
    assert curve[-1] == pytest.approx(0.0, abs=1e-12)


def test_restarts_jump_up_and_waves_do_not() -> None:
    wave = make_schedule("cosine-cycles", {}, total_steps=1000, warmup_steps=0)
    jumps = make_schedule("cosine-cycles", {"restarts": True}, total_steps=1000, warmup_steps=0)
    assert max(abs(wave(step + 1) - wave(step)) for step in range(1000)) < 0.02
    rises = [step for step in range(999) if jumps(step + 1) > jumps(step)]
    assert rises == [199, 399, 599, 799]
    assert all(jumps(step + 1) == pytest.approx(1.0) for step in rises)


def test_cyclical_shrinks_and_counts_in_steps() -> None:
    factor = make_schedule("cyclical", {"length_steps": 10, "low": 0.2, "shrink": 0.5}, total_steps=40, warmup_steps=0)
    assert [factor(step) for step in (0, 5, 10, 15, 20, 25)] == pytest.approx([0.2, 1.0, 0.2, 0.6, 0.2, 0.4])
    falling = make_schedule("cyclical", {"length_steps": 10, "low": 0.2}, total_steps=40, warmup_steps=4)
    assert [falling(step) for step in (4, 9, 14, 19)] == pytest.approx([1.0, 0.2, 1.0, 0.2])


def test_cyclical_shrinks_where_it_is_lowest_after_a_warmup_too() -> None:
    """Every step is as long as a triangle's: nowhere does the wave jump."""
    options = {"length_steps": 10, "low": 0.2, "shrink": 0.5}
    factor = make_schedule("cyclical", options, total_steps=44, warmup_steps=4)
    wave = [factor(step) for step in range(4, 40)]
    assert [wave[0], wave[5], wave[10], wave[15], wave[20]] == pytest.approx([1.0, 0.2, 0.6, 0.2, 0.4])
    assert max(abs(b - a) for a, b in itertools.pairwise(wave)) == pytest.approx(0.8 / 5)


@pytest.mark.parametrize(("shape", "quarter"), [("linear", 0.75), ("sqrt", 0.5), ("cosine", 0.853553)])
def test_trapezoid_shapes(shape, quarter) -> None:
    factor = make_schedule("trapezoid", {"decay": 0.4, "decay_shape": shape}, total_steps=100, warmup_steps=10)
    assert [factor(step) for step in (10, 40, 60)] == [1.0, 1.0, 1.0]
    assert factor(70) == pytest.approx(quarter, abs=1e-6)
    assert factor(100) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("number", sorted(PAPER_FIGURES))
def test_each_figure_of_the_paper_can_be_drawn(number) -> None:
    title, warms_up, name, options = PAPER_FIGURES[number]
    factor = make_schedule(name, options, total_steps=1000, warmup_steps=100 if warms_up else 0)
    curve = [factor(step) for step in range(1000)]
    assert title
    assert max(curve) == pytest.approx(1.0, abs=1e-3)
    assert (curve[0] < 0.05) == warms_up
    turns = sum((b - a) * (c - b) < 0 for a, b, c in zip(curve, curve[1:], curve[2:], strict=False))
    turning = {23: 8, 24: 0, 25: 38, 26: 8, 27: 2, 28: 0, 29: 0, 32: 17, 33: 4}[number]  # after the peak of warmup
    assert turns == turning


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("polynomial", {"power": -1.0}, "'power' is -1. Valid: 0 or more"),
        ("polynomial", {"power": math.nan}, "'power' .* is nan: must be a finite number"),
        ("cyclical", {"length_steps": math.inf}, "'length_steps' .* is inf: must be a finite number"),
        ("polynomial", {"decay_from": "middle"}, "'warmup_end' or 'start'"),
        ("cosine", {"end": 1.5}, "'end' is 1.5. Valid: 0 to 1"),
        ("cosine-cycles", {"cycles": -2}, "'cycles' is -2"),
        ("cyclical", {"length": 0.0}, "'length' is 0. Valid: above 0"),
        ("cyclical", {"length_steps": -1.0}, "'length_steps' is -1"),
        ("trapezoid", {"decay": 2.0}, "'decay' is 2. Valid: 0 to 1"),
        ("cosin", {}, "Unknown schedule 'cosin'. Did you mean 'cosine'"),
        ("constant", {"warmup_shape": "round"}, "'linear' or 'cosine'"),
    ],
)
def test_bad_values_are_found_before_training(name, options, message) -> None:
    with pytest.raises(InputError, match=message):
        make_schedule(name, options, total_steps=10, warmup_steps=5)


@pytest.mark.parametrize(("total", "warmup"), [(0, 0.0), (10, -1.0), (10, math.inf), (10, math.nan)])
def test_bad_lengths(total, warmup) -> None:
    with pytest.raises(InputError, match=r"steps\. Valid"):
        make_schedule("constant", {}, total_steps=total, warmup_steps=warmup)


def test_all_built_in_schedules_have_a_twin() -> None:
    built_in = [name for name in schedules if schedules.get(name).__module__.startswith("batchlimit.")]  # type: ignore[attr-defined]
    assert built_in == sorted(TWINS)
