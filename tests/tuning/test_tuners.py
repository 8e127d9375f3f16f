"""The tuners: pure, within budget, the same again after a kill; and they find what there is to find."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import product

import pytest

from batchlimit.config import Scalar
from batchlimit.findings import Direction
from batchlimit.tuning.search_space import Proposal, SearchSpace, rounded
from batchlimit.tuning.tuner import tuners

Told = list[tuple[dict[str, Scalar], float | None]]
MIXED = SearchSpace.parse(
    {
        "lr": {"low": 0.003, "high": 30, "log": True, "points": 5},
        "warmup": {"low": 0, "high": 4, "unit": "epochs", "points": 3},
        "solver_options.nesterov": [True, False],
        "schedule": ["constant", "cosine", "polynomial"],
    }
)
LR_WARMUP = SearchSpace.parse(
    {
        "lr": {"low": 0.01, "high": 1, "log": True, "points": 5},
        "warmup": ["0 epochs", "2 epochs", "4 epochs"],
    }
)


def tune(
    name: str,
    space: SearchSpace,
    metric: Callable[[Proposal], float | None],
    *,
    count: int = 2,
    budget: int = 8,
    direction: Direction = "up",
    seed: int = 0,
    told: Told | None = None,
) -> Told:
    told = list(told or [])
    while proposals := tuners.get(name)(space, told, count=count, budget=budget, direction=direction, seed=seed):
        assert len(proposals) <= count
        told += [(proposal, metric(proposal)) for proposal in proposals]
    return told


def bowl(proposal: Proposal) -> float | None:
    """Best at lr 0.3 without warmup; diverges above lr 5."""
    lr = float(proposal["lr"])
    return None if lr > 5 else 1 - abs(math.log10(lr / 0.3)) - 0.05 * float(str(proposal["warmup"]).split()[0])


def test_both_are_registered() -> None:
    assert tuners.names() == ["grid", "tpe"]


@pytest.mark.parametrize("name", ["grid", "tpe"])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_the_budget_is_spent_and_no_more(name: str, count: int) -> None:
    told = tune(name, MIXED, bowl, count=count, budget=10)
    assert len(told) == 10
    assert tuners.get(name)(MIXED, told[:9], count=5, budget=10, direction="up", seed=0) != []
    assert tuners.get(name)(MIXED, told[:9], count=5, budget=8, direction="up", seed=0) == []


@pytest.mark.parametrize("name", ["grid", "tpe"])
def test_the_same_told_gives_the_same_proposals_so_a_resumed_search_goes_on_alike(name: str) -> None:
    whole = tune(name, MIXED, bowl, budget=12)
    assert tune(name, MIXED, bowl, budget=12) == whole
    for stopped_at in (2, 4, 10):
        assert tune(name, MIXED, bowl, budget=12, told=whole[:stopped_at]) == whole


@pytest.mark.parametrize("name", ["grid", "tpe"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_all_diverged_is_no_obstacle(name: str, direction: Direction) -> None:
    assert len(tune(name, MIXED, lambda _: None, budget=12, direction=direction)) == 12


@pytest.mark.parametrize("name", ["grid", "tpe"])
def test_proposals_lie_in_the_space_rounded_and_typed(name: str) -> None:
    low, high = MIXED.dimensions[0].bounds
    for proposal, _ in tune(name, MIXED, bowl, budget=25, count=5):
        assert list(proposal) == ["lr", "warmup", "solver_options.nesterov", "schedule"]
        lr = proposal["lr"]
        assert isinstance(lr, float)
        assert lr == rounded(lr)
        assert low <= lr <= high
        assert 0 <= float(str(proposal["warmup"]).removesuffix(" epochs")) <= 4
        assert isinstance(proposal["solver_options.nesterov"], bool)
        assert proposal["schedule"] in ("constant", "cosine", "polynomial")


@pytest.mark.parametrize("name", ["grid", "tpe"])
def test_the_first_proposal_is_the_middle(name: str) -> None:
    ((first, _), *_) = tune(name, LR_WARMUP, bowl)
    assert first == LR_WARMUP.middle() == {"lr": 0.1, "warmup": "2 epochs"}


def test_bounds_of_many_digits_do_not_leave_the_space() -> None:
    space = SearchSpace.parse({"lr": {"low": 0.012345678, "high": 0.012349, "log": True}})
    for name in tuners:
        told = tune(name, space, lambda proposal: float(proposal["lr"]), budget=12)
        assert all(proposal["lr"] == 0.01235 for proposal, _ in told)


# -- grid ---------------------------------------------------------------------------------------------------------


def test_a_grid_within_budget_is_enumerated_whole_from_the_middle_outwards() -> None:
    proposals = [proposal for proposal, _ in tune("grid", LR_WARMUP, bowl, budget=50)]
    everything = [
        dict(zip(("lr", "warmup"), cell, strict=True)) for cell in product(*(d.grid() for d in LR_WARMUP.dimensions))
    ]
    assert sorted(map(str, proposals)) == sorted(map(str, everything))
    lrs = [0.01, 0.03162, 0.1, 0.3162, 1.0]

    def distance(proposal: Proposal) -> float:
        return math.hypot((lrs.index(float(proposal["lr"])) - 2) / 5, (float(str(proposal["warmup"])[0]) / 2 - 1) / 3)

    distances = [distance(proposal) for proposal in proposals]
    assert distances == sorted(distances)


@pytest.mark.parametrize("budget", [5, 8, 10])
def test_a_thinned_grid_keeps_every_learning_rate_and_warmup(budget: int) -> None:
    told = tune("grid", LR_WARMUP, bowl, budget=budget)
    lrs = Counter(proposal["lr"] for proposal, _ in told)
    warmups = Counter(proposal["warmup"] for proposal, _ in told)
    assert len(lrs) == 5
    assert max(lrs.values()) - min(lrs.values()) <= 1
    assert len(warmups) == 3
    assert len({str(proposal) for proposal, _ in told}) == budget


def test_a_grid_ignores_metrics_and_skips_what_was_tried_already() -> None:
    told: Told = [({"lr": 0.1, "warmup": "2 epochs"}, 0.5)]
    more = tune("grid", LR_WARMUP, bowl, budget=15, told=told)
    assert len(more) == 15
    assert len({str(proposal) for proposal, _ in more}) == 15
    assert [p for p, _ in tune("grid", LR_WARMUP, lambda _: None)] == [p for p, _ in tune("grid", LR_WARMUP, bowl)]


def test_a_huge_grid_is_sampled_by_seed() -> None:
    space = SearchSpace.parse({f"solver_options.x{i}": {"low": 0, "high": 1, "points": 9} for i in range(8)})
    tunings = [tune("grid", space, lambda _: 0.0, budget=4, count=4, seed=seed) for seed in (0, 0, 1)]
    assert tunings[0] == tunings[1]
    assert tunings[0] != tunings[2]
    assert len({str(proposal) for proposal, _ in tunings[0]}) == 4


# -- tpe ----------------------------------------------------------------------------------------------------------


def test_tpe_depends_on_its_seed() -> None:
    assert tune("tpe", MIXED, bowl, seed=0) != tune("tpe", MIXED, bowl, seed=1)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_tpe_learns_where_the_optimum_is(direction: Direction) -> None:
    sign = 1 if direction == "up" else -1

    def metric(proposal: Proposal) -> float | None:
        value = bowl(proposal)
        return None if value is None else sign * value

    def late_distance(name_metric: Callable[[Proposal], float | None], seed: int) -> float:
        told = tune("tpe", MIXED, name_metric, budget=40, count=1, direction=direction, seed=seed)
        late = [abs(math.log10(float(proposal["lr"]) / 0.3)) for proposal, _ in told[20:]]
        return sum(late) / len(late)

    learned = sum(late_distance(metric, seed) for seed in range(3))
    blind = sum(late_distance(lambda _: 0.5, seed) for seed in range(3))
    assert learned < 0.7 * blind


@pytest.mark.parametrize("direction", ["up", "down"])
def test_tpe_keeps_away_from_where_trials_diverge(direction: Direction) -> None:
    """The best lies somewhat below a cliff, as learning rates do; half the space is beyond it."""
    sign = 1 if direction == "up" else -1

    def cliff(proposal: Proposal) -> float | None:
        lr = float(proposal["lr"])
        return None if lr > 0.1 else -sign * abs(math.log10(lr / 0.03))

    lost = 0
    for seed in range(3):
        late = tune("tpe", LR_WARMUP, cliff, budget=40, count=1, direction=direction, seed=seed)[20:]
        lost += sum(metric is None for _, metric in late)
    assert lost < 60 * 0.25


CHOICES = SearchSpace.parse({"lr": [0.1, 0.2, 0.4], "warmup": ["0%", "10%"], "solver_options.x": [True, 1]})


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_tpe_tries_every_point_of_a_space_of_choices_once_and_ends(count: int, seed: int) -> None:
    told = tune("tpe", CHOICES, lambda proposal: -float(proposal["lr"]), budget=50, count=count, seed=seed)
    assert len(told) == len({repr(proposal) for proposal, _ in told}) == CHOICES.grid_size() == 12


def test_tpe_spends_a_budget_below_the_space_on_points_that_differ() -> None:
    for seed in range(3):
        told = tune("tpe", CHOICES, lambda proposal: -float(proposal["lr"]), budget=8, count=4, seed=seed)
        assert len({repr(proposal) for proposal, _ in told}) == 8
        assert (
            tune("tpe", CHOICES, lambda proposal: -float(proposal["lr"]), budget=8, count=4, seed=seed, told=told[:4])
            == told
        )


def test_tpe_ends_where_an_interval_has_few_numbers() -> None:
    space = SearchSpace.parse({"lr": {"low": 0.1, "high": 0.1002, "points": 3}})
    told = tune("tpe", space, lambda proposal: float(proposal["lr"]), budget=12)
    assert sorted(float(proposal["lr"]) for proposal, _ in told) == [0.1, 0.1001, 0.1002]
