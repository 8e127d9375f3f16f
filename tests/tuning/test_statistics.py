"""Estimates and decisions: as SciPy has them, and wrong no more often than they say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_limit import welch
from scipy import stats

from batchlimit.tuning.statistics import compare, confidence_of_a_look, estimate, looks, worth_more

VALUES = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(VALUES, st.sampled_from([0.9, 0.95, 0.99]))
def test_an_estimate_is_the_t_interval(values: list[float], confidence: float) -> None:
    found = estimate(values, confidence)
    mean, error = np.mean(values), stats.sem(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(mean, abs=1e-9)
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * error
    assert found.low == pytest.approx(mean - half, abs=1e-9)
    assert found.high == pytest.approx(mean + half, abs=1e-9)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    assert estimate([3.0]).model_dump() == {"mean": 3.0, "low": None, "high": None, "n": 1}
    assert estimate([]).model_dump() == {"mean": None, "low": None, "high": None, "n": 0}


@settings(max_examples=200)
@given(VALUES, VALUES, st.sampled_from([0.8, 0.995, 1.0, 1.2]), st.sampled_from([0.9, 0.95, 0.99]))
def test_a_comparison_is_welchs(values: list[float], reference: list[float], factor: float, confidence: float) -> None:
    bar = [factor * value for value in reference]
    assert compare(values, reference, factor, confidence) == welch(values, bar, confidence)


def test_a_comparison_counts_the_uncertainty_of_the_reference() -> None:
    values = [1.0, 1.001, 0.999]
    assert compare(values, [0.98, 0.981, 0.979], 1.0, 0.95) == "pass"
    assert compare(values, [0.9, 1.06, 0.98], 1.0, 0.95) == "undecided"


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_values_decide_nothing(values: list[float]) -> None:
    assert compare(values, [0.0, 0.1], 1.0, 0.95) == "undecided"
    assert compare([0.0, 0.1], values, 1.0, 0.95) == "undecided"


def test_without_variance_the_bar_itself_passes() -> None:
    assert compare([0.5, 0.5], [1.0, 1.0], 0.5, 0.99) == "pass"
    assert compare([0.499, 0.499], [1.0, 1.0], 0.5, 0.99) == "fail"


@given(st.integers(2, 50), st.integers(0, 200))
def test_looks_double_from_the_first_number_of_seeds_to_the_cap(seeds: int, more: int) -> None:
    sizes = looks(seeds, seeds + more)
    assert sizes[0] == seeds
    assert sizes[-1] == seeds + more
    assert all(right == 2 * left for left, right in pairwise(sizes[:-1]))
    assert all(left < right <= 2 * left for left, right in pairwise(sizes))


def test_looks_of_the_default_settings() -> None:
    assert looks(5, 20) == (5, 10, 20)
    assert looks(5, 5) == (5,)


@given(st.floats(0.6, 0.999), st.integers(1, 8))
def test_all_looks_together_err_as_rarely_as_one(confidence: float, count: int) -> None:
    assert count * (1 - confidence_of_a_look(confidence, count)) == pytest.approx(1 - confidence)


def decide(random: np.random.Generator, gap: float, confidence: float = 0.95) -> str:
    """Return the decision about values whose true mean lies `gap` standard deviations above the bar, look by look."""
    reference = list(random.normal(100.0, 1.0, 10))
    values = list(random.normal(99.5 + gap, 1.0, 20))
    stages = looks(5, 20)
    decision = "undecided"
    for size in stages:
        decision = compare(values[:size], reference, 0.995, confidence_of_a_look(confidence, len(stages)))
        if decision != "undecided":
            break
    return decision


def test_adding_seeds_until_decided_errs_no_more_often_than_the_confidence_allows() -> None:
    random, count = np.random.default_rng(7), 2000
    at_the_bar = [decide(random, gap=0.0) for _ in range(count)]
    # At the bar either decision is by chance: 5 % at most; 6.5 % is three standard errors above.
    assert count - at_the_bar.count("undecided") <= 0.065 * count
    # Bonferroni is cautious, not paralysed: without it, or with far too wide an interval, this would be off.
    assert count - at_the_bar.count("undecided") >= 0.01 * count
    far_above = [decide(random, gap=2.0) for _ in range(300)]
    assert far_above.count("fail") == 0
    assert far_above.count("pass") >= 0.95 * 300
    far_below = [decide(random, gap=-2.0) for _ in range(300)]
    assert far_below.count("pass") == 0
    assert far_below.count("fail") >= 0.95 * 300


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_values_against_many_err_no_more_often_than_the_confidence_allows(count: int) -> None:
    random = np.random.default_rng(count)
    wrong = 0
    for _ in range(2000):
        decision = compare(random.normal(0.0, 1.0, count).tolist(), random.normal(0.0, 1.0, 20).tolist(), 1.0, 0.99)
        wrong += decision != "undecided"
    assert wrong <= 0.0167 * 2000  # 1 % and three standard errors


def test_a_metric_of_few_examples_errs_little_more_often() -> None:
    random = np.random.default_rng(11)
    passed = 0
    for _ in range(1000):
        reference = random.binomial(10, 0.97, 20) / 10
        values = (random.binomial(10, 0.995 * 0.97, 5) / 10).tolist()
        passed += compare(values, reference.tolist(), 0.995, 0.983) == "pass"
    assert passed <= 0.02 * 1000  # were five times 10 of 10 taken for no variance, 12 %


def test_more_seeds_are_worth_it_only_where_they_could_decide() -> None:
    reference = [0.98, 0.982, 0.978, 0.98, 0.981, 0.979] * 3
    at_the_bar, near, far = ([0.9751 + gap + noise for noise in (-0.004, 0.004) * 5] for gap in (0.0, 0.0018, 0.004))
    assert not worth_more(at_the_bar, reference, 0.995, 0.98, 20)
    assert worth_more(near, reference, 0.995, 0.98, 20)
    assert worth_more(far, reference, 0.995, 0.98, 20)
    below = [2 * 0.9751 - value for value in far]
    assert worth_more(below, reference, 0.995, 0.98, 20)


def test_futility_hides_no_difference_that_all_seeds_would_mostly_show() -> None:
    rng = np.random.default_rng(5)
    given_up = decided = 0
    for _ in range(400):
        reference = rng.normal(0.98, 0.002, 20).tolist()
        values = rng.normal(0.995 * 0.98 + 0.004, 0.004, 20).tolist()  # a clear pass with 20 seeds
        if compare(values, reference, 0.995, 0.983) == "pass":
            decided += 1
            given_up += not worth_more(values[:10], reference, 0.995, 0.983, 20)
    assert decided > 300
    assert given_up < 0.05 * decided
