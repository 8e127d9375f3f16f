"""How do signal and noise of the gradient grow with the batch size, and what limit do they predict? (section 6.1)

Trained: the baseline's solver at batch sizes a factor of two apart, up to the full batch, LR and warmup tuned with the
same budget at each, with the gradient's noise measured along the final trainings. The critical batch size that the
trainings at the baseline's batch size predict (`analysis.critical_batch`) stands beside the limit that the same
trainings show: the largest batch size up to which all reach 99.5 % of the baseline's accuracy.

The full batch has no noise by definition, so nothing is judged there.
"""

from __future__ import annotations

import math

import numpy as np

from batchlimit.analysis.critical_batch import CriticalBatch, NoiseCurve, critical_batch, mean_snr, noise_curve
from batchlimit.analysis.intervals import mean_interval
from batchlimit.config import Scalar
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Claim, Judgement, missing, too_short
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import keeps
from batchlimit.studies.recipes import derived, space
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, TableSpec

PROBE = "gradient-noise"
MAGNITUDE = 10.0


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return the baseline's solver at every batch size of a ladder, tuned, with its gradient's noise measured."""
    return tuple(_arm(facts, effort, size) for size in facts.ladder(effort.most(4, 2, 2)))


def _arm(facts: Facts, effort: Effort, batch_size: int) -> Arm:
    recipe = derived(facts, facts.baseline.solver, batch_size)
    end = "baseline" if batch_size <= facts.batch_size else "full" if batch_size >= facts.full else "between"
    return Arm(
        labels={"solver": facts.baseline.solver, "batch": end, "batch size": batch_size},
        batch_size=batch_size,
        epochs=effort.epochs,
        recipe=recipe,
        space=space(recipe, effort),
        budget=effort.budget,
        seeds=effort.seeds,
        protocol=effort.protocol,
        probes=(PROBE,),
    )


def curves(arm: ArmResult, facts: Facts) -> dict[int, NoiseCurve]:
    """Return what the trainings of an arm saw of gradient noise, by seed."""
    found = {record.config.seed: noise_curve(record, facts.full) for record in arm.complete}
    return {seed: curve for seed, curve in found.items() if curve is not None}


def snr_by_seed(arm: ArmResult, facts: Facts) -> dict[int, float]:
    """Return the mean signal-to-noise ratio over a training, by seed, where it is finite."""
    found = {seed: mean_snr(curve) for seed, curve in curves(arm, facts).items()}
    return {seed: snr for seed, snr in found.items() if math.isfinite(snr)}


def grows(result: StudyResult) -> Judgement:
    """Judge whether SNR grows with the batch size: the exponent of a power law, by seed, lies above 0."""
    if result.effort.scale == "smoke":
        return too_short("")
    known = {_size(arm): found for arm in result.arms if (found := snr_by_seed(arm, result.facts))}
    seeds = sorted(set.intersection(*map(set, known.values()))) if len(known) > 2 else []
    if not seeds:
        return missing(result, {"batch size": "three or more, with equal seeds"})
    hidden = [size for size, found in known.items() if min(found[seed] for seed in seeds) <= 0]
    if hidden:
        return Judgement("undecided", "", f"at {hidden[0]:,} the noise hides the gradient of a whole training")
    sizes = np.log(np.array(list(known), dtype=np.float64))
    slopes = [float(np.polyfit(sizes, [math.log(found[s]) for found in known.values()], 1)[0]) for s in seeds]
    slope = mean_interval(slopes)
    if slope.mean is None or slope.low is None or slope.high is None:
        return Judgement("undecided", f"like B^{slopes[0]:.2g}", "one seed has no interval")
    said = f"like B^{slope.mean:.2g} ({slope.low:.2g} to {slope.high:.2g}) over {len(known)} batch sizes"
    if slope.low <= 0 < slope.high:
        return Judgement("undecided", said, "the interval of the exponent holds 0")
    return Judgement("agrees" if slope.low > 0 else "differs", said)


def predicted(result: StudyResult) -> CriticalBatch | None:
    """Return the critical batch size that the trainings at the baseline's batch size predict."""
    baselines = result.select({"batch": "baseline"})
    seen = [curve for arm in baselines for curve in curves(arm, result.facts).values()]
    return critical_batch(seen) if seen else None


