"""The judges of beyond on made results, and that its arms are compared fairly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from study_worlds import effort_of, facts_of, judged, result

from batchlimit.config import Recipe
from batchlimit.durations import Duration
from batchlimit.studies.arm import Arm
from batchlimit.studies.beyond import (
    ABLATION,
    FEWER,
    FINALISTS,
    PROTOTYPE,
    SOLVERS,
    WHITENED,
    WHOLE,
    arms,
    updates_of,
)
from batchlimit.studies.prototypes import AVERAGED, IN_HALF, PROTOTYPES
from batchlimit.studies.recipes import AT_FULL
from batchlimit.studies.results import ArmResult

THIRTY, FIFTEEN = "reaches 99.4 % in 30", "reaches 99.2 % in 15"
LENET5, LATER, OLD = "smaller LeNet-5", "a later solver does better", "No solver of the paper"
ANY_FULL, ANY_HUGE = "whatever date, reaches it with the full", "whatever date, reaches it with a huge"


def world(muon: float | None, others: float = 0.97, short: float = 0.9) -> Callable[[Arm], float | None]:
    def metric(arm: Arm) -> float | None:
        labels = arm.labels
        if labels["part"] == "baseline":
            return 0.992
        if labels["part"] == FEWER and arm.epochs.amount < 30:
            return short
        if labels["part"] == ABLATION:
            return 0.994 if labels["variant"] == WHOLE else 0.98
        return muon if labels["solver"] == "muon" else others

    return metric


def test_a_wall_that_breaks() -> None:
    found = result("beyond", world(0.996, short=0.993), workload="mnist")
    for text in (THIRTY, FIFTEEN, LATER, OLD, "on MNIST does better than the author"):
        assert judged(found, text).agreement == "agrees", text
    for text in (ANY_FULL, ANY_HUGE):
        assert judged(found, text).agreement == "differs", text
    assert "muon" in judged(found, THIRTY).ours


def test_a_wall_that_stands() -> None:
    found = result("beyond", world(0.96, short=0.95), workload="mnist")
    for text in (THIRTY, FIFTEEN, LATER, "on MNIST does better than the author"):
        if text == LATER:
            continue
        assert judged(found, text).agreement == "differs", text
    for text in (ANY_FULL, ANY_HUGE, OLD):
        assert judged(found, text).agreement == "agrees", text
    worse = result("beyond", lambda arm: 0.97 if arm.labels.get("origin") == "of the paper" else 0.95)
    assert judged(worse, LATER).agreement == "differs"


def test_numbers_are_judged_on_the_papers_workload_only() -> None:
    found = result("beyond", world(0.996, short=0.993), workload="digits")
    for text in (THIRTY, FIFTEEN, LENET5):
        assert judged(found, text).agreement == "not comparable", text
    small = result("beyond", world(0.99), workload="mnist-lenet5")
    assert judged(small, LENET5).agreement == "agrees"
    assert judged(result("beyond", world(0.98), workload="mnist-lenet5"), LENET5).agreement == "differs"


def test_one_update_is_no_updates() -> None:
    found = result("beyond", world(0.996, short=0.993), workload="mnist")
    once = tuple(replace(arm, arm=arm.arm.updated({"epochs": Duration(1, "epochs")})) for arm in found.arms)
    assert judged(replace(found, arms=once), FIFTEEN).ours.endswith(", 1 update")


def test_longer_trainings_do_not_count_as_fifteen_updates() -> None:
    found = result("beyond", world(0.999, short=0.9), workload="mnist")
    assert judged(found, FIFTEEN).agreement == "differs"


def test_the_ablation() -> None:
    all_to_take = facts_of(dropout=True, own_weights=True)
    found = result("beyond", world(0.99), facts=all_to_take)
    claims = [claim for claim in found.study.claims if claim.source == "ablation"]
    assert len(claims) == 9
    assert {claim.judge(found).agreement for claim in claims} == {"agrees"}
    turned = result("beyond", lambda arm: 0.9 if arm.labels.get("variant") == WHOLE else 0.98, facts=all_to_take)
    assert {claim.judge(turned).agreement for claim in claims} == {"differs"}


def test_dropout_and_initial_weights_are_taken_away_only_where_there_are_some() -> None:
    found = result("beyond", world(0.99))
    judgement = judged(found, "Without dropout")
    assert (judgement.agreement, judgement.reason) == ("not comparable", "the model has no dropout layer")
    judgement = judged(found, "initial weights")
    assert (judgement.agreement, judgement.reason[:31]) == ("not comparable", "the model's initial weights are")
    changed = {(arm.arm.recipe.dropout, arm.arm.recipe.initialization) for arm in found.arms}
    assert changed == {(None, None)}
    recipes = [arm.recipe for arm in arms(facts_of(dropout=True, own_weights=True), effort_of())]
    assert {(recipe.dropout, recipe.initialization) for recipe in recipes} == {
        (None, None),
        (0.0, None),
        (None, "torch"),
    }


def test_a_solver_that_cannot_train_the_model_has_no_arm() -> None:
    made = arms(facts_of(refused={"kfac": "kfac found no layer."}), effort_of())
    assert "kfac" not in {arm.labels.get("solver") for arm in made}
    assert "soap" in {arm.labels.get("solver") for arm in made}


def test_diverged_unfinished_and_smoke() -> None:
    lost = result("beyond", world(None, others=0.97), workload="mnist")
    assert judged(lost, ANY_FULL).agreement == "agrees"
    for scale, metric in (("quick", lambda arm: "unfinished"), ("smoke", world(0.99))):
        found = result("beyond", metric, workload="mnist", scale=scale)
        assert {claim.judge(found).agreement for claim in found.study.claims} == {"not comparable"}


def test_same_budget_for_all_and_more_seeds_for_the_finalists() -> None:
    made = arms(facts_of(), effort_of())
    compared = [arm for arm in made if arm.labels["part"] == SOLVERS]
    assert len({arm.budget for arm in compared}) == 1
    assert {str(arm.labels["solver"]) for arm in compared} >= (set(AT_FULL) | {"momentum"}) - {"adamw"}
    final = [a for a in compared if a.labels["solver"] in FINALISTS[str(a.labels["batch"])]]
    assert len(final) == 9
    assert {arm.seeds for arm in final} == {10}
    assert {arm.seeds for arm in compared if arm not in final} == {5}
    ablation = [arm for arm in made if arm.labels["part"] == ABLATION]
    assert len({(arm.budget, len(arm.space["lr"]), arm.seeds) for arm in ablation}) == 1


def test_fewer_updates_are_thirty_and_fewer() -> None:
    found = result("beyond", world(0.99), scale="paper")
    made = [arm for arm in found.arms if arm.labels["part"] == FEWER]
    assert [updates_of(arm, found) for arm in made] == [30, 30, 15, 15, 10, 10, 20, 20]
    assert all(isinstance(arm, ArmResult) and arm.labels["updates"] == updates_of(arm, found) for arm in made)


def test_fewer_updates_on_whitened_inputs_beside_those_as_they_are() -> None:
    def metric(arm: Arm) -> float | None:
        return 0.98 if arm.labels.get("solver") == WHITENED else 0.95

    found = result("beyond", metric)
    assert judged(found, "a third of the updates").agreement == "agrees"
    assert judged(result("beyond", world(0.99)), "a third of the updates").agreement == "undecided"
    made = [arm for arm in arms(facts_of(), effort_of()) if arm.labels["part"] == FEWER]
    assert {arm.recipe.solver_options.get("whiten", False) for arm in made} == {False, True}
    assert len({(arm.budget, len(arm.space["lr"]), arm.seeds) for arm in made}) == 1
    unfit = arms(facts_of(refused={"kfac": "no layer"}), effort_of())
    assert all(arm.labels["solver"] == "muon" for arm in unfit if arm.labels["part"] == FEWER)


def test_recipes_found_by_hand_need_what_they_change() -> None:
    for own, count in ((True, 5), (False, 3)):
        made = arms(facts_of(own_weights=own), effort_of(scale="paper"))
        found = {str(arm.labels["prototype"]): arm.recipe for arm in made if arm.labels["part"] == PROTOTYPE}
        assert len(found) == count
        assert (AVERAGED in found) is own
        if own:
            averaging = found[AVERAGED].averaging
            assert averaging is not None
            assert averaging.start.steps(batch_size=60_000, dataset_size=60_000, total_steps=30) == 22
    assert sum(arm.labels["part"] == PROTOTYPE for arm in arms(facts_of(own_weights=True), effort_of())) == 2


@pytest.mark.parametrize("of", PROTOTYPES)
def test_recipes_found_by_hand_last_as_long_as_they_say(of: str) -> None:
    one = PROTOTYPES[of]
    recipe = Recipe.model_validate({"solver": "muon", **one.fields()})
    assert recipe.warmup.steps(batch_size=60_000, dataset_size=60_000, total_steps=one.updates) == one.warmup
    assert round(30 * one.share) == one.updates


def test_a_prototype_for_half_the_epochs_counts_among_fifteen_updates() -> None:
    def metric(arm: Arm) -> float | None:
        return 0.993 if arm.labels.get("prototype") == IN_HALF else 0.95

    found = result("beyond", metric, scale="paper", facts=facts_of("mnist", own_weights=True))
    assert judged(found, FIFTEEN).agreement == "agrees"
    assert judged(found, THIRTY).agreement == "differs"
