"""The stream of batches: what every epoch, every batch and every order of asking must be."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batchlimit.config import TrialConfig
from batchlimit.engine.seeds import derived_seed, generator
from batchlimit.engine.stream import BatchStream
from batchlimit.errors import InputError


@st.composite
def streams(draw: st.DrawFn) -> tuple[int, int, int]:
    count = draw(st.integers(1, 60))
    return count, draw(st.integers(1, count)), draw(st.integers(0, 2**40))


@given(sizes=streams(), epochs=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_batches_end_to_end_are_one_permutation_an_epoch(sizes: tuple[int, int, int], epochs: int) -> None:
    count, batch_size, seed = sizes
    stream = BatchStream(count, batch_size, seed)
    batches = [stream.batch(step) for step in range(-(-epochs * count // batch_size))]
    assert {len(batch) for batch in batches} == {batch_size}
    line = torch.cat(batches)
    for epoch in range(epochs):
        assert sorted(line[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


@given(sizes=streams(), shuffle=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_any_step_can_be_asked_for_at_any_time(sizes: tuple[int, int, int], shuffle: random.Random) -> None:
    count, batch_size, seed = sizes
    stream = BatchStream(count, batch_size, seed)
    steps = list(range(3 * count // batch_size + 2))
    in_order = [stream.batch(step).clone() for step in steps]
    shuffle.shuffle(steps)
    for step in steps:
        assert torch.equal(stream.batch(step), in_order[step])
        assert torch.equal(BatchStream(count, batch_size, seed).batch(step), in_order[step])


@given(sizes=streams(), other=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_batch_size_only_says_where_the_stream_is_cut(sizes: tuple[int, int, int], other: int) -> None:
    count, batch_size, seed = sizes
    lines = []
    for size in (batch_size, min(other, count)):
        stream = BatchStream(count, size, seed)
        lines.append(torch.cat([stream.batch(step) for step in range(-(-2 * count // size))])[: 2 * count])
    assert torch.equal(*lines)


def test_epochs_and_seeds_differ() -> None:
    orders = [BatchStream(50, 50, seed).batch(epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9


def test_a_batch_larger_than_the_data_cannot_be_made() -> None:
    for batch_size in (0, 11):
        with pytest.raises(AssertionError):
            BatchStream(10, batch_size, 0)


@given(count=st.integers(1, 5000), share=st.floats(0, 1), tenths=st.integers(1, 900))
@settings(max_examples=100, deadline=None)
def test_total_steps_are_the_fewest_that_see_every_epoch(count: int, share: float, tenths: int) -> None:
    batch_size = max(1, round(share * count))
    steps = TrialConfig(workload="w", batch_size=batch_size, budget=f"{tenths / 10} epochs").total_steps(count)
    assert 10 * steps * batch_size >= tenths * count
    assert 10 * (steps - 1) * batch_size < tenths * count


def test_the_papers_count_of_steps_and_a_batch_above_n() -> None:
    assert TrialConfig(workload="w", batch_size=819_200, budget="90 epochs").total_steps(1_281_167) == 141
    with pytest.raises(InputError, match=r"batch_size 101 is larger than the 100 .* Valid: 1 to 100"):
        TrialConfig(workload="w", batch_size=101, budget="1 epoch").total_steps(100)


@given(seed=st.integers(0, 2**63), index=st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_derived_seeds_are_seeds_that_torch_takes_distinct_by_purpose(seed: int, index: int) -> None:
    purposes = ("weights", "order", "masks", "training", "validation")
    seeds = {derived_seed(seed, purpose, index) for purpose in purposes}
    assert len(seeds) == len(purposes)
    assert all(0 <= value < 2**63 for value in seeds)
    assert derived_seed(seed, "order", index) not in {
        derived_seed(seed + 1, "order", index),
        derived_seed(seed, "order", index + 1),
    }


def test_generators_of_one_purpose_draw_the_same() -> None:
    draws = [torch.rand(5, generator=generator(3, purpose, 1)) for purpose in ("order", "order", "weights")]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
