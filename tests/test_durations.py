"""Lengths of training: what is read, what is refused, and how many weight updates they are."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlimit.durations import Duration
from batchlimit.errors import InputError

IMAGENET = 1_281_167


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("30 epochs", 30, "epochs"),
        ("1 epoch", 1, "epochs"),
        ("30", 30, "epochs"),
        (30, 30, "epochs"),
        (0.5, 0.5, "epochs"),
        ("200 steps", 200, "steps"),
        ("1 step", 1, "steps"),
        ("60000examples", 60_000, "examples"),
        ("6e4 Examples", 60_000, "examples"),
        (" .5 epochs ", 0.5, "epochs"),
        ("5%", 0.05, "fraction"),
        ("100 %", 1, "fraction"),
    ],
)
def test_parse_reads_every_unit(text, amount, unit):
    assert Duration.parse(text) == Duration(amount, unit)


def test_steps_of_one_batch_size_are_as_many_examples_at_every_other():
    length = Duration(960, "steps").in_examples(32)
    assert str(length) == "30720 examples"
    assert [length.steps(batch_size=size, dataset_size=1024) for size in (32, 64, 1024)] == [960, 480, 30]
    for kept in (Duration(3, "epochs"), Duration(100, "examples")):
        assert kept.in_examples(32) is kept


@pytest.mark.parametrize(
    "text", ["", "epochs", "30 days", "-1 epochs", "nan", "inf", "1e999 steps", "101%", "3 4 steps", "5e"]
)
def test_parse_refuses_in_one_line(text):
    with pytest.raises(InputError) as refused:
        Duration.parse(text)
    assert text.strip() in str(refused.value)
    assert "\n" not in str(refused.value)


def test_parse_returns_a_duration_as_it_is():
    duration = Duration(3, "steps")
    assert Duration.parse(duration) is duration


@pytest.mark.parametrize(
    ("epochs", "batch_size", "dataset_size", "steps"),
    [
        (90, 819_200, IMAGENET, 141),  # You et al. 2020, section 3.1
        (90, 32_768, IMAGENET, 3519),
        (30, 60_000, 60_000, 30),
        (30, 256, 60_000, 7032),
        (1, 7, 7, 1),
        (1, 6, 7, 2),
    ],
)
def test_epochs_are_ceil_of_epochs_times_n_over_b(epochs, batch_size, dataset_size, steps):
    assert Duration(epochs, "epochs").steps(batch_size=batch_size, dataset_size=dataset_size) == steps


@given(st.integers(1, 2000), st.integers(1, 2_000_000), st.integers(1, 2_000_000))
def test_whole_epochs_agree_with_integer_arithmetic(epochs, batch_size, dataset_size):
    exact = Fraction(epochs * dataset_size, batch_size)
    assert Duration(epochs, "epochs").steps(batch_size=batch_size, dataset_size=dataset_size) == math.ceil(exact)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_steps_and_examples_agree_with_integer_arithmetic(amount, batch_size, dataset_size):
    sizes = {"batch_size": batch_size, "dataset_size": dataset_size}
    assert Duration(amount, "steps").steps(**sizes) == amount
    assert Duration(amount, "examples").steps(**sizes) == -(-amount // batch_size)


@given(st.integers(0, 100), st.integers(1, 10**6))
def test_a_fraction_is_of_the_total(percent, total):
    steps = Duration.parse(f"{percent}%").steps(batch_size=1, dataset_size=1, total_steps=total)
    assert steps == math.ceil(Fraction(percent * total, 100))


def test_a_fraction_needs_a_total():
    with pytest.raises(ValueError, match="within a total"):
        Duration(0.5, "fraction").steps(batch_size=1, dataset_size=1)


def test_fractional_steps_are_not_rounded():
    assert Duration(1, "epochs").fractional_steps(batch_size=4, dataset_size=10) == 2.5


@given(
    st.one_of(st.integers(0, 10**12), st.decimals(0, 10**6, places=4)),
    st.sampled_from(["steps", "epochs", "examples"]),
)
def test_text_comes_back_as_the_same_duration(amount, unit):
    duration = Duration.parse(f"{amount} {unit}")
    assert Duration.parse(str(duration)) == duration


@given(st.decimals(0, 100, places=3))
def test_percentages_come_back_as_the_same_duration(percent):
    duration = Duration.parse(f"{percent}%")
    assert Duration.parse(str(duration)) == duration
    assert len(str(duration)) <= 8


def test_neighbouring_amounts_have_different_texts():
    assert str(Duration(IMAGENET, "examples")) == "1281167 examples"
