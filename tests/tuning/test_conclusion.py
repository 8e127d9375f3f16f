"""From decisions to boundaries and regimes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_world import World, find

from batchlimit.findings import Boundary, Decision
from batchlimit.reports.verdict import UNFINISHED
from batchlimit.tuning.conclusion import boundary, conclude, cost, regime
from batchlimit.tuning.notebook import Notebook

DECISIONS = st.dictionaries(st.integers(17, 1000), st.sampled_from(["pass", "fail", "undecided"]), max_size=8)


@given(DECISIONS)
def test_a_boundary_claims_no_more_than_was_decided(decisions: Mapping[int, Decision]) -> None:
    found = boundary(decisions, smallest=16)
    assert found.value is not None
    below = {size: decision for size, decision in decisions.items() if size <= found.value}
    assert "fail" not in below.values()
    assert found.value == 16 or decisions[found.value] == "pass"
    if found.next_fail is not None:
        assert decisions[found.next_fail] == "fail"
        assert found.next_fail > found.value
    between = [s for s in sorted(decisions) if s > found.value and (found.next_fail is None or s < found.next_fail)]
    assert list(found.undecided) == between
    assert all(decisions[size] == "undecided" for size in between)


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ({}, (16, None, ())),
        ({32: "pass", 64: "pass"}, (64, None, ())),
        ({32: "pass", 64: "undecided", 128: "undecided", 256: "fail"}, (32, 256, (64, 128))),
        ({32: "undecided", 64: "pass", 128: "fail"}, (64, 128, ())),
        ({32: "fail", 64: "pass"}, (16, 32, ())),
        ({64: "pass", 32: "pass", 256: "fail", 128: "fail"}, (64, 128, ())),
    ],
)
def test_boundaries(decisions: dict[int, Decision], expected: tuple[int, int | None, tuple[int, ...]]) -> None:
    found = boundary(decisions, smallest=16)
    assert (found.value, found.next_fail, found.undecided) == expected


def test_regimes_are_unknown_between_the_last_pass_and_the_first_fail() -> None:
    small, large = Boundary(value=64, next_fail=128), Boundary(value=256, next_fail=1024)
    found = {size: regime(size, small, large) for size in (16, 64, 128, 256, 512, 1024, 2048)}
    assert found == {16: "small", 64: "small", 128: "large", 256: "large", 512: "unknown", 1024: "huge", 2048: "huge"}
    assert regime(64, Boundary(), Boundary()) == "unknown"


def test_before_the_first_trial_nothing_is_concluded() -> None:
    book = Notebook(World(limits={}).question())
    finding = conclude(book)
    assert finding.problem == UNFINISHED, "reports know a search that was stopped by this sentence"
    assert finding.baseline is None
    assert cost(book).trials == 0


def test_a_finding_says_what_it_rests_on() -> None:
    world = World(limits={"linear": 64.0, "lamb": 64.0, "lars": 256.0, "adamw": 64.0}, noise=0.001)
    finding = find(world, seeds=4, max_seeds=8, budget=6)
    assert (finding.seeds, finding.budget, finding.search) == ((4, 8), 6, "adaptive")
    assert finding.recipes == ("lamb", "lars", "adamw")
    assert finding.changes.get("max_seeds") == 8
    assert not {"seeds", "budget", "techniques"} & set(finding.changes)
    assert finding.cost.trials == len(world.asked) == sum(finding.cost.by_purpose.values())
    tuned = [config for config in world.asked if config.seed == 0]
    assert len(finding.tuned_points) == len(tuned) == sum(t.trials for f in finding.by_batch_size for t in f.tried)
    assert finding.baseline is not None
    assert finding.baseline.target_metric == pytest.approx(0.995 * (finding.baseline.metric.mean or 0))
    assert finding.baseline.target_loss == pytest.approx(1.2 * (finding.baseline.loss.mean or 0))
    assert finding.environment == {"machine": "none"}
    winner = next(found.best for found in finding.by_batch_size if found.batch_size == 256)
    assert winner is not None
    assert (winner.name, winner.recipe.solver, winner.decision) == ("lars", "lars", "pass")
