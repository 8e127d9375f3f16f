"""Messages for what a user can mend."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlimit.errors import InputError, unknown_name


def test_unknown_name_gives_the_nearest_and_all_valid_names():
    error = unknown_name("solver", "lasr", ["momentum", "lars", "adam"])
    assert str(error) == "Unknown solver 'lasr'. Did you mean 'lars'? Valid: adam, lars, momentum."


def test_unknown_name_guesses_nothing_far_off():
    assert "Did you mean" not in str(unknown_name("solver", "zzz", ["momentum", "lars"]))


def test_unknown_name_with_nothing_valid_says_none():
    assert str(unknown_name("study", "x", [])).endswith("Valid: none.")


@given(st.text())
def test_unknown_name_is_one_printable_line_whatever_was_typed(name):
    assert str(unknown_name("workload", name, ["digits", "mnist"])).isprintable()


def test_input_errors_are_value_errors():
    with pytest.raises(ValueError, match="batch"):
        raise InputError("batch_size 0 is too small. Valid: 1 or more.")
