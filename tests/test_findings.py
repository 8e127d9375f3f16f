"""A verdict is plain data: it survives JSON and refuses what it does not know."""

import pytest
from pydantic import ValidationError

from batchlimit.config import Recipe
from batchlimit.findings import (
    BaselineFinding,
    BatchSizeFinding,
    Boundary,
    Cost,
    Estimate,
    LimitFinding,
    Measurement,
    Tuned,
    TunedPoint,
)


def finding(**changes):
    estimate = Estimate(mean=0.98, low=0.975, high=0.985, n=5)
    recipe = Recipe(solver="lars", lr=6, warmup="16 epochs")
    measured = Measurement(
        name="lars",
        batch_size=1024,
        recipe=recipe,
        seeds=5,
        diverged=1,
        metric=estimate,
        loss=Estimate(n=0),
        metrics=(0.98, 0.97),
        decision="undecided",
    )
    size = BatchSizeFinding(
        batch_size=1024,
        regime="large",
        is_full=True,
        best=measured,
        tried=(Tuned(name="lars", trials=8, best=None, recipe=None),),
        trials=13,
        samples=10**12,
    )
    fields = {
        "workload": "<script>alert(1)</script>",
        "metric_name": "accuracy",
        "metric_direction": "up",
        "dataset_size": 1024,
        "training_budget": "30 epochs",
        "protocol": "validation",
        "search": "adaptive",
        "tuner": "grid",
        "techniques": "modern",
        "recipes": ("lars", "lamb"),
        "budget": 8,
        "seeds": (5, 20),
        "baseline": BaselineFinding(
            batch_size=32, recipe=Recipe(), metric=estimate, loss=estimate, target_metric=0.975
        ),
        "small_up_to": Boundary(value=128, next_fail=256, undecided=(192,)),
        "full": size,
        "by_batch_size": (size,),
        "tuned_points": (TunedPoint(name="lars", batch_size=8, lr=0.1, warmup="5%", metric=None, status="diverged"),),
        "cost": Cost(trials=13, samples=10**12, seconds=3.5, by_purpose={"tuning": 8}),
        "environment": {"torch": "2.13.0", "threads": 1, "gpu": None},
    }
    return LimitFinding(**fields | changes)


def test_json_round_trip_keeps_everything():
    original = finding()
    again = LimitFinding.model_validate_json(original.model_dump_json())
    assert again == original
    assert again.full.best.recipe.warmup == original.full.best.recipe.warmup


def test_without_a_verdict_the_problem_says_why():
    empty = finding(baseline=None, full=None, by_batch_size=(), problem="Every baseline trial diverged.")
    again = LimitFinding.model_validate_json(empty.model_dump_json())
    assert again.problem == "Every baseline trial diverged."
    assert again.small_up_to.value == 128
    assert again.large_up_to == Boundary()


@pytest.mark.parametrize(
    "wrong", [{"metric_direction": "sideways"}, {"search": "random"}, {"verdict": 3}, {"seeds": (5,)}]
)
def test_what_it_does_not_know_is_refused(wrong):
    with pytest.raises(ValidationError):
        finding(**wrong)


def test_findings_are_immutable():
    with pytest.raises(ValidationError, match="frozen"):
        finding().cost.trials = 0


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ((0.5, -0.2, 1.3), (0.0, 1.0)),
        ((0.98, 0.97, 0.99), (0.97, 0.99)),
        ((1.5, -0.2, 3.0), (-0.2, 3.0)),
        ((0.5, None, None), (None, None)),
    ],
)
def test_no_interval_of_a_share_leaves_0_to_1(
    given: tuple[float, float | None, float | None], shown: tuple[float | None, float | None]
) -> None:
    mean, low, high = given
    found = Estimate(mean=mean, low=low, high=high, n=2).shown(percent=True)
    assert (found.mean, found.low, found.high, found.n) == (mean, *shown, 2)
