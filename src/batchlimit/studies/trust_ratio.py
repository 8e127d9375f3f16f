"""How do trust ratios differ by layer, step and batch size, and where do bounds bind? (section 6.3, Eq. 2)

Trained, with the ratios noted at log-spaced steps: LARS and LAMB from the baseline's batch size to the full batch, and
layer-wise Adam, bounded and not, at a large and at the full batch. All are tuned with the same budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from batchlimit.analysis.intervals import difference_interval, mean_interval
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.claims import Agreement, Claim, Judgement, missing, together, too_short, unanimous
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import Judge
from batchlimit.studies.recipes import bounded_layerwise, plain_layerwise
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.standard_arms import tuned
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, TableSpec

PROBE = "trust-ratios"
LAYER_WISE, BOUNDED = "layer-wise adam", "bounded layer-wise adam"
BATCHES = ("baseline", "large", "huge", "full")
TWOFOLD = 2.0
BOUND = 10.0

Layers = Mapping[str, list[float | None]]


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return the solvers with trust ratios at several batch sizes, each training with its ratios noted."""
    found = [tuned(facts, effort, s, batch, {"solver": s}) for s in ("lars", "lamb") for batch in BATCHES]
    for name, layerwise in ((LAYER_WISE, plain_layerwise()), (BOUNDED, bounded_layerwise())):
        found += [
            tuned(facts, effort, "adam", batch, {"solver": name, "of": "adam"}, layerwise=layerwise)
            for batch in ("large", "full")
        ]
    seeds = min(effort.seeds, effort.most(1, 3, 5))
    return tuple(arm.updated({"probes": (PROBE,), "seeds": seeds}) for arm in found)


def measured(arm: ArmResult) -> list[dict[str, Any]]:
    """Return what the probe measured, of every final training that completed."""
    return [record.measurements[PROBE] for record in arm.complete if PROBE in record.measurements]


def _rescaling(ratios: list[float | None]) -> list[float]:
    """Return the ratios that norms made: not the 1 that stands in for one while the weights (biases, mostly) are 0."""
    known = [ratio for ratio in ratios if ratio is not None and ratio > 0]
    return known[1:] if known[:1] == [1.0] else known


def means(layers: Layers) -> dict[str, float]:
    """Return the geometric mean of each layer's ratios over the steps looked at."""
    logs = {name: [math.log(ratio) for ratio in _rescaling(ratios)] for name, ratios in layers.items()}
    return {name: math.exp(math.fsum(found) / len(found)) for name, found in logs.items() if found}


def between_layers(layers: Layers) -> float | None:
    """Return how many times the smallest layer's mean ratio the largest one's is."""
    found = means(layers)
    return max(found.values()) / min(found.values()) if len(found) > 1 else None


def between_steps(layers: Layers) -> float | None:
    """Return how many times its smallest ratio a layer's largest is: the geometric mean over layers."""
    ranges = []
    for ratios in layers.values():
        known = _rescaling(ratios)
        if len(known) > 1:
            ranges.append(math.log(max(known) / min(known)))
    return math.exp(math.fsum(ranges) / len(ranges)) if ranges else None


def twofold(spread: Callable[[Layers], float | None], what: str) -> Judge:
    """Return a judge: at every batch size LARS's ratios differ at least twofold, by the interval over seeds."""

    def judge(result: StudyResult) -> Judgement:
        if result.effort.scale == "smoke":
            return too_short("")
        said: list[str] = []
        found: list[Agreement] = []
        for arm in result.select({"solver": "lars"}):
            factors = [value for one in measured(arm) if (value := spread(one["layers"])) is not None]
            known = mean_interval(factors)
            if known.mean is None:
                continue
            said.append(f"{_fold(known.mean)}-fold at {arm.labels['batch size']:,}")
            sure = known.low is not None and known.high is not None
            found.append("undecided" if not sure else _side(known.low or 0.0, known.high or 0.0))
        if not found:
            return missing(result, {"solver": "lars"})
        words = f"between {what}: {', '.join(said)}"
        return together(found, words, of="batch sizes", so="at least twofold", not_so="less than twofold")

    return judge


def _fold(value: float) -> str:
    """Return a factor as a reader writes it: 1.7, 48, 14,300."""
    return f"{value:.2g}" if value < 100 else f"{float(f'{value:.3g}'):,.0f}"


def _side(low: float, high: float) -> Agreement:
    return "agrees" if low >= TWOFOLD else "differs" if high < TWOFOLD else "undecided"


