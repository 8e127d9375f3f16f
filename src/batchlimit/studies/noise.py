"""Does Gaussian noise in training help at a huge batch? (section 6.3)

Trained at the huge batch: LARS without noise, and with noise on activations, weights, gradients or labels, each at
three sizes; LR and warmup of every one tuned with the same budget, then measured with the same 8 seeds or more, so that
they can be compared in pairs. Noise on gradients is given by its norm over the whole model: its standard deviation is
that divided by the square root of the number of parameters.
"""

from __future__ import annotations

from batchlimit.analysis.intervals import mean_interval, paired_test
from batchlimit.config import Noise
from batchlimit.findings import Estimate
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Claim, Judgement, missing, said_of, too_short
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.standard_arms import tuned
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, TableSpec

NONE = "none"
SIZES: dict[str, tuple[float, ...]] = {
    "activations": (0.1, 0.03, 0.3),
    "weights": (0.003, 0.001, 0.01),
    "gradients": (0.1, 0.03, 0.3),
    "labels": (0.1, 0.03, 0.3),
}


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return LARS at the huge batch without noise and with each kind and size of it."""
    seeds = max(effort.seeds, effort.most(1, 8, 10))
    plain = tuned(facts, effort, "lars", "huge", {"noise": NONE, "size": 0.0})
    noisy = [
        tuned(facts, effort, "lars", "huge", {"noise": where, "size": size}, noise=injected(facts, where, size))
        for where, sizes in SIZES.items()
        for size in sorted(sizes[: effort.most(1, 3, 3)])
    ]
    return tuple(arm.updated({"seeds": seeds}) for arm in (plain, *noisy))


def injected(facts: Facts, where: str, size: float) -> Noise:
    """Return the noise of a size: of gradients, that of the norm over the whole model."""
    if where == "gradients":
        size = float(f"{size / (facts.parameters or 1_000_000) ** 0.5:.3g}")
    return Noise.model_validate({"where": where, "std": size})


def chosen(result: StudyResult, where: str) -> ArmResult | None:
    """Return the size of a noise that did best in tuning, so that the test scores play no part in the choice."""
    sign = 1.0 if result.facts.metric_direction == "up" else -1.0
    scored = [
        (sign * told.metric, arm)
        for arm in result.select({"noise": where})
        if arm.status != "unfinished"
        for told in arm.tuning
        if told.metric is not None
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def gain(result: StudyResult, noisy: ArmResult, plain: ArmResult, confidence: float = 0.95) -> Estimate:
    """Return what noise gains on the seeds that both have (above 0: better), with its interval."""
    sign = 1.0 if result.facts.metric_direction == "up" else -1.0
    with_noise, without = noisy.by_seed(), plain.by_seed()
    shared = sorted(set(with_noise) & set(without))
    return mean_interval([sign * (with_noise[seed] - without[seed]) for seed in shared], confidence=confidence)


def none_helps(result: StudyResult) -> Judgement:
    """Judge whether none of the four noises gains anything: four paired comparisons, corrected by Bonferroni.

    Agrees where no mean gain is above 0; differs where an interval lies above 0; else undecided. A noise with which
    every training diverged gains nothing.
    """
    plain = next((arm for arm in result.select({"noise": NONE}) if arm.status != "unfinished"), None)
    best = {where: arm for where in SIZES if (arm := chosen(result, where)) is not None}
    if plain is None or not best:
        return missing(result, {"noise": NONE if plain is None else "any"})
    said = f"no noise: {said_of(result, plain)}; " + "; ".join(_said(result, w, a, plain) for w, a in best.items())
    if result.effort.scale == "smoke":
        return too_short(said)
    if plain.status != "measured":
        helped = any(arm.status == "measured" for arm in best.values())
        return Judgement("differs" if helped else "undecided", said, "without noise no training completed")
    gains = [gain(result, arm, plain, 1 - 0.05 / len(SIZES)) for arm in best.values() if arm.status == "measured"]
    if any(known.low is not None and known.low > 0 for known in gains):
        return Judgement("differs", said, "an interval of the gain, corrected for four comparisons, lies above 0")
    waiting = [where for where in SIZES if where not in best and _unfinished(result, where)]
    if waiting:
        return Judgement("undecided", said, f"{len(waiting)} of the four noises have no result")
    if all(known.mean is not None and known.mean <= 0 for known in gains):
        return Judgement("agrees", said)
    return Judgement("undecided", said, "the interval of a gain, corrected for four comparisons, holds 0")


def _unfinished(result: StudyResult, where: str) -> bool:
    arms_there = result.select({"noise": where})
    return not arms_there or any(arm.status == "unfinished" for arm in arms_there)


def _said(result: StudyResult, where: str, arm: ArmResult, plain: ArmResult) -> str:
    words = f"{where} ({arm.labels['size']:g}): {said_of(result, arm)}"
    test = paired_test(arm.by_seed(), plain.by_seed())
    return words if test.p_value is None else f"{words}, paired p = {test.p_value:.2g}"


STUDY = Study(
    name="noise",
    question="Does Gaussian noise in training help at a huge batch?",
    paper="section 6.3",
    paper_setting="not said",
    note="LR and warmup tuned with the same budget for every kind and size of noise, and for none; the size shown in "
    "claims is the one that did best in tuning. Noise on labels is on one-hot rows; the size of noise on gradients is "
    "its norm over the model.",
    arms=arms,
    tables=(
        TableSpec(
            name="noise",
            title="What does each kind and size of noise do to the accuracy?",
            rows="size",
            columns="noise",
        ),
    ),
    figures=(
        FigureSpec(
            name="kinds",
            kind="dots",
            title="Does any of the four noises help at a huge batch?",
            x="noise",
            colour="size",
        ),
        FigureSpec(
            name="sizes",
            kind="lines",
            title="How much noise does training bear?",
            x="size",
            colour="noise",
        ),
    ),
    claims=(
        Claim(
            "None of the four noises improves the test accuracy.",
            "section 6.3",
            none_helps,
            paper="none did",
        ),
    ),
)
studies.register(STUDY.name)(STUDY)