def measured_limit(result: StudyResult) -> tuple[int, bool] | None:
    """Return the largest batch size up to which all reach the target, and whether that is the largest of all.

    Those that are neither clearly below nor above it count as reaching it. None where an arm is unfinished.
    """
    ordered = sorted(result.arms, key=_size)
    if not ordered or any(arm.status == "unfinished" for arm in ordered) or ordered[0].status != "measured":
        return None
    limit = _size(ordered[0])
    for arm in ordered[1:]:
        judged = keeps({"batch size": _size(arm)}, {"batch": "baseline"})(result)
        if judged.agreement == "differs":
            return limit, False
        limit = _size(arm)
    return limit, True


def predicts(result: StudyResult) -> Judgement:
    """Judge whether prediction and measured limit are of one order of magnitude, by the prediction's interval."""
    if result.effort.scale == "smoke":
        return too_short("")
    critical, limit = predicted(result), measured_limit(result)
    if critical is None or limit is None:
        return missing(result, {"batch size": "all, with the noise measured at the baseline's"})
    size, open_ended = limit
    if critical.batch_size is None:
        return Judgement("undecided", f"limit {size:,}", "the noise hides the gradient, so nothing is predicted")
    low, high = critical.low or 0.0, critical.high or math.inf
    said = f"predicted {critical.batch_size:,.0f} ({_end(critical.low)} to {_end(critical.high)}), "
    said += f"measured {'at least ' if open_ended else ''}{size:,}, the last size not clearly below the target"
    below, above = size / MAGNITUDE, math.inf if open_ended else size * MAGNITUDE
    if low >= below and high <= above:
        return Judgement("agrees", said)
    if high < below or low > above:
        return Judgement("differs", said)
    return Judgement("undecided", said, "the interval of the prediction is too wide")


def _end(value: float | None) -> str:
    return "any" if value is None else f"{value:,.0f}"


def _size(arm: ArmResult) -> int:
    size: Scalar = arm.labels["batch size"]
    assert isinstance(size, int)
    return size


STUDY = Study(
    name="signal-to-noise",
    question="How do signal and noise of the gradient grow with the batch size, and what limit do they predict?",
    paper="section 6.1",
    paper_setting="theory, without figures",
    note="SNR is |G|^2 / (tr(Sigma) (1/B - 1/N)) of a batch of B of N examples, a mean over all updates of a training, "
    "those included where the noise hides the gradient; it leaves out the noise along G, one direction of many. The "
    "trainings compared are at different weights, as each batch size trains in its own way. The full batch has no "
    "noise by definition. The critical batch size (McCandlish et al., 2018) is where twice the fewest updates are "
    "needed; it is no limit of accuracy, and the two are only expected to be of one order of magnitude.",
    arms=arms,
    tables=(
        TableSpec(
            name="accuracy", title="Up to which batch size is the accuracy kept?", rows="batch size", columns="solver"
        ),
    ),
    figures=(
        FigureSpec(
            name="snr",
            kind="noise-scale",
            title="Does the signal-to-noise ratio grow with the batch size?",
            x="batch size",
            y="snr",
        ),
        FigureSpec(
            name="noise-scale",
            kind="noise-scale",
            title="How does the noise scale grow over training?",
            x="progress",
            y="noise scale",
            colour="batch size",
        ),
        FigureSpec(
            name="accuracy",
            kind="lines",
            title="Where does the accuracy give way?",
            x="batch size",
            colour="solver",
        ),
    ),
    claims=(
        Claim(
            "The signal-to-noise ratio of the gradient grows with the batch size.",
            "section 6.1",
            grows,
            paper="signal as B, noise as sqrt(B)",
        ),
        Claim(
            "The noise measured at the baseline's batch size predicts the limit to an order of magnitude.",
            "McCandlish et al., 2018",
            predicts,
        ),
    ),
)
studies.register(STUDY.name)(STUDY)
