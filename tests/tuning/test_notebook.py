"""What a search has learned: judgements in both directions, on either side of zero, and what tuning taught."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_world import BASELINE, CANDIDATES, World

from batchlimit.config import Recipe, TrialConfig
from batchlimit.durations import Duration
from batchlimit.findings import Direction, Measurement
from batchlimit.records import HistoryPoint, Scores, Status, TrialRecord
from batchlimit.tuning.notebook import LINEAR, Notebook

LAMB, LARS, ADAMW = CANDIDATES


def record(metric: float | None, *, loss: float = 1.0, seed: int = 1, size: int = 16, **changes: object) -> TrialRecord:
    status: Status = "diverged" if metric is None else "complete"
    scores = None if metric is None else Scores(loss=loss, metric=metric)
    recipe: Recipe = BASELINE.updated(changes)
    config = TrialConfig(workload="w", batch_size=size, budget=Duration(1, "epochs"), recipe=recipe, seed=seed)
    return TrialRecord(config=config, status=status, selection=scores, test=scores, samples=100, seconds=0.5)


def notebook(*metrics: float, direction: Direction = "up", losses: tuple[float, ...] = (1.0, 1.0)) -> Notebook:
    found = Notebook(World(limits={}, direction=direction).question())
    padded = [*losses, *[losses[-1]] * len(metrics)]
    found.set_baseline([record(metric, loss=loss) for metric, loss in zip(metrics, padded, strict=False)])
    return found


def judged(book: Notebook, metrics: list[float | None], *, name: str = "lars", loss: float = 1.0) -> Measurement:
    records = [record(metric, loss=loss, seed=seed) for seed, metric in enumerate(metrics, 1)]
    return book.judge(name, 64, BASELINE, records, 0.95)


@pytest.mark.parametrize("direction", ["up", "down"])
@given(mean=st.floats(0.01, 100).map(lambda x: round(x, 3)), sign=st.sampled_from([1, -1]), better=st.booleans())
def test_the_bar_is_half_a_percent_worse_than_the_baseline(
    direction: Direction, mean: float, sign: int, better: bool
) -> None:
    book = notebook(sign * mean, sign * mean, direction=direction)
    worse = -1 if direction == "up" else 1
    target = book.target_metric()
    assert target == pytest.approx(sign * mean + worse * 0.005 * mean)
    step = (0.001 if better else -0.001) * mean * -worse
    measured = judged(book, [target + step, target + step])
    assert measured.decision == ("pass" if better else "fail")
    assert book.clears_selection_bar(target + step) == better


def test_a_recipe_that_loses_a_seed_fails() -> None:
    measured = judged(notebook(0.9, 0.9), [0.95, None, 0.95])
    assert (measured.decision, measured.seeds, measured.diverged, measured.metrics) == ("fail", 3, 1, (0.95, 0.95))


@pytest.mark.parametrize("name", [LINEAR, "lars"])
def test_a_seed_whose_process_died_decides_nothing_but_one_that_diverged_does(name: str) -> None:
    book = notebook(0.9, 0.9)
    died = record(None, seed=4).model_copy(update={"status": "failed", "reason": "the worker process died"})
    measured = book.judge(name, 64, BASELINE, [record(0.95), record(0.95), died], 0.95)
    assert (measured.decision, measured.metric_decision, measured.diverged) == ("undecided", "undecided", 1)
    assert book.judge(name, 64, BASELINE, [record(0.95), record(None), died], 0.95).decision == "fail"


def test_linear_scaling_must_hold_the_loss_and_others_need_not() -> None:
    book = notebook(0.9, 0.9, losses=(1.0, 1.0))
    assert judged(book, [0.9, 0.9], loss=1.19, name=LINEAR).decision == "pass"
    assert judged(book, [0.9, 0.9], loss=1.21, name=LINEAR).decision == "fail"
    assert judged(book, [0.9, 0.9], loss=1.21).decision == "pass"


def test_a_baseline_whose_loss_is_never_finite_gives_no_verdict_but_a_reason() -> None:
    book = notebook(0.9, 0.9, losses=(math.nan, math.nan))
    assert book.problem.startswith("The baseline's loss on the test split was finite in none of 2 trials")
    assert notebook(0.9, 0.9, losses=(math.nan, 1.0)).problem == ""


def test_a_loss_that_is_not_finite_is_above_any_bar_but_says_nothing_of_the_metric() -> None:
    book = notebook(0.9, 0.9)
    lost = record(0.9, seed=2)
    lost = lost.model_copy(update={"test": Scores(loss=None, metric=0.9)})
    records = [record(0.9), lost]
    measured = book.judge(LINEAR, 64, BASELINE, records, 0.95)
    assert (measured.decision, measured.metric_decision) == ("fail", "pass")
    assert book.judge("lars", 64, BASELINE, records, 0.95).decision == "pass"
    for metric, known in (("undecided", "undecided"), ("fail", "fail")):
        book.add_measurement(measured.model_copy(update={"batch_size": 32, "metric_decision": metric}))
        book.set_tried(32)
        assert book.decision(32) == known


@pytest.mark.parametrize(("ends", "shift"), [((0.1, 0.2, 0.4), 3), ((0.4, 0.2, 0.1), -3), ((0.1, 0.1, 0.1), -3)])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_where_all_were_stopped_early_the_rates_that_did_better_say_where_to_go(
    ends: tuple[float, ...], shift: int, direction: Direction
) -> None:
    book = notebook(0.9, 0.9, direction=direction)
    sign = 1 if direction == "up" else -1
    stopped = [
        record(None, size=64, lr=lr).model_copy(
            update={
                "status": "pruned",
                "history": (HistoryPoint(step=1, epoch=1.0, selection=Scores(loss=1.0, metric=sign * end)),),
            }
        )
        for lr, end in zip((0.1, 0.4, 1.6), ends, strict=True)
    ]
    book.add_tuned(LARS, 64, stopped)
    assert book.shift_of_lost(LARS.name, 64) == shift
    book.add_tuned(LARS, 64, [record(None, size=64, lr=6.4)])
    assert book.shift_of_lost(LARS.name, 64) == -4


def test_a_negative_loss_may_rise_by_a_fifth_too() -> None:
    book = notebook(0.9, 0.9, losses=(-2.0, -2.0))
    assert book.target_loss() == pytest.approx(-1.6)
    assert judged(book, [0.9, 0.9], loss=-1.61, name=LINEAR).decision == "pass"
    assert judged(book, [0.9, 0.9], loss=-1.59, name=LINEAR).decision == "fail"


@pytest.mark.parametrize(
    ("linear", "best", "tried", "decision"),
    [
        (None, None, False, None),
        ("fail", None, False, None),
        ("undecided", None, False, None),
        ("pass", None, False, "pass"),
        ("pass", "fail", True, "pass"),
        ("fail", "pass", True, "pass"),
        ("fail", "fail", True, "fail"),
        ("undecided", "fail", True, "undecided"),
        ("fail", "undecided", True, "undecided"),
        ("fail", None, True, "fail"),
    ],
)
def test_what_is_known_of_a_batch_size(linear: str | None, best: str | None, tried: bool, decision: str | None) -> None:
    book = notebook(0.9, 0.9)
    for name, given_decision in ((LINEAR, linear), ("lars", best)):
        if given_decision is not None:
            update = {"decision": given_decision, "metric_decision": given_decision, "name": name}
            book.add_measurement(judged(book, [0.9, 0.9]).model_copy(update=update))
    if tried:
        book.set_tried(64)
    assert book.decision(64) == decision


def test_of_several_recipes_one_that_passes_stays_then_the_best() -> None:
    book = notebook(0.9, 0.9)
    fail, better_fail = judged(book, [0.5, 0.5]), judged(book, [0.6, 0.6], name="lamb")
    passed = judged(book, [0.9, 0.9], name="adamw")
    for measurement, kept in ((better_fail, "lamb"), (fail, "lamb"), (passed, "adamw"), (better_fail, "adamw")):
        book.add_measurement(measurement)
        assert book.best[64].name == kept
    assert book.winner(64) == passed
    linear = judged(book, [0.95, 0.95], name=LINEAR)
    book.add_measurement(linear)
    assert book.winner(64) == linear
    book.add_measurement(linear.model_copy(update={"decision": "fail", "metric_decision": "fail"}))
    assert book.winner(64) == passed


@pytest.mark.parametrize(("direction", "best"), [("up", 0.8), ("down", 0.2)])
def test_tuning_is_remembered_in_the_metrics_direction(direction: Direction, best: float) -> None:
    book = notebook(0.5, 0.5, direction=direction)
    values = {0.1: 0.2, 0.2: 0.8, 0.4: None}
    book.add_tuned(LARS, 64, [record(metric, size=64, solver="lars", lr=lr) for lr, metric in values.items()])
    assert book.best_selection("lars", 64) == best
    recipe = book.best_recipe("lars", 64)
    assert recipe is not None
    assert values[recipe.lr] == best
    assert book.best_tuned(64) == LARS
    assert book.best_tuned(128) is None
    assert book.better(best, 0.5)
    assert not book.better(0.5, best)
    assert book.best_selection("lamb", 64) is None


def test_learning_rates_carry_over_from_the_nearest_batch_size() -> None:
    book = notebook(0.9, 0.9)
    assert book.learned_lr(LARS, 256) is None
    book.add_tuned(LARS, 1024, [record(0.9, size=1024, solver="lars", lr=32.0)])
    book.add_tuned(LARS, 64, [record(0.9, size=64, solver="lars", lr=1.0)])
    assert book.learned_lr(LARS, 512) == pytest.approx(32 * math.sqrt(512 / 1024), rel=0.42)
    assert book.learned_lr(LARS, 4096) == 64.0
    assert book.learned_lr(LARS, 16) == 0.5
    book.add_tuned(ADAMW, 64, [record(None, size=64, solver="adamw", lr=1.0)])
    assert book.learned_lr(ADAMW, 256) is None


def test_promise_puts_first_what_did_best_nearby() -> None:
    book = notebook(0.9, 0.9)
    for candidate, metric in ((LAMB, 0.5), (LARS, 0.8), (ADAMW, None)):
        book.add_tuned(candidate, 1024, [record(metric, size=1024, solver=candidate.recipe.solver)])
    names = [candidate.name for candidate in CANDIDATES]
    assert sorted(names, key=lambda name: book.promise(name, 256)) == ["lars", "lamb", "adamw"]


def test_no_stop_rule_without_a_history() -> None:
    assert notebook(0.9, 0.9).stop_rule() is None


@pytest.mark.parametrize(
    ("direction", "early", "final", "bar"),
    [
        ("up", 0.3, 0.9, 0.3),
        ("up", 0.8, 0.9, 0.45),
        ("down", 2.0, 0.5, 2.0),
        ("down", 0.4, 0.5, 0.5),
        ("up", -5, -2, -5),
    ],
)
def test_the_stop_rule_follows_the_baseline(direction: Direction, early: float, final: float, bar: float) -> None:
    book = notebook(direction=direction)
    history = (HistoryPoint(step=1, epoch=1.0, selection=Scores(loss=1.0, metric=early)),)
    book.set_baseline([record(final, seed=seed).model_copy(update={"history": history}) for seed in (1, 2)])
    rule = book.stop_rule()
    assert rule is not None
    assert rule.metric == pytest.approx(bar)


def test_costs_are_counted_by_purpose_and_batch_size() -> None:
    book = notebook(0.9, 0.9)
    book.count("tuning", 64, [record(0.9), record(None)])
    book.count("verifying", 64, [record(0.9)])
    book.count("tuning", 128, [record(0.9)])
    assert book.purposes == {"tuning": 3, "verifying": 1}
    assert (book.trials[64], book.samples[64], book.trials[128], book.seconds) == (3, 300, 1, 2.0)


@pytest.mark.parametrize(("metrics", "problem"), [((0.9, 0.9, None), False), ((0.9, None), True), ((None, None), True)])
def test_a_baseline_needs_two_seeds_and_most_of_them(metrics: tuple[float | None, ...], problem: bool) -> None:
    book = Notebook(World(limits={}).question())
    book.set_baseline([record(metric) for metric in metrics])
    assert bool(book.problem) == problem
    assert not problem or "(no reason given)" in book.problem


def test_linear_scaling_that_loses_only_the_loss_makes_a_large_batch_but_no_small_one() -> None:
    book = notebook(0.9, 0.9)
    book.add_measurement(
        judged(book, [0.9, 0.9]).model_copy(
            update={"name": LINEAR, "decision": "fail", "metric_decision": "pass", "batch_size": 64}
        )
    )
    assert book.linear[64].decision == "fail"
    assert book.decision(64) == "pass"
    winner = book.winner(64)
    assert winner is not None
    assert (winner.name, winner.decision) == (LINEAR, "pass")
