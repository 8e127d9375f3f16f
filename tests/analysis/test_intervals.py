"""Intervals and tests over seeds against brute force and known coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from batchlimit.analysis.intervals import FEW, difference_interval, holm, mean_interval, paired_test
from batchlimit.errors import InputError

FINITE = st.floats(-1e3, 1e3, allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(FINITE, min_size=2, max_size=12))
@example(values=[0.0, 2e-128])
@example(values=[0.0, 2e-170])
def test_an_interval_holds_its_mean_and_of_five_values_lies_within_them(values):
    found = mean_interval(values)
    rounding = 1e-9 * (1 + max(map(abs, values)))
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9, abs=rounding)
    assert found.low - rounding <= found.mean <= found.high + rounding
    if len(values) >= FEW:
        assert min(values) - rounding <= found.low <= found.high <= max(values) + rounding
    assert found.n == len(values)
    assert found == mean_interval(values)


def test_few_values_have_no_interval():
    assert mean_interval([]).mean is None
    assert mean_interval([]).n == 0
    one = mean_interval([0.5])
    assert (one.mean, one.low, one.high, one.n) == (0.5, None, None, 1)
    same = mean_interval([0.5, 0.5, 0.5])
    assert (same.low, same.high) == (0.5, 0.5)


@pytest.mark.parametrize(("n", "least", "most"), [(2, 0.9, 0.99), (3, 0.9, 0.99), (5, 0.88, 0.99), (12, 0.89, 0.99)])
def test_coverage_is_that_of_the_confidence_asked_for(n, least, most):
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        found = mean_interval(generator.normal(size=n).tolist())
        held += found.low <= 0 <= found.high
    assert least <= held / 200 <= most


@pytest.mark.parametrize(("left", "right"), [(2, 2), (3, 3), (3, 9)])
def test_differences_of_few_values_have_welch_s_interval(left, right):
    generator = np.random.default_rng(left + right)
    first, second = generator.normal(1.0, 1.0, left), generator.normal(0.0, 2.0, right)
    found = difference_interval(first.tolist(), second.tolist(), confidence=0.9)
    welch = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == (pytest.approx(welch.low), pytest.approx(welch.high))
    one = mean_interval(first.tolist(), confidence=0.9)
    student = stats.ttest_1samp(first, 0.0).confidence_interval(0.9)
    assert (one.low, one.high) == (pytest.approx(student.low), pytest.approx(student.high))


def test_differences_of_independent_samples():
    generator = np.random.default_rng(0)
    first, second = generator.normal(1.0, 1.0, 40), generator.normal(0.0, 1.0, 25)
    found = difference_interval(first.tolist(), second.tolist())
    assert found.mean == pytest.approx(first.mean() - second.mean())
    welch = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert found.low == pytest.approx(welch.low, abs=0.08)
    assert found.high == pytest.approx(welch.high, abs=0.08)
    assert found.n == 25
    back = difference_interval(second.tolist(), first.tolist())
    assert back.mean == pytest.approx(-found.mean)
    assert back.low == pytest.approx(-found.high, abs=0.05)
    assert difference_interval([1.0], [1.0, 2.0]).low is None
    assert difference_interval([], [1.0]).mean is None
    flat = difference_interval([2.0, 2.0], [1.0, 1.0])
    assert (flat.low, flat.mean, flat.high) == (1.0, 1.0, 1.0)


def test_a_permutation_test_turns_every_sign():
    generator = np.random.default_rng(0)
    gaps = generator.normal(0.4, 1.0, 8)
    means = [np.mean(gaps * signs) for signs in itertools.product((1, -1), repeat=8)]
    # Two-sided as scipy has it: twice the smaller tail.
    tail = min(np.mean(np.array(means) >= gaps.mean() - 1e-12), np.mean(np.array(means) <= gaps.mean() + 1e-12))
    found = paired_test(dict(enumerate(gaps)), dict.fromkeys(range(8), 0.0))
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert found.difference.mean == pytest.approx(gaps.mean())
    assert (found.n, found.wins, found.ties) == (8, int((gaps > 0).sum()), 0)


def test_pairs_are_made_by_seed():
    first = {0: 1.0, 1: 5.0, 2: 3.0, 7: 100.0}
    second = {2: 2.0, 1: 4.0, 0: 0.0, 9: -100.0}
    found = paired_test(first, second)
    assert (found.n, found.wins, found.difference.mean) == (3, 3, 1.0)
    assert paired_test({0: 1.0}, {1: 1.0}).p_value is None
    alike = paired_test({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}, test="wilcoxon")
    assert (alike.p_value, alike.ties, alike.test) == (1.0, 2, "wilcoxon")


@pytest.mark.parametrize("test", ["permutation", "wilcoxon"])
def test_false_alarms_are_rare_and_real_differences_seen(test):
    generator = np.random.default_rng(1)
    alarms = seen = 0
    for _ in range(60):
        base, noise = generator.normal(size=(2, 10))
        first = dict(enumerate(base + 0.5 * noise))
        alarms += paired_test(first, dict(enumerate(base)), test=test).p_value < 0.05
        seen += paired_test(first, dict(enumerate(base - 0.7)), test=test).p_value < 0.05
    assert alarms / 60 < 0.15
    assert seen / 60 > 0.8


def test_the_smallest_p_value_is_that_of_all_signs():
    for n, least in ((5, 2 / 32), (6, 2 / 64)):
        found = paired_test({s: 1.0 + 0.01 * s for s in range(n)}, dict.fromkeys(range(n), 0.0))
        assert found.p_value == pytest.approx(least)


@settings(max_examples=50, deadline=None)
@given(p_values=st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_its_procedure_rejects(p_values):
    corrected = holm(p_values)
    m = len(p_values)
    assert all(raw <= after <= 1.0 for raw, after in zip(p_values, corrected, strict=True))
    assert max(corrected, default=0.0) >= min(1.0, m * min(p_values, default=0.0))
    order = sorted(range(m), key=lambda index: p_values[index])
    assert [corrected[index] for index in order] == sorted(corrected)
    # The step-down procedure itself: rejected at 5 % until the first that is not.
    rejected = set()
    for rank, index in enumerate(order):
        if p_values[index] * (m - rank) > 0.05:
            break
        rejected.add(index)
    assert {index for index, after in enumerate(corrected) if after <= 0.05} == rejected


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([]) == ()


def test_what_is_not_finite_or_not_known_is_refused():
    with pytest.raises(InputError, match="not finite"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(InputError, match="not finite"):
        difference_interval([1.0, 2.0], [float("inf"), 1.0])
    with pytest.raises(InputError, match="Did you mean 'wilcoxon'"):
        paired_test({0: 1.0}, {0: 1.0}, test="wilcoxn")
