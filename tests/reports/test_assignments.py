"""Settings written as words of a command line are read back by the command line to the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlimit.cli.layers import Layers
from batchlimit.reports.assignments import assignments

NAMES = st.from_regex(r"[a-z][a-z_]{0,6}", fullmatch=True)
PLAIN = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12),
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, min_size=1, max_size=3))
TABLES = st.dictionaries(NAMES, st.one_of(VALUES, st.dictionaries(NAMES, VALUES, min_size=1, max_size=3)), max_size=4)


@given(TABLES)
def test_they_are_read_back_to_the_same(table: dict[str, Any]) -> None:
    layers = Layers()
    layers.put_overrides(assignments(table))
    assert layers.data == table


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"recipe": {"precision": "bf16"}}, ["recipe.precision=bf16"]),
        ({"baseline": {"solver_options": {"momentum": 0.8}}}, ["baseline.solver_options.momentum=0.8"]),
        ({"batch_sizes": [64, 128]}, ["batch_sizes=[64, 128]"]),
        ({"recipes": ["tuned momentum", "kfac"]}, ['recipes=["tuned momentum", "kfac"]']),
        ({"warmup": "10%", "solver": "layer-wise adam"}, ['warmup="10%"', "solver=layer-wise adam"]),
        ({"on": "true", "lr": "0.1"}, ['on="true"', 'lr="0.1"']),
        ({"recipe": {}}, []),
    ],
)
def test_texts_stand_bare_where_nothing_else_can_be_read(values: dict[str, Any], words: list[str]) -> None:
    assert assignments(values) == words
