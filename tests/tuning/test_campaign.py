"""Campaigns: every arm gets its budget, the best is measured, and a ledger leads as far as it goes."""

from __future__ import annotations

import pytest
from fake_engine import record

from batchlimit.config import Recipe, TrialConfig
from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.records import Scores, TrialRecord
from batchlimit.studies.arm import Arm
from batchlimit.tuning.campaign import Campaign

EPOCHS = Duration(3.0, "epochs")


def arm(name: str = "a", **changes: object) -> Arm:
    base = {"labels": {"name": name}, "batch_size": 32, "epochs": EPOCHS, "recipe": Recipe(lr=0.1), "seeds": 2}
    return Arm.model_validate({**base, **changes})


def tuned(name: str = "a", **changes: object) -> Arm:
    return arm(name, **{"space": {"lr": [0.05, 0.1, 0.2]}, "budget": 3, **changes})


def answered(config: TrialConfig) -> TrialRecord:
    """A training whose selection metric is its LR: the largest is best."""
    made = record(config)
    return made.model_copy(update={"selection": Scores(loss=1.0, metric=config.recipe.lr)})


def diverged(config: TrialConfig) -> TrialRecord:
    return TrialRecord(config=config, status="diverged", reason="not finite")


def run(campaign: Campaign, answer: object = answered) -> list[list[TrialConfig]]:
    """Drive a campaign; return the trials asked for, batch by batch."""
    asked, trials = [], campaign.trials()
    try:
        batch = next(trials)
        while True:
            asked.append(list(batch.trials))
            batch = trials.send([answer(config) for config in batch.trials])
    except StopIteration:
        return asked


def test_an_arm_without_a_space_is_measured_as_it_is() -> None:
    campaign = Campaign("fake", "up", [arm()])
    (asked,) = run(campaign)
    assert [config.seed for config in asked] == [1, 2]
    (result,) = campaign.results()
    assert result.chosen == Recipe(lr=0.1)
    assert len(result.final) == 2
    assert result.tuning == ()


@pytest.mark.parametrize("tuner", ["grid", "tpe"])
def test_no_more_trials_are_expected_than_a_space_of_choices_has(tuner: str) -> None:
    campaign = Campaign("fake", "up", [tuned(budget=8, tuner=tuner)])
    assert campaign.progress[0].trials == sum(map(len, run(campaign))) == 3 + 2


def test_the_best_by_the_selection_split_is_measured_with_fresh_seeds() -> None:
    campaign = Campaign("fake", "up", [tuned()])
    tuning, final = run(campaign)
    assert sorted(config.recipe.lr for config in tuning) == [0.05, 0.1, 0.2]
    assert {config.seed for config in tuning} == {0}
    assert [(config.recipe.lr, config.seed) for config in final] == [(0.2, 1), (0.2, 2)]


def test_a_metric_that_goes_down_chooses_the_least() -> None:
    campaign = Campaign("fake", "down", [tuned()])
    run(campaign)
    assert campaign.results()[0].chosen == Recipe(lr=0.05)


def test_probes_and_watched_splits_are_of_the_final_trainings_alone() -> None:
    campaign = Campaign("fake", "up", [tuned(probes=("weight-distance",), watch=("train",))])
    tuning, final = run(campaign)
    assert not any(config.probes or config.watch for config in tuning)
    assert all(config.probes == ("weight-distance",) and config.watch == ("train",) for config in final)


def test_arms_that_are_the_same_share_their_trials() -> None:
    campaign = Campaign("fake", "up", [tuned("a"), tuned("b")])
    asked = run(campaign)
    assert [len(batch) for batch in asked] == [3, 2]
    left, right = campaign.results()
    assert left.final == right.final


def test_an_arm_whose_tuning_all_diverges_is_not_measured() -> None:
    campaign = Campaign("fake", "up", [tuned()])
    (asked,) = run(campaign, diverged)
    assert len(asked) == 3
    (result,) = campaign.results()
    assert result.chosen is None
    assert result.status == "diverged"
    assert result.diverged == 2


@pytest.mark.parametrize("tuner", ["grid", "tpe"])
def test_every_arm_gets_its_budget_and_no_more(tuner: str) -> None:
    space = {"lr": {"low": 0.01, "high": 1.0, "log": True, "points": 7}}
    arms = [tuned(str(n), tuner=tuner, budget=6, space=space, repeat=n) for n in range(3)]
    campaign = Campaign("fake", "up", arms)
    planned = [progress.trials for progress in campaign.progress]
    run(campaign)
    assert [len(result.tuning) for result in campaign.results()] == [6, 6, 6]
    assert planned == [len(r.tuning) + len(r.final) for r in campaign.results()] == [8, 8, 8]


def test_repeats_of_a_tuning_train_with_other_seeds() -> None:
    campaign = Campaign("fake", "up", [tuned(), tuned(repeat=1)])
    tuning, _ = run(campaign)
    assert len({config.seed for config in tuning}) == 2


def test_a_ledger_leads_as_far_as_it_goes() -> None:
    whole = Campaign("fake", "up", [tuned(), arm("b")])
    run(whole)
    known = {r.hash: r for result in whole.results() for r in (*(t.record for t in result.tuning), *result.final)}
    again = Campaign("fake", "up", [tuned(), arm("b")])
    again.recall(known.get)
    assert again.results() == whole.results()
    assert not again.wanted()

    lost = next(hash for hash, r in known.items() if r.config.seed == 0)
    partly = Campaign("fake", "up", [tuned(), arm("b")])
    partly.recall({hash: r for hash, r in known.items() if hash != lost}.get)
    assert [config.hash for config in partly.wanted()] == [lost]
    first, second = partly.results()
    assert len(first.tuning) == 2
    assert first.status == "unfinished"
    assert second.status == "measured"


def test_a_field_that_cannot_be_tuned_is_bad_input() -> None:
    with pytest.raises(InputError, match="lrr"):
        Campaign("fake", "up", [tuned(space={"lrr": [1.0]})])
