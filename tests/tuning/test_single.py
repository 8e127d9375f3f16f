"""Tuning at one batch size: the budget is spent, the best found is measured with seeds that tuning has not seen."""

from __future__ import annotations

import math

import pytest
from synthetic_world import BASELINE

from batchlimit.api import tune
from batchlimit.config import TrialConfig
from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.findings import Direction, TuneFinding
from batchlimit.ledger import Ledger
from batchlimit.records import Scores, TrialRecord
from batchlimit.tuning.driver import Event, drive
from batchlimit.tuning.runners.inline import InlineRunner
from batchlimit.tuning.search_space import SearchSpace
from batchlimit.tuning.single import TuneQuestion, TuneSettings, Tuning, default_space, tune_space

BEST = 0.3


def question(tuner: str = "grid", direction: Direction = "up", **changes: object) -> TuneQuestion:
    fields: dict[str, object] = {
        "workload": "w",
        "metric_name": "merit",
        "metric_direction": direction,
        "batch_size": 64,
        "budget": Duration(2, "epochs"),
        "recipe": BASELINE,
        "space": default_space(BASELINE),
        "trials": 12,
        "tuner": tuner,
        "seeds": 4,
        "protocol": "validation",
    }
    return TuneQuestion.model_validate({**fields, **changes})


def hill(config: TrialConfig, direction: Direction = "up") -> TrialRecord:
    """A trial whose merit falls with the distance of its LR from the best, in doublings; far above, it diverges."""
    away = math.log2(config.recipe.lr / BEST)
    if away > 1.2:
        return TrialRecord(config=config, status="diverged", reason="too fast", samples=64)
    merit = 0.9 - 0.01 * away**2 + 0.0001 * config.seed
    scores = Scores(loss=1.0 - merit, metric=merit if direction == "up" else -merit)
    return TrialRecord(config=config, status="complete", samples=128, seconds=1.0, selection=scores, test=scores)


def tuned(asked: TuneQuestion, ledger: Ledger | None = None) -> TuneFinding:
    tuning = Tuning(asked)
    runner = InlineRunner(lambda config: hill(config, asked.metric_direction))
    drive(tuning.trials(), Ledger.open(":memory:") if ledger is None else ledger, runner)
    return tuning.finding()


@pytest.mark.parametrize("tuner", ["grid", "tpe"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_the_best_proposal_is_measured_with_fresh_seeds(tuner: str, direction: Direction) -> None:
    ledger = Ledger.open(":memory:")
    finding = tuned(question(tuner, direction), ledger)
    assert finding.problem == ""
    assert len(finding.proposals) == 12
    assert finding.best is not None
    assert abs(math.log2(finding.best.recipe.lr / BEST)) < 0.6
    best = max(abs(p.metric) for p in finding.proposals if p.metric is not None)
    assert (finding.best.seeds, finding.best.metric.n) == (4, 4)
    assert abs(finding.best.metric.mean or 0) == pytest.approx(best + 0.00025)  # the seeds 1 to 4, not tuning's 0
    assert finding.cost.by_purpose == {"tuning": 12, "measuring": 4}
    assert finding.cost.trials == 16
    # The same again asks for nothing new; a ledger and no runner is enough.
    again = Tuning(question(tuner, direction))
    drive(again.trials(), ledger, None)
    assert again.finding() == finding


def test_a_grid_smaller_than_the_budget_ends_sooner() -> None:
    finding = tuned(question(space=SearchSpace.parse({"lr": [0.1, 0.2, 0.4], "warmup": ["0%", "10%"]}), trials=50))
    assert len(finding.proposals) == 6


def test_tpe_tries_no_choice_twice_and_the_cost_is_that_of_the_ledger() -> None:
    ledger = Ledger.open(":memory:")
    space = SearchSpace.parse({"warmup": ["0%", "10%", "30%"]})
    finding = tuned(question("tpe", space=space, trials=8), ledger)
    assert sorted(str(proposed.fields["warmup"]) for proposed in finding.proposals) == ["0%", "10%", "30%"]
    assert finding.cost.trials == len(ledger.records()) == 3 + 4


def test_a_trial_that_is_proposed_twice_is_told_and_counted_once() -> None:
    tuning = Tuning(question(space=SearchSpace.parse({"lr": [0.1, 0.2]}), trials=4))
    trials = tuning.trials()
    records = [hill(config) for config in next(trials).trials]
    trials.send(records)
    tuning._told += tuning._told
    finding = tuning.finding()
    assert [proposed.fields["lr"] for proposed in finding.proposals] == [0.1, 0.2]
    assert (finding.cost.trials, finding.cost.samples) == (2, 256)
    assert finding.cost.by_purpose["tuning"] == 2


def test_when_nothing_completes_the_reason_is_told() -> None:
    finding = tuned(question(space=SearchSpace.parse({"lr": [10.0, 20.0]})))
    assert finding.best is None
    assert finding.problem == "None of 2 tuning trials completed (too fast)."
    assert [proposed.status for proposed in finding.proposals] == ["diverged", "diverged"]


def test_an_unfinished_tuning_says_so() -> None:
    tuning = Tuning(question())
    trials = tuning.trials()
    batch = next(trials)
    assert batch.expected_left == 12 - len(batch.trials) + 4
    assert tuning.finding().problem == "The tuning is not finished."


def test_lr_and_warmup_are_tuned_unless_told_otherwise() -> None:
    space = tune_space(TuneSettings(), BASELINE)
    assert [dimension.name for dimension in space.dimensions] == ["lr", "warmup"]
    rates = [float(value) for value in space.dimensions[0].grid()]
    assert (rates[0], rates[-1], len(rates)) == (pytest.approx(0.1 / 8), pytest.approx(0.8), 7)
    told = tune_space(TuneSettings(space={"solver_options.momentum": [0.8, 0.9]}), BASELINE)
    assert [dimension.name for dimension in told.dimensions] == ["solver_options.momentum"]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"momentun": [0.9]}, "field 'momentun': Unknown key 'momentun'. Valid: "),
        ({"lr": {"low": 2, "high": 1}}, r"low \(2\) of 'lr' is above"),
    ],
)
def test_a_space_that_cannot_be_is_bad_input(space: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tune_space(TuneSettings(space=space), BASELINE)


def test_an_unknown_tuner_is_found_at_once() -> None:
    with pytest.raises(InputError, match="Did you mean 'tpe'"):
        Tuning(question("tp"))


@pytest.mark.parametrize(("field", "choices"), [("solver", ["momentum", "nosuch"]), ("schedule", ["nosuch"])])
def test_names_among_the_choices_are_checked_before_any_training(field: str, choices: list[str]) -> None:
    events: list[Event] = []
    with pytest.raises(InputError, match=f"Unknown {field} 'nosuch'"):
        tune("digits", settings=TuneSettings(space={field: choices}), on_event=events.append)
    assert not events