def differs_by_batch(result: StudyResult) -> Judgement:
    """Judge whether LARS's ratios depend on the batch size: by layer, is the baseline's other than the full batch's?

    Agrees where the intervals of the difference of mean log ratios leave out 0 in most layers, differs where in none.
    """
    if result.effort.scale == "smoke":
        return too_short("")
    ends = [_logs(result, {"solver": "lars", "batch": batch}) for batch in ("baseline", "full")]
    for found, batch in zip(ends, ("baseline", "full"), strict=True):
        if not found:
            return missing(result, {"solver": "lars", "batch": batch})
    said, apart = [], []
    for layer in ends[0].keys() & ends[1].keys():
        known = difference_interval(ends[0][layer], ends[1][layer])
        if known.mean is None or known.low is None or known.high is None:
            return Judgement("undecided", "", "one seed has no interval")
        said.append(math.exp(abs(known.mean)))
        apart.append(known.low > 0 or known.high < 0)
    if not said:
        return missing(result, {"solver": "lars"})
    words = f"{_fold(min(said))}- to {_fold(max(said))}-fold, clearly so in {sum(apart)} of {len(apart)} layers"
    if 2 * sum(apart) > len(apart):
        return Judgement("agrees", words)
    if any(apart):
        return Judgement("undecided", words, "in some layers, but not in most")
    return Judgement("differs", words)


def _logs(result: StudyResult, where: Labels) -> dict[str, list[float]]:
    """Return, by layer, the mean log ratio of each seed."""
    found: dict[str, list[float]] = {}
    for arm in result.select(where):
        for one in measured(arm):
            for layer, mean in means(one["layers"]).items():
                found.setdefault(layer, []).append(math.log(mean))
    return found


def bound_binds(result: StudyResult) -> Judgement:
    """Judge whether the bound of 10 holds layers of bounded Adam in every training, at a large batch."""
    if result.effort.scale == "smoke":
        return too_short("")
    where: Labels = {"solver": BOUNDED, "batch": "large"}
    shares = []
    for arm in result.select(where):
        for one in measured(arm):
            known = [share for share in one["share_at_upper"] if share is not None]
            if known:
                shares.append(math.fsum(known) / len(known))
    if not shares:
        return missing(result, where)
    said = f"{100 * math.fsum(shares) / len(shares):.3g} % of layers and steps at the bound of {BOUND:g}"
    holding = [share > 0 for share in shares]
    return unanimous(holding, said, f"in {sum(holding)} of {len(holding)} trainings")


STUDY = Study(
    name="trust-ratio",
    question="How do trust ratios differ by layer, step and batch size, and where do bounds bind?",
    paper="section 6.3, Eq. 2",
    paper_setting="AlexNet (You et al., 2017, Figure 2)",
    note="LARS's ratio has its coefficient of 0.001 in it. Two ratios are called different where one is at least "
    "twice the other; the ratio of 1 that biases of 0 have at the first update is not counted. The bound of layer-wise "
    "Adam is on ||w|| / ||update||, [0, 10].",
    arms=arms,
    tables=(TableSpec(name="accuracy", title="How good are the trainings looked at?", rows="solver", columns="batch"),),
    figures=(
        FigureSpec(
            name="lars",
            kind="ratios",
            title="How do LARS's trust ratios differ by layer, step and batch size?",
            facet="batch",
            only={"solver": "lars"},
        ),
        FigureSpec(
            name="lamb",
            kind="ratios",
            title="How do LAMB's trust ratios differ by layer, step and batch size?",
            facet="batch",
            only={"solver": "lamb"},
        ),
        FigureSpec(
            name="bounds",
            kind="ratios",
            title="Where do bounds bind layer-wise Adam?",
            facet="solver",
            only={"batch": "large", "of": "adam"},
        ),
        FigureSpec(
            name="histogram",
            kind="ratio-histogram",
            title="Which trust ratios occur at a large batch, and how many does a bound hold?",
            caption="LARS's ratios have its coefficient of 0.001 in them.",
            facet="solver",
            only={"batch": "large"},
        ),
    ),
    claims=(
        Claim("LARS's trust ratio differs from step to step.", "section 6.3", twofold(between_steps, "steps")),
        Claim("It differs from layer to layer.", "section 6.3", twofold(between_layers, "layers")),
        Claim("It differs from batch size to batch size.", "section 6.3", differs_by_batch),
        Claim(
            "Layer-wise Adam's ratio is so large at times that a bound holds it.",
            "section 3.1",
            bound_binds,
        ),
    ),
)
studies.register(STUDY.name)(STUDY)
