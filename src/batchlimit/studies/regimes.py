"""How large can the batch be: the regimes of a workload, and whether longer training moves them.

Paper: Table 2, Figures 21 and 22 (section 6.4). A search for the limit with the paper's techniques (Definitions 2.1 to
2.3), and LAMB, the solver that got furthest on MNIST (Figure 5), tuned anew for each length of training at the batch
sizes that correspond to 16K, 32K and 60K on MNIST. The baseline is trained as it is.
"""

from __future__ import annotations

from typing import Any, Literal

from batchlimit.findings import Boundary, LimitFinding
from batchlimit.studies import standard_arms, studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Claim, Judgement, estimate_said, only_on, too_short
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.judges import Judge, keeps, opposite
from batchlimit.studies.results import StudyResult
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, Row, TableSpec

BATCHES = ("twice large", "huge", "full")
LENGTHS: dict[str, tuple[float, ...]] = {
    "smoke": (1.0, 2.0),
    "quick": (1.0, 20 / 3),
    "paper": (1.0, 2.0, 4.0, 20 / 3),  # 30, 60, 120 and 200 epochs on MNIST
}
WHY = "the paper's figures are of MNIST with its LeNet"


def arms(facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return the baseline, and LAMB tuned at each large size for each length of training."""

    def longer(batch: str, factor: float) -> Arm:
        named = {"recipe": "lamb, tuned", "epochs": standard_arms.length(facts, effort, factor)}
        return standard_arms.tuned(facts, effort, "lamb", batch, named, epochs=effort.times(factor))

    start = {"recipe": "baseline", "epochs": standard_arms.length(facts, effort)}
    lengths = LENGTHS[effort.scale]
    return (
        standard_arms.baseline(facts, effort, start),
        *(longer(batch, factor) for batch in BATCHES for factor in lengths),
    )


def search(facts: Facts, effort: Effort) -> dict[str, Any]:
    """Return the settings of the search for the limit, with the paper's techniques."""
    seeds = max(2, effort.seeds)
    settings: dict[str, Any] = {
        "epochs": effort.epochs,
        "seeds": seeds,
        "max_seeds": effort.most(seeds, max(12, seeds), max(20, seeds)),
        "budget": effort.budget,
        "techniques": "paper",
        "protocol": effort.protocol,
        "baseline": facts.baseline.model_dump(exclude_defaults=True) | {"batch_size": facts.batch_size},
    }
    if effort.scale == "smoke":
        settings |= {"batch_sizes": (facts.large, facts.full), "budget": 1, "recipes": ("lamb", "tuned momentum")}
    return settings


def boundary(which: Literal["small", "large"], passes: int, fails: int) -> Judge:
    """Return a judge: the largest small (or large) batch size is `passes`, and `fails` is one no more."""

    def judge(result: StudyResult) -> Judgement:
        if result.limit is None:
            return Judgement("not comparable", "", "the search has not finished")
        found = result.limit.small_up_to if which == "small" else result.limit.large_up_to
        said = f"{which} up to {_edge(found)}"
        if (found.value or 0) >= fails or (found.next_fail is not None and found.next_fail <= passes):
            return Judgement("differs", said)
        if found.value is not None and found.value >= passes and found.next_fail is not None:
            if found.next_fail <= fails:
                return Judgement("agrees", said)
            return Judgement("undecided", said, f"the sizes from {fails:,} on are undecided")
        return Judgement("undecided", said, "the sizes between are undecided")

    return judge


def techniques_reach_further(result: StudyResult) -> Judgement:
    """Judge whether some recipe passes at a larger batch size than linear scaling does."""
    limit, problem = _finished(result)
    if limit is None:
        return problem
    small, large = limit.small_up_to, limit.large_up_to
    said = f"linear scaling up to {_edge(small)}; some recipe up to {_edge(large)}"
    if result.effort.scale == "smoke":
        return too_short(said)
    if large.value is not None and small.next_fail is not None and large.value >= small.next_fail:
        return Judgement("agrees", said)
    if large.next_fail is not None and small.value is not None and large.next_fail <= small.value:
        return Judgement("differs", said)
    if small.value is not None and small.value >= limit.dataset_size:
        return Judgement("differs", said, "linear scaling alone holds up to the full batch")
    return Judgement("undecided", said, "the sizes between are undecided")


def full_batch_is_huge(result: StudyResult) -> Judgement:
    """Judge whether the full batch is in the huge regime."""
    limit, problem = _finished(result)
    if limit is None:
        return problem
    full = limit.full
    known = full.regime if full is not None else "unknown"
    best = full.best.metric if full is not None and full.best is not None else None
    said = f"the full batch is {known}" + (f", at best {estimate_said(result, best)}" if best is not None else "")
    if result.effort.scale == "smoke":
        return too_short(said)
    if known == "unknown":
        return Judgement("undecided", said, "no recipe was decided there")
    assumed = "" if best is not None else "not trained, by what smaller batch sizes reach"
    return Judgement("agrees" if known == "huge" else "differs", said, assumed)


def _finished(result: StudyResult) -> tuple[LimitFinding | None, Judgement]:
    if result.limit is None:
        return None, Judgement("not comparable", "", "the search has not finished")
    if result.limit.problem:
        return None, Judgement("not comparable", "", result.limit.problem)
    return result.limit, Judgement("undecided")


def _edge(found: Boundary) -> str:
    value = "no size tried" if found.value is None else f"{found.value:,}"
    return value + (f" (not {found.next_fail:,})" if found.next_fail is not None else "")


def _row(data: str, model: str, batch: int, epochs: int, top_1: float, large: str, huge: str, full: int) -> Row:
    return {
        "data": data,
        "model": model,
        "baseline batch": batch,
        "epochs": epochs,
        "top-1 (%)": top_1,
        "large": large,
        "huge": huge,
        "full batch": full,
    }


STUDY = Study(
    name="regimes",
    question="Up to which batch size does linear scaling work, and up to which any recipe?",
    paper="Table 2, Figs. 21, 22",
    paper_setting="MNIST, LeNet, baseline batch 256, 30 epochs",
    paper_workload="mnist",
    note=(
        "The rows from the paper are its Table 2. 'Huge' rests on the recipes and the tuning budget that were tried. "
        "'twice large' corresponds to 16K on MNIST, the smallest huge batch there."
    ),
    arms=arms,
    search=search,
    tables=(
        TableSpec(
            name="longer",
            title="Does longer training reach the baseline's accuracy at huge batch sizes?",
            rows="batch size",
            columns="epochs",
            note="LAMB, tuned anew for each length; the smallest batch size is the baseline.",
        ),
    ),
    figures=(
        FigureSpec(
            name="map",
            kind="regime-map",
            title="Which batch sizes are small, large and huge?",
            caption="Each batch size with what linear scaling and the best recipe reach, against the target.",
        ),
        FigureSpec(
            name="longer",
            kind="lines",
            title="Does longer training reach the baseline's accuracy at huge batch sizes?",
            caption="LAMB with LR and warmup tuned for each length of training.",
            x="epochs",
            colour="batch",
            only={"recipe": "lamb, tuned"},
        ),
    ),
    claims=(
        Claim(
            "Some recipe reaches the target at batch sizes at which linear scaling fails.",
            "Definitions 2.1 and 2.2, Table 2",
            techniques_reach_further,
        ),
        Claim("No recipe reaches the target with the full batch.", "Table 2, section 3.2", full_batch_is_huge),
        Claim(
            "Linear scaling holds below 2K and fails from 2K on.",
            "Table 2",
            only_on("mnist", boundary("small", 1024, 2048), WHY),
            paper="large batch: [2K, 8K]",
        ),
        Claim(
            "8K is the largest batch size that reaches the target.",
            "Table 2, section 6.4",
            only_on("mnist", boundary("large", 8192, 16_384), WHY),
            paper="huge batch: (8K, 60K)",
        ),
        *(
            Claim(
                f"The {words} batch does not reach the target, however long it is trained.",
                "Figures 21 and 22",
                opposite(keeps({"batch": batch, "recipe": "lamb, tuned"}, {"batch": "baseline"})),
                paper="MNIST: not in 30 to 200 epochs at 16K or more; CIFAR-10: not in 200 to 1000 at 25K or more",
            )
            for batch, words in (("twice large", "smallest huge"), ("huge", "huge"), ("full", "full"))
        ),
    ),
    context=(
        _row("ImageNet", "ResNet-50 v1.5", 256, 90, 75.9, "2K to 64K", "64K to 1.28M", 1_281_167),
        _row("MNIST", "LeNet", 256, 30, 99.2, "2K to 8K", "8K to 60K", 60_000),
        _row("CIFAR-10", "ResNet-50 v1", 128, 200, 93.9, "2K to 25K", "25K to 50K", 50_000),
    ),
)
studies.register("regimes")(STUDY)
