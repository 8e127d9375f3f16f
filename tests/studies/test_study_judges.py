"""The judges that studies share, on results nobody measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up_study import around, effort_of, facts_of, result_of

from batchlimit.durations import Duration
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.claims import better, fails, reaches
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import gains_most, keeps, no_change, opposite, unbeaten
from batchlimit.studies.standard_arms import batch_size, length, linear, tuned
from batchlimit.studies.study import Study

A: Labels = {"solver": "adam"}
B: Labels = {"solver": "lars"}
C: Labels = {"solver": "lamb"}


def three(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    return tuple(tuned(facts, effort, name, "large", {"solver": name}) for name in ("adam", "lars", "lamb"))


STUDY = Study(name="three", question="Which of three?", arms=three)


def measured(adam: float | None, lars: float | None, lamb: float | None = 0.5, spread: float = 0.001):  # type: ignore[no-untyped-def]
    values = {"adam": adam, "lars": lars, "lamb": lamb}

    def metrics(arm: Arm) -> list[float] | None:
        value = values[str(arm.labels["solver"])]
        return None if value is None else around(value, spread=spread)

    return result_of(STUDY, metrics)


@pytest.mark.parametrize(
    ("ours", "target", "agreement"),
    [(0.990, 0.992, "agrees"), (0.98, 0.992, "differs"), (None, 0.992, "differs"), (0.9, None, "agrees")],
)
def test_keeping_the_target_is_99_5_per_cent_of_it(ours: float | None, target: float | None, agreement: str) -> None:
    result = measured(ours, target)
    assert keeps(A, B)(result).agreement == agreement
    turned = {"agrees": "differs", "differs": "agrees"}
    assert opposite(keeps(A, B))(result).agreement == turned[agreement]


def test_a_verdict_says_by_how_much() -> None:
    assert better(A, B)(measured(0.992, 0.980)).reason.startswith("difference +1.20 points (+1.")
    assert better(A, B)(measured(0.980, 0.992)).reason.startswith("difference -1.20 points (-1.")
    assert keeps(A, B)(measured(0.99201, 0.99202)).reason.startswith("difference +0.00 points (-0.")  # of -0.001
    assert keeps(A, B)(measured(0.980, 0.992)).reason.endswith("), the target at -0.50")
    assert (
        better(A, B)(measured(0.987, 0.992, spread=0.05)).reason == "the interval of the difference holds both answers"
    )


def test_a_target_within_the_seeds_scatter_is_undecided_either_way() -> None:
    result = measured(0.987, 0.992, spread=0.05)
    assert keeps(A, B)(result).agreement == opposite(keeps(A, B))(result).agreement == "undecided"


def test_a_loss_keeps_the_target_when_it_is_hardly_above_it() -> None:
    result = result_of(
        STUDY,
        lambda arm: around(1.002 if arm.labels == tuned_labels("adam") else 1.0, spread=0.0001),
        facts=facts_of("digits", metric_direction="down"),
    )
    assert keeps(A, B)(result).agreement == "agrees"
    assert keeps(A, B, share=0.9999)(result).agreement == "differs"


def tuned_labels(solver: str) -> Labels:
    return {"solver": solver, "batch": "large", "batch size": batch_size(facts_of("digits"), "large")}


def test_unbeaten_is_against_the_best_of_the_others() -> None:
    assert unbeaten(A)(measured(0.95, 0.9, 0.92)).agreement == "agrees"
    beaten = unbeaten(A)(measured(0.95, 0.9, 0.97))
    assert beaten.agreement == "differs"
    assert "lamb" in beaten.ours
    assert unbeaten(A)(measured(0.95, 0.9, 0.9501, spread=0.02)).agreement == "undecided"
    assert unbeaten(A)(measured(None, 0.9, None)).agreement == "differs"


def test_no_change_wants_a_difference_of_0_in_the_interval() -> None:
    assert no_change(A, B)(measured(0.9, 0.9001, spread=0.01)).agreement == "agrees"
    assert no_change(A, B)(measured(0.9, 0.95)).agreement == "differs"
    assert no_change(A, B)(measured(0.95, 0.9)).agreement == "differs"
    assert no_change(A, B)(measured(None, 0.9)).agreement == "differs"
    assert no_change(A, B)(measured(None, None)).agreement == "undecided"


def test_the_largest_gain_is_found_by_seeds() -> None:
    steps = (A, B, C)
    assert gains_most(steps, 2)(measured(0.5, 0.6, 0.9)).agreement == "agrees"
    assert gains_most(steps, 1)(measured(0.5, 0.6, 0.9)).agreement == "differs"
    assert gains_most(steps, 2)(measured(0.5, 0.8, 0.9)).agreement == "differs"
    assert gains_most(steps, 2)(measured(None, 0.6, 0.9)).agreement == "undecided"


def test_standard_arms_are_the_search_s_trials() -> None:
    facts = facts_of("digits")
    recipe = linear(facts)
    assert recipe.peak_lr(facts.large) == pytest.approx(facts.baseline.lr * facts.large / facts.batch_size)
    assert recipe.updated({"lr_rule": "none", "reference_batch_size": None}) == facts.baseline
    sizes = [batch_size(facts, batch) for batch in ("baseline", "large", "twice large", "huge", "full")]
    assert sizes == [16, 128, 256, 512, 1000]
    assert length(facts, effort_of("quick"), 20 / 3) == 200
    assert length(facts, effort_of("smoke"), 1.5) == 1.5
    in_steps = effort_of("quick").model_copy(update={"epochs": Duration(125, "steps")})
    assert length(facts, in_steps) == 2, "of the baseline's batches: 125 of 16 are twice the 1,000 examples"


def test_no_verdict_while_an_arm_that_is_not_finished_could_overturn_it() -> None:
    done = measured(0.990, 0.992, 0.5)
    where: Labels = {"batch": "large"}
    assert opposite(reaches(where, 0.999))(done).agreement == "agrees"
    waiting = replace(
        done, arms=tuple(replace(a, final=(), finished=False) if a.labels["solver"] == "lamb" else a for a in done.arms)
    )
    found = opposite(reaches(where, 0.999))(waiting)
    assert (found.agreement, found.reason) == ("undecided", "1 arm not finished")
    assert reaches(where, 0.9)(waiting).agreement == "agrees", "what is reached stays reached"
    assert better(C, A)(done).agreement == "differs"
    assert better(A, where, by=-0.01)(done).agreement == "agrees"
    assert better(A, where, by=-0.01)(waiting).agreement == "undecided"
    assert unbeaten(B)(done).agreement == "agrees"
    assert unbeaten(B)(waiting).agreement == "undecided"
    assert no_change(B, A)(waiting).agreement == "differs", "neither waits for an arm"
    assert no_change(A, where)(waiting).agreement == "undecided"
    lost = measured(0.990, None, None)
    assert fails({"batch": "large"})(replace(lost, arms=lost.arms[1:])).agreement == "agrees"
    still = replace(lost, arms=(lost.arms[1], replace(lost.arms[2], chosen=None, tuning=(), finished=False)))
    assert fails({"batch": "large"})(still).agreement == "undecided"
