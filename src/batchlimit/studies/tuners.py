"""Does an auto-tuner find better settings than a grid of the same number of trials?

Paper: Optimization 2 (section 3.1): "just using grid-search tuning can roughly get the same accuracy as the auto-tuner
in a reasonable computing budget". Momentum with cosine decay, as there, at the batch size that corresponds to 32K on
MNIST: LR and warmup over the same wide ranges, by grid and by TPE with the same number of trials, repeated with other
seeds. The best of each repeat is then trained with fresh seeds.
"""

from __future__ import annotations

import math
from typing import Any

from batchlimit.analysis.intervals import difference_interval
from batchlimit.config import Scalar
from batchlimit.findings import Estimate
from batchlimit.studies import standard_arms, studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Claim, Judgement, missing, too_short
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import Judge
from batchlimit.studies.recipes import derived
from batchlimit.studies.results import StudyResult
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, TableSpec

TUNERS = ("grid", "tpe")
WIDTH = 16.0  # the factor to either side of the LR looked around
ROUGHLY = 0.01  # of the mean metric


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return both tuners with the same space and number of trials, several times."""
    warmups = effort.most(2, 4, 5)
    rates = max(2, -(-effort.most(2, 3, 2) * effort.budget // warmups))
    repeats = effort.most(2, 5, 5)
    recipe = derived(facts, "momentum", facts.huge, schedule="cosine", schedule_options={})
    where: dict[str, Any] = {
        "lr": {"low": recipe.lr / WIDTH, "high": recipe.lr * WIDTH, "log": True, "points": rates},
        "warmup": {"low": 0.0, "high": 60.0, "unit": "%", "points": warmups},
    }

    def arm(tuner: str, repeat: int) -> Arm:
        named: dict[str, Scalar] = {"tuner": tuner, "repeat": repeat + 1}
        budget = rates * warmups
        return standard_arms.searched(
            facts, effort, "huge", named, recipe, where, budget=budget, tuner=tuner, repeat=repeat
        )

    return tuple(arm(tuner, repeat) for repeat in range(repeats) for tuner in TUNERS)


def roughly_the_same(first: str, second: str, *, share: float = ROUGHLY) -> Judge:
    """Return a judge: over repeats, the mean of what two tuners found differs by at most `share` of it.

    Each repeat counts once, with the mean over seeds of the recipe it chose; decided by the interval of the difference.
    """

    def judge(result: StudyResult) -> Judgement:
        found = {tuner: _chosen(result, tuner) for tuner in (first, second)}
        for tuner, values in found.items():
            if not values:
                return missing(result, {"tuner": tuner})
        difference = difference_interval(found[first], found[second])
        size = math.fsum(found[first] + found[second]) / (len(found[first]) + len(found[second]))
        said = "; ".join(f"{tuner}: {_said(result, values)}" for tuner, values in found.items())
        return _within(result, difference, share * abs(size), said)

    return judge


def _chosen(result: StudyResult, tuner: str) -> list[float]:
    means = [arm.estimate().mean for arm in result.select({"tuner": tuner})]
    return [mean for mean in means if mean is not None]


def _said(result: StudyResult, values: list[float]) -> str:
    mean = math.fsum(values) / len(values)
    return (f"{100 * mean:.2f} %" if result.facts.metric_percent else f"{mean:.4g}") + f" over {len(values)} repeats"


def _within(result: StudyResult, difference: Estimate, margin: float, said: str) -> Judgement:
    if result.effort.scale == "smoke":
        return too_short(said)
    if difference.low is None or difference.high is None:
        return Judgement("undecided", said, "one repeat has no interval")
    if -margin <= difference.low and difference.high <= margin:
        return Judgement("agrees", said)
    if difference.low > margin or difference.high < -margin:
        return Judgement("differs", said)
    return Judgement("undecided", said, "the interval of the difference reaches over 1 % of the mean")


STUDY = Study(
    name="tuners",
    question="Does an auto-tuner find better settings than a grid of as many trials?",
    paper="Optimization 2 (section 3.1)",
    paper_setting="ImageNet, ResNet-50, batch 819,200",
    note=(
        "Both search the same ranges of LR (a factor of 16 to either side) and warmup (0 to 60 %) with the same number "
        "of trials. The paper names no auto-tuner; here it is the tree-structured Parzen estimator."
    ),
    arms=arms,
    tables=(
        TableSpec(
            name="chosen",
            title="What does the setting that each tuner chose reach with fresh seeds?",
            rows="repeat",
            columns="tuner",
        ),
    ),
    figures=(
        FigureSpec(
            name="best-so-far",
            kind="best-so-far",
            title="How good is the best setting after so many trials?",
            colour="tuner",
        ),
    ),
    claims=(
        Claim(
            "A grid gets roughly (within 1 %) the same as the auto-tuner with the same number of trials.",
            "Optimization 2, section 3.1",
            roughly_the_same("grid", "tpe"),
        ),
    ),
    comparisons=("tuner",),
)
studies.register("tuners")(STUDY)
