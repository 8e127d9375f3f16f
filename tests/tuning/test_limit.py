"""The search for the limit in worlds whose limits are known: right, sure of what it says, cheap, and replayable."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive_limit import naive_limits
from synthetic_world import CANDIDATES, World, find

from batchlimit.config import TrialConfig
from batchlimit.findings import BatchSizeFinding, LimitFinding
from batchlimit.ledger import Ledger
from batchlimit.records import TrialRecord
from batchlimit.tuning.driver import drive
from batchlimit.tuning.limit import LimitSearch
from batchlimit.tuning.runners.inline import InlineRunner

NAMES = [candidate.name for candidate in CANDIDATES]
BEYOND = 10_000.0


def at(finding: LimitFinding, batch_size: int) -> BatchSizeFinding:
    return next(found for found in finding.by_batch_size if found.batch_size == batch_size)


def rungs_between(world: World, left: int | None, right: int | None) -> int:
    sizes = (world.baseline_batch_size, *world.batch_sizes())
    assert left is not None
    assert right is not None
    return abs(sizes.index(left) - sizes.index(right))


def small_worlds(count: int, seed: int, **fields: object) -> list[World]:
    """Return random worlds of 5 rungs and 2 recipes that need no long exhaustive search."""
    draw = random.Random(seed)
    candidates = tuple(c.model_copy(update={"reach": 2, "warmups": ("10%",)}) for c in CANDIDATES[1:])
    worlds = []
    for number in range(count):
        limits = {name: 16 * 2 ** draw.uniform(-1, 6) for name in ("lars", "adamw")}
        limits["linear"] = max(16.0, min(limits.values()) * 2 ** draw.uniform(-2, 0))
        offsets = {name: draw.uniform(-2, 2) for name in ("lars", "adamw")}
        chosen = {"dataset_size": 512, "candidates": candidates, "name": f"world {seed}.{number}", **fields}
        worlds.append(World(limits=limits, offsets=offsets, **chosen))  # type: ignore[arg-type]
    return worlds


# Known answers

LIMITS = st.floats(0, 7).map(lambda rung: 16 * 2**rung)
OFFSETS = st.floats(-2.5, 2.5)


@settings(max_examples=60, deadline=None)
@given(
    linear=LIMITS,
    lamb=LIMITS,
    lars=LIMITS,
    adamw=LIMITS,
    offsets=st.tuples(OFFSETS, OFFSETS, OFFSETS),
    direction=st.sampled_from(["up", "down"]),
    top=st.sampled_from([0.97, -3.0, 40.0]),
)
@example(  # the best LR lies one step above the first window's middle: a thinned second window once left it out
    linear=16.0, lamb=1024.0, lars=16.0, adamw=16.0, offsets=(1.0, 0.0, 0.0), direction="up", top=0.97
)
def test_without_noise_the_limits_are_the_rungs_below_the_truth(
    linear: float, lamb: float, lars: float, adamw: float, offsets: tuple[float, ...], direction: str, top: float
) -> None:
    limits = {"linear": linear, "lamb": lamb, "lars": lars, "adamw": adamw}
    cliff = {"drop": 0.03 * abs(top), "slope": 0.02 * abs(top), "lr_cost": 0.02 * abs(top)}
    world = World(
        limits=limits,
        offsets=dict(zip(NAMES, offsets, strict=True)),
        top=top,
        direction=direction,  # type: ignore[arg-type]
        loss_cost=20.0 / abs(top),
        **cliff,
    )
    finding = find(world)
    sizes = world.batch_sizes()
    assert finding.problem == ""
    assert finding.small_up_to.value == world.largest("linear")
    above = [size for size in sizes if size > world.largest("linear")]
    assert finding.small_up_to.next_fail == min(above, default=None)
    widest = max(map(world.largest, limits))
    assert finding.large_up_to.value == widest
    assert finding.large_up_to.next_fail == min((size for size in sizes if size > widest), default=None)
    assert finding.small_up_to.undecided == finding.large_up_to.undecided == ()
    for found in finding.by_batch_size:
        small, large = found.batch_size <= world.largest("linear"), found.batch_size <= widest
        assert found.regime == ("small" if small else "large" if large else "huge")
    assert finding.full is not None
    assert finding.full.batch_size == world.dataset_size
    assert finding.full.best is not None
    assert finding.full.best.decision == ("pass" if widest == world.dataset_size else "fail")


def test_nothing_passes_beyond_the_baseline() -> None:
    finding = find(World(limits=dict.fromkeys(["linear", *NAMES], 16.0)))
    assert finding.small_up_to.model_dump() == {"value": 16, "next_fail": 32, "undecided": ()}
    assert finding.large_up_to.model_dump() == {"value": 16, "next_fail": 32, "undecided": ()}
    assert {found.regime for found in finding.by_batch_size} == {"huge"}


def test_the_full_batch_passes_at_once() -> None:
    finding = find(World(limits={"linear": 64.0, "lamb": 100.0, "lars": BEYOND, "adamw": 100.0}))
    assert finding.small_up_to.value == 64
    assert (finding.large_up_to.value, finding.large_up_to.next_fail) == (1024, None)
    assert finding.full is not None
    assert finding.full.best is not None
    assert (finding.full.best.name, finding.full.regime) == ("lars", "large")
    assert {point.batch_size for point in finding.tuned_points} == {1024}
    assert [tuned.name for tuned in finding.full.tried] == ["lamb", "lars"]  # the first success ends a batch size


def test_linear_scaling_up_to_the_full_batch_needs_no_tuning() -> None:
    finding = find(World(limits=dict.fromkeys(["linear", *NAMES], BEYOND)))
    assert finding.small_up_to.value == finding.large_up_to.value == 1024
    assert finding.tuned_points == ()
    assert finding.cost.by_purpose.keys() == {"baseline", "linear"}


def test_small_needs_the_loss_as_well() -> None:
    limits = {"linear": 64.0, "lamb": 64.0, "lars": BEYOND, "adamw": 64.0}
    harmless = World(limits=limits, drop=0.004, slope=0.0)  # 0.4 % below A
    assert find(harmless).small_up_to.value == 1024
    costly = replace(harmless, loss_cost=100.0, asked=[])  # and the loss 1.4 times xi
    finding = find(costly)
    assert (finding.small_up_to.value, finding.small_up_to.next_fail) == (64, 128)
    assert finding.large_up_to.value == 1024
    assert find(costly, loss_factor=1.5).small_up_to.value == 1024


def test_the_tolerance_is_the_users() -> None:
    world = World(limits=dict.fromkeys(["linear", *NAMES], 64.0), drop=0.02, slope=0.0)
    assert find(world).large_up_to.value == 64
    assert find(world, tolerance=0.97).large_up_to.value == 1024


# What goes wrong in training


def baseline_trial(config: TrialConfig) -> bool:
    return config.batch_size == 16


def test_a_baseline_that_diverges_gives_no_verdict_but_a_reason() -> None:
    world = World(limits={}, diverges=baseline_trial)
    finding = find(world)
    assert finding.problem == (
        "20 of 20 baseline trials at batch size 16 did not complete (the loss was nan at step 1)."
    )
    assert finding.small_up_to.value is finding.large_up_to.value is finding.baseline is None
    assert {found.regime for found in finding.by_batch_size} == {"unknown"}
    assert len(world.asked) == finding.cost.trials == 20


@pytest.mark.parametrize(("lost", "verdict"), [(10, True), (11, False)])
def test_most_of_the_baseline_must_complete(lost: int, verdict: bool) -> None:
    finding = find(World(limits={}, diverges=lambda config: baseline_trial(config) and config.seed <= lost))
    assert (finding.problem == "") == verdict
    assert finding.baseline is not None
    assert finding.baseline.metric.n == 20 - lost


def test_every_trial_of_linear_scaling_diverges() -> None:
    world = World(limits={"lars": BEYOND}, diverges=lambda config: config.recipe.lr_rule == "linear")
    finding = find(world)
    assert (finding.small_up_to.value, finding.small_up_to.next_fail) == (16, 32)
    assert finding.large_up_to.value == 1024
    linear = at(finding, 32).linear
    assert linear is not None
    assert (linear.decision, linear.diverged, linear.seeds, linear.metric.mean) == ("fail", 5, 5, None)


def test_a_recipe_of_which_one_seed_diverges_fails() -> None:
    world = World(limits={}, diverges=lambda config: config.recipe.lr_rule == "linear" and config.seed == 3)
    linear = at(find(world, recipes=()), 32).linear
    assert linear is not None
    assert (linear.decision, linear.diverged, len(linear.metrics)) == ("fail", 1, 4)


def test_a_recipe_whose_worker_died_is_undecided_until_it_is_asked_for_again() -> None:
    memory = {"too little"}

    def run(config: TrialConfig) -> TrialRecord:
        if memory and config.batch_size == 1024 and config.seed == 3:
            return TrialRecord(config=config, status="failed", reason="the worker process died")
        return world.run(config)

    world, ledger = World(limits={}), Ledger.open(":memory:")
    for reached in (("undecided", 512), ("pass", 1024)):
        search = LimitSearch(world.question())
        drive(search.trials(), ledger, InlineRunner(run))
        best = at(search.finding(), 1024).best
        assert best is not None
        assert (best.decision, search.finding().large_up_to.value) == reached
        memory.clear()


def test_every_trial_beyond_the_baseline_diverges() -> None:
    finding = find(World(limits={}, diverges=lambda config: config.batch_size > 16))
    assert finding.problem == ""
    assert finding.small_up_to.value == finding.large_up_to.value == 16
    assert finding.large_up_to.next_fail == 32  # known to fail, though there is no recipe to measure over seeds
    assert finding.full is not None
    assert (finding.full.best, finding.full.regime) == (None, "huge")
    assert {point.status for point in finding.tuned_points} == {"diverged"}


# How sure a verdict is


def test_with_noise_the_verdict_is_within_one_rung() -> None:
    worlds = small_worlds(60, seed=3, noise=0.003, drop=0.012, slope=0.01)
    exact = Counter()
    for world in worlds:
        finding = find(world)
        truth = max(map(world.largest, world.limits))
        for name, found, right in (
            ("B_L", finding.small_up_to, world.largest("linear")),
            ("B_H", finding.large_up_to, truth),
        ):
            distance = rungs_between(world, found.value, right)
            exact[name, "near"] += distance <= 1
            exact[name, "exact"] += distance == 0
    # The stated confidence is 95 % a decision; 90 % of 60 leaves room for two standard errors.
    assert exact["B_L", "near"] >= 57
    assert exact["B_H", "near"] >= 57
    assert exact["B_L", "exact"] >= 54
    assert exact["B_H", "exact"] >= 48


def test_what_lies_on_the_bar_is_reported_undecided() -> None:
    undecided = 0
    for number in range(30):
        world = World(limits={"linear": 64.0}, noise=0.003, drop=0.005 * 0.97, slope=0.0, name=f"on the bar {number}")
        finding = find(world, recipes=(), batch_sizes=(64, 128, 1024))
        linear = at(finding, 128).linear
        if linear is None:
            continue
        assert linear.seeds in ((10, 20) if linear.decision == "undecided" else (5, 10, 20))
        assert (128 in finding.small_up_to.undecided) == (linear.decision == "undecided")
        if linear.decision == "undecided":
            undecided += 1
            assert finding.small_up_to.value == 64
    assert undecided >= 20


def test_an_undecided_size_stands_between_the_last_pass_and_the_first_fail() -> None:
    """Past the one size that stays undecided, the search still finds where it fails."""

    class OnTheBar(World):
        def merit(self, config: TrialConfig) -> float:
            beyond = math.log2(config.batch_size / 128)
            lost = 0.0 if beyond < 0 else 0.005 * 0.97 if beyond == 0 else 0.05
            return self.top - (lost if config.recipe.lr_rule == "linear" else 0.0)

    found = [find(OnTheBar(limits={}, noise=0.003, name=f"one rung {number}"), recipes=()) for number in range(20)]
    boundaries = [finding.small_up_to.model_dump() for finding in found]
    assert boundaries.count({"value": 64, "next_fail": 256, "undecided": (128,)}) >= 14


# Against an exhaustive search, and against one written down naively


@pytest.mark.parametrize("direction", ["up", "down"])
def test_an_exhaustive_search_is_the_naive_one(direction: str) -> None:
    decisions = Counter()
    for world in small_worlds(8, seed=5, noise=0.004, drop=0.004, slope=0.006, direction=direction, dataset_size=128):
        chosen = {"exhaustive": True, "seeds": 3, "max_seeds": 6}
        finding = find(world, **chosen)
        twin = replace(world, asked=[])
        small, large, by_linear, by_any = naive_limits(twin.question(**chosen), twin.run)
        assert (finding.small_up_to.value, finding.large_up_to.value) == (small, large)
        for found in finding.by_batch_size:
            assert found.linear is not None
            assert found.linear.decision == by_linear[found.batch_size]
            assert found.best is not None
            if by_any[found.batch_size] == "pass":
                assert found.best.decision == "pass"
            decisions[by_linear[found.batch_size]] += 1
            decisions[by_any[found.batch_size]] += 1
        assert {config.hash for config in twin.asked} == {config.hash for config in world.asked}
    assert min(decisions[name] for name in ("pass", "fail", "undecided")) > 0  # the worlds show all three


def test_adaptive_and_exhaustive_search_agree_and_adaptive_is_cheap() -> None:
    shares = []
    for world in small_worlds(10, seed=11, noise=0.002, candidates=CANDIDATES):
        adaptive, exhaustive = find(world), find(world, exhaustive=True)
        for name in ("small_up_to", "large_up_to"):
            left, right = getattr(adaptive, name).value, getattr(exhaustive, name).value
            assert rungs_between(world, left, right) <= 1
        shares.append(adaptive.cost.samples / exhaustive.cost.samples)
    assert sum(shares) / len(shares) <= 1 / 5  # with 3 recipes; the default 7 make an exhaustive search dearer
    assert max(shares) <= 1 / 3


# What is asked for


def noisy_world() -> World:
    limits = {"linear": 60.0, "lamb": 130.0, "lars": 300.0, "adamw": 70.0}
    return World(limits=limits, offsets={"lamb": 1.0, "lars": -2.0, "adamw": 0.4}, noise=0.003)


@pytest.mark.parametrize("exhaustive", [False, True])
def test_seeds_that_tuning_saw_take_no_part_in_verdicts(exhaustive: bool) -> None:
    world = noisy_world()
    finding = find(world, exhaustive=exhaustive)
    asked = {config.hash: config for config in world.asked}.values()
    assert len(asked) == len(world.asked) == finding.cost.trials
    seeds = Counter(config.seed == 0 for config in asked)
    assert seeds[True] == finding.cost.by_purpose["tuning"]
    assert seeds[True] == len(finding.tuned_points)
    assert all(config.recipe.solver != "momentum" for config in asked if config.seed == 0)
    for found in finding.by_batch_size:
        for measured in (found.linear, found.best):
            assert measured is None or measured.seeds == len(measured.metrics)
    assert finding.cost.samples == sum(found.samples for found in finding.by_batch_size) + 20 * 2 * 1024


def test_hopeless_trials_are_stopped_in_tuning_only() -> None:
    world = noisy_world()
    finding = find(world)
    stops = {config.stop for config in world.asked if config.seed == 0}
    (stop,) = stops
    assert stop is not None
    # The baseline's merit is 0.97, after one epoch 20 % less: half of A is the lower bar of the two.
    assert stop.metric == pytest.approx(0.485, abs=0.002)
    assert 0.5 <= stop.fraction < 1
    assert all(config.stop is None for config in world.asked if config.seed > 0)
    assert finding.cost.by_purpose["tuning"] == sum(config.seed == 0 for config in world.asked)
    exhaustive = noisy_world()
    find(exhaustive, exhaustive=True, max_seeds=5)
    assert all(config.stop is None for config in exhaustive.asked)


def test_the_full_batch_has_a_figure_where_every_trial_was_stopped_as_hopeless() -> None:
    world = World(limits={"linear": 32.0, "lamb": 256.0, "lars": 128.0, "adamw": 64.0}, drop=0.6)
    finding = find(world)
    assert finding.full is not None
    assert {tuned.best for tuned in finding.full.tried} == {None}
    assert finding.full.best is not None
    assert finding.full.best.name == "lamb"
    assert finding.full.best.metric.mean == pytest.approx(0.97 - 0.6 - 2 * 0.02, abs=0.03)
    assert finding.full.best.decision == "fail"
    assert finding.full.best.recipe in [c.recipe for c in world.asked if c.batch_size == 1024 and c.seed == 0]
    # Of a smaller size the verdict says no more than that it failed: no seeds are spent on it.
    assert at(finding, 512).best is None
    assert not [c for c in world.asked if c.batch_size == 512 and c.seed > 0]
    assert finding.large_up_to.value == 256


@pytest.mark.parametrize(("direction", "top", "bar"), [("down", 0.97, 0.97 * 1.2), ("up", -2.0, -2.4)])
def test_hopeless_is_worse_than_the_baseline_after_an_epoch(direction: str, top: float, bar: float) -> None:
    world = World(limits={"linear": 32.0}, direction=direction, top=top, drop=0.1)  # type: ignore[arg-type]
    find(world, recipes=())
    find(world)
    stop = next(config.stop for config in world.asked if config.seed == 0)
    assert stop is not None
    assert stop.metric == pytest.approx(bar, rel=0.01)


@pytest.mark.parametrize("tuner", ["grid", "tpe"])
@pytest.mark.parametrize("budget", [1, 3, 8])
def test_tuners_spend_no_more_than_the_budget(tuner: str, budget: int) -> None:
    finding = find(noisy_world(), tuner=tuner, budget=budget, seeds=2, max_seeds=4, batch_sizes=(128, 1024))
    spent = [tuned.trials for found in finding.by_batch_size for tuned in found.tried]
    assert 0 < max(spent) <= budget
    assert max(spent) == budget  # and the best recipe may use all of it
    assert finding.tuner == tuner


def test_an_exhaustive_search_runs_the_whole_grid() -> None:
    finding = find(noisy_world(), exhaustive=True, seeds=2, max_seeds=2, batch_sizes=(128, 1024))
    assert [[tuned.trials for tuned in found.tried] for found in finding.by_batch_size] == [[21, 21, 21]] * 2
    assert len({(p.name, p.batch_size, p.lr, p.warmup) for p in finding.tuned_points}) == 2 * 3 * 21


def test_windows_are_centred_by_what_another_batch_size_taught() -> None:
    world = World(limits={"linear": 16.0, "lars": 16.0}, offsets={"lars": -3.0})
    world.candidates = (CANDIDATES[1].model_copy(update={"exponent": 1.0}),)
    finding = find(world)
    tuned: dict[int, list[float]] = {}
    for config in world.asked:
        if config.seed == 0:
            tuned.setdefault(config.batch_size, []).append(config.recipe.lr)
    full, second = list(tuned)[:2]
    assert full == 1024
    assert sorted(tuned[full][:3]) == [2.0, 8.0, 32.0]
    found = at(finding, full).tried[0].recipe
    assert found is not None
    assert found.lr == 1.0  # three halvings below where it began
    expected = second / full
    assert sorted(tuned[second][:3]) == [0.5 * expected, expected, 2.0 * expected]


def test_the_expected_number_of_trials_is_of_the_right_size() -> None:
    world = noisy_world()
    expected: list[int] = []
    drive(
        LimitSearch(world.question()).trials(),
        Ledger.open(":memory:"),
        InlineRunner(world.run),
        lambda event: expected.append(event.expected or 0),
    )
    assert len(world.asked) / 3 <= expected[0] <= 3 * len(world.asked)
    assert expected[-1] <= 2 * len(world.asked)


# Ends and begins again


@pytest.mark.parametrize("exhaustive", [False, True])
def test_interrupted_and_resumed_is_uninterrupted(exhaustive: bool) -> None:
    chosen = {"exhaustive": exhaustive, "seeds": 3, "max_seeds": 6, "batch_sizes": (64, 256, 1024)}
    whole = noisy_world()
    finding = find(whole, **chosen)
    for stops in ([0], [1, 2], [7], [19, 20, 21], [30, 33, 60], [len(whole.asked) - 1]):
        world, ledger = noisy_world(), Ledger.open(":memory:")

        def run_until(config: TrialConfig, world: World = world, stops: list[int] = stops) -> object:
            if stops and len(world.asked) == stops[0]:
                stops.pop(0)
                raise KeyboardInterrupt
            return world.run(config)

        for _ in range(len(stops)):
            search = LimitSearch(world.question(**chosen))
            with pytest.raises(KeyboardInterrupt):
                drive(search.trials(), ledger, InlineRunner(run_until))  # type: ignore[arg-type]
            assert search.finding().problem == "The search is not finished."
        assert find(world, ledger, **chosen) == finding
        assert [config.hash for config in world.asked] == [config.hash for config in whole.asked]


def test_a_finished_search_is_drawn_again_without_running_anything() -> None:
    ledger, world = Ledger.open(":memory:"), noisy_world()
    finding = find(world, ledger)
    again = LimitSearch(noisy_world().question())
    drive(again.trials(), ledger, None)
    assert again.finding() == finding
    assert LimitFinding.model_validate_json(finding.model_dump_json()) == finding


@pytest.mark.parametrize("largest", [20, 1024])
def test_one_batch_size_is_enough(largest: int) -> None:
    world = World(limits={"linear": 16.0, "lars": BEYOND}, dataset_size=largest)
    finding = find(world, batch_sizes=(largest,))
    assert finding.small_up_to.model_dump() == {"value": 16, "next_fail": largest, "undecided": ()}
    assert (finding.large_up_to.value, finding.large_up_to.next_fail) == (largest, None)


def test_a_baseline_with_a_rule_scales_from_its_own_peak() -> None:
    world = World(limits=dict.fromkeys(["linear", *NAMES], 64.0))
    question = world.question(recipes=())
    baseline = question.baseline.updated({"lr": 0.8, "lr_rule": "sqrt", "reference_batch_size": 64})
    question = question.model_copy(update={"baseline": baseline})
    drive(LimitSearch(question).trials(), Ledger.open(":memory:"), InlineRunner(world.run))
    linear = [c for c in world.asked if c.recipe.lr_rule == "linear"]
    assert linear
    for config in linear:
        assert config.recipe.peak_lr(config.batch_size) == pytest.approx(0.4 * config.batch_size / 16)
