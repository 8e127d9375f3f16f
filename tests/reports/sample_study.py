"""A synthetic study with an arm, a table and a figure of every kind: only for tests and pictures of reports."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

from sample_finding import digits_finding

from batchlimit.config import LayerWise, Recipe, TrialConfig
from batchlimit.records import HistoryPoint, Scores, TrialRecord
from batchlimit.studies.arm import Arm
from batchlimit.studies.claims import Claim, Judgement, better, fails, only_on, reaches
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.results import ArmResult, StudyResult, Told
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureSpec, PaperValue, TableSpec

N = 1000
LAYERS = ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias")
PROBES = ("gradient-noise", "trust-ratios", "weight-distance")
SIZES = (16, 128, 512, 1000)
SOLVERS = ("momentum", "lars", "lamb")
# What each solver keeps of the baseline's accuracy at each batch size; None: every seed diverges.
_KEPT: dict[tuple[str, int], float | None] = {
    ("momentum", 16): 1.0, ("momentum", 128): 0.99, ("momentum", 512): 0.93, ("momentum", 1000): None,
    ("lars", 16): 0.998, ("lars", 128): 0.999, ("lars", 512): 0.992, ("lars", 1000): 0.95,
    ("lamb", 16): 0.997, ("lamb", 128): 0.998, ("lamb", 512): 0.996, ("lamb", 1000): 0.972,
}  # fmt: skip
FACTS = Facts(
    workload="digits",
    dataset_size=N,
    batch_size=16,
    baseline=Recipe(lr=0.02, solver_options={"momentum": 0.9}),
    epochs=20.0,
    parameters=4000,
)
ENVIRONMENT: dict[str, str | int | float | None] = {
    "batchlimit": "0.1.0",
    "torch": "2.13.0",
    "cpu": "AMD EPYC 9B45",
    "device": "cpu",
    "cores": 2,
}


def effort(**changes: Any) -> Effort:
    return Effort.model_validate({"scale": "quick", "epochs": "20 epochs", "seeds": 5, "budget": 6, **changes})


def recipe(solver: str, batch_size: int) -> Recipe:
    lr = {"momentum": 0.2, "lars": 4.0, "lamb": 0.05}.get(solver, 0.1) * math.sqrt(batch_size / N)
    layerwise = LayerWise(upper=10.0) if solver == "momentum" else None
    return Recipe(solver=solver, lr=float(f"{lr:.3g}"), schedule="polynomial", warmup="10%", layerwise=layerwise)


def measurements(batch_size: int, steps: int, draw: random.Random) -> dict[str, Any]:
    """What the three probes leave: distances like t^0.45, ratios like 0.01 to 1, a noise scale of about 100."""
    updates = sorted({round(steps ** (rung / 14)) for rung in range(15)})
    weights = [draw.gauss(0, 1) for _ in range(512)]
    scale = 0.6 + 0.05 * draw.random()
    distance = [scale * t**0.45 for t in updates]
    ratios = {layer: [0.01 * 3**place * t**0.1 for t in updates] for place, layer in enumerate(LAYERS[: len(LAYERS)])}
    noise_scale = [(20 + 8 * t**0.5) * (0.9 + 0.2 * draw.random()) for t in updates]
    noise_scale_or_none: list[float | None] = [*noise_scale[:-1], None]
    return {
        "weight-distance": {
            "updates": updates,
            "epochs": [t * batch_size / N for t in updates],
            "distance": distance,
            "layers": {layer: [d / 2 for d in distance] for layer in LAYERS},
            "initial_norm": 9.0,
            "final_norm": 11.0,
            "final_distance": distance[-1],
            "parameters": 4000,
            "sketch": [w * distance[-1] / 22.6 for w in weights],
            "end_sketch": [w * distance[-1] / 22.6 + 0.4 for w in weights],
        },
        "trust-ratios": {
            "updates": updates,
            "layers": ratios,
            "applied": True,
            "lower": 0.0,
            "upper": 10.0,
            "share_at_lower": [0.0 for _ in updates],
            "share_at_upper": [0.0 for _ in updates],
            "excluded": [],
        },
        "gradient-noise": {
            "updates": updates,
            "gradient_sq": [1.0 / t for t in updates],
            "variance": [30.0 for _ in updates],
            "noise_scale": noise_scale_or_none,
            "signal": [1.0 / t for t in updates],
            "noise": [30.0 / batch_size for _ in updates],
            "snr": [batch_size / s for s in noise_scale],
        },
    }


def record(
    config: TrialConfig, level: float | None, *, reason: str = "the loss is not finite at step 31"
) -> TrialRecord:
    """A training that ends at about `level`, or (None) diverges after three epochs."""
    draw = random.Random(config.hash)
    total = config.total_steps(N)
    epochs = int(config.budget.amount) if level is not None else 3
    end = level + draw.gauss(0, 0.002) if level is not None else 0.3
    history = []
    for epoch in range(1, epochs + 1):
        at = end - (end - 0.1) * math.exp(-epoch / (1.2 + config.batch_size / 300))
        scores = Scores(loss=2.3 * math.exp(-epoch / 5), metric=at + draw.gauss(0, 0.003), others={"top-5": 0.999})
        history.append(
            HistoryPoint(
                step=round(epoch * total / config.budget.amount),
                epoch=float(epoch),
                lr=config.recipe.lr,
                train_loss=2.3 * math.exp(-epoch / 4) + 0.05 * (1 - end),
                selection=scores,
                train=scores if "train" in config.watch else None,
                test=scores if "test" in config.watch else None,
            )
        )
    scores_at_end = Scores(loss=0.2 * (1.05 - end), metric=end, others={"top-5": 0.5 + end / 2})
    return TrialRecord(
        config=config,
        status="complete" if level is not None else "diverged",
        reason="" if level is not None else reason,
        steps=history[-1].step,
        samples=history[-1].step * config.batch_size,
        seconds=1.4,
        history=tuple(history),
        selection=scores_at_end if level is not None else None,
        test=scores_at_end if level is not None else None,
        started="2026-11-22T18:24:26+00:00",
        environment=ENVIRONMENT,
        measurements=measurements(config.batch_size, total, draw) if config.probes and level is not None else {},
    )


def arm_result(solver: str, batch_size: int, *, seeds: int = 5, **labels: Any) -> ArmResult:
    """An arm with nine tuning trials, one of them diverged, and its final trainings."""
    kept = _KEPT.get((solver, batch_size), 0.9)
    arm = Arm(
        labels={"solver": solver, "batch size": batch_size, **labels},
        batch_size=batch_size,
        epochs="20 epochs",  # read by pydantic
        recipe=recipe(solver, batch_size),
        space={"lr": [1.0], "warmup": ["0%"]},
        budget=9,
        seeds=seeds,
        probes=PROBES,
        watch=("train", "test"),
    )
    told = []
    for power in (-1, 0, 1):
        for share in ("0%", "10%", "30%"):
            fields = {"lr": float(f"{arm.recipe.lr * 3.0**power:.3g}"), "warmup": share}
            config = arm.trial("digits", arm.recipe.updated(fields), 0, final=False)
            hot = power == 1 and share == "0%"
            level = None if kept is None or hot else 0.985 * kept - 0.01 * power**2 - (0.004 if share == "0%" else 0)
            told.append(Told(fields=fields, record=record(config, level)))
    chosen = arm.recipe if kept is not None else None
    final = () if chosen is None else tuple(
        record(
            arm.trial("digits", chosen, seed, final=True),
            None if solver == "momentum" and batch_size == 512 and seed == 5 else 0.985 * (kept or 0),
        )
        for seed in range(1, seeds + 1)
    )  # fmt: skip
    return ArmResult(arm=arm, tuning=tuple(told), chosen=chosen, final=final)


def unfinished(solver: str = "lamb", batch_size: int = 256) -> ArmResult:
    """An arm of which nothing has run yet."""
    whole = arm_result(solver, batch_size)
    return ArmResult(arm=whole.arm, finished=False)


FIGURES = (
    FigureSpec(
        name="lines",
        kind="lines",
        title="Which solver keeps its accuracy as the batch grows?",
        x="batch size",
        colour="solver",
    ),
    FigureSpec(
        name="dots",
        kind="dots",
        title="Which solver is best at each batch size?",
        x="solver",
        colour="solver",
        facet="batch size",
    ),
    FigureSpec(
        name="heat",
        kind="heat",
        title="Which learning rates and warmups work at 512?",
        facet="solver",
        only={"batch size": 512},
    ),
    FigureSpec(
        name="curves", kind="curves", title="How does training go?", y="test", colour="solver", facet="batch size"
    ),
    FigureSpec(
        name="loss",
        kind="curves",
        title="How does the training loss fall at 512?",
        y="train loss",
        colour="solver",
        only={"batch size": 512},
    ),
    FigureSpec(
        name="scatter", kind="scatter", title="Does a lower training loss mean a better test accuracy?", colour="solver"
    ),
    FigureSpec(
        name="best-so-far",
        kind="best-so-far",
        title="How good is the best after so many trials?",
        colour="solver",
        only={"batch size": 512},
    ),
    FigureSpec(
        name="distance",
        kind="distance",
        title="How far do the weights travel?",
        colour="batch size",
        only={"solver": "lamb"},
    ),
    FigureSpec(
        name="end-points", kind="end-points", title="How far apart do trainings end?", x="batch size", facet="solver"
    ),
    FigureSpec(
        name="noise-scale", kind="noise-scale", title="Does the noise scale depend on the batch size?", colour="solver"
    ),
    FigureSpec(
        name="snr",
        kind="noise-scale",
        title="How does the signal drown over training?",
        y="snr",
        x="updates",
        colour="batch size",
        only={"solver": "lamb"},
    ),
    FigureSpec(
        name="ratios",
        kind="ratios",
        title="How do trust ratios differ by layer?",
        facet="batch size",
        only={"solver": "lars"},
    ),
    FigureSpec(
        name="histogram",
        kind="ratio-histogram",
        title="Which trust ratios occur?",
        facet="solver",
        only={"batch size": 512},
    ),
    FigureSpec(name="schedules", kind="schedules", title="Which schedules were used?"),
    FigureSpec(
        name="timeline",
        kind="timeline",
        title="How fast did the records fall?",
        x="date",
        y="time (minutes)",
        colour="optimizer",
    ),
    FigureSpec(name="map", kind="regime-map", title="Which batch sizes are small, large and huge?"),
)
CONTEXT: tuple[dict[str, Any], ...] = (
    {"team": "He et al.", "date": "2015-12-10", "time (minutes)": 1740.0, "optimizer": "momentum"},
    {"team": "Goyal et al.", "date": "2017-06-08", "time (minutes)": 65.0, "optimizer": "momentum"},
    {"team": "You et al.", "date": "2017-11-02", "time (minutes)": 48.0, "optimizer": "lars"},
    {"team": "You et al.", "date": "2017-11-07", "time (minutes)": 31.0, "optimizer": "lars"},
    {"team": "no date", "date": "some day", "time (minutes)": 1.0, "optimizer": "lars"},
)
STUDY = Study(
    name="sample",
    question="Which solver keeps its accuracy as the batch grows?",
    paper="Table 3",
    paper_setting="MNIST, LeNet",
    paper_workload="mnist",
    note="Synthetic.",
    tables=(
        TableSpec(name="solvers", title="What does each solver reach?", rows="solver", columns="batch size"),
        TableSpec(
            name="losses", title="How low is the training loss?", rows="solver", value="train loss", note="A note."
        ),
    ),
    figures=FIGURES,
    claims=(
        Claim(
            "LAMB beats momentum at 512.",
            "Table 3",
            better({"solver": "lamb", "batch size": 512}, {"solver": "momentum", "batch size": 512}),
            "99.3 % against diverge",
        ),
        Claim("LARS reaches 99 % at full batch.", "section 3.1", reaches({"solver": "lars", "batch size": 1000}, 0.99)),
        Claim("Momentum fails at full batch.", "Table 3", fails({"solver": "momentum", "batch size": 1000})),
        Claim(
            "LARS reaches 99.3 %.",
            "Table 3",
            only_on("mnist", reaches({"solver": "lars"}, 0.993), "another data set than the paper's"),
        ),
        Claim("Nobody knows.", "section 9", lambda result: Judgement("undecided", "", "one seed has no interval")),
    ),
    paper_values=(
        PaperValue(where={"solver": "lars", "batch size": 512}, value=0.994, source="Table 3"),
        PaperValue(where={"solver": "momentum", "batch size": 512}, words="diverges", source="Table 3"),
        PaperValue(where={"solver": "sgd"}, value=0.5, source="Table 9", setting="ImageNet"),
    ),
    context=CONTEXT,
    comparisons=("solver",),
)


def sample_result(**changes: Any) -> StudyResult:
    """Twelve arms (one diverged, one with a diverged seed, one with one seed) and one unfinished."""
    arms = [arm_result(solver, size) for solver in SOLVERS for size in SIZES]
    arms[-1] = arm_result("lamb", 1000, seeds=1)
    values: dict[str, Any] = {
        "study": STUDY,
        "facts": FACTS,
        "effort": effort(),
        "arms": (*arms, unfinished()),
        "limit": digits_finding(),
        "left_out": (),
    }
    return StudyResult(**{**values, **changes})


def empty_result() -> StudyResult:
    """Nothing has run: every arm is unfinished, and there is no search and no context."""
    study = dataclasses.replace(STUDY, context=())
    return sample_result(study=study, arms=tuple(unfinished(s, n) for s in SOLVERS for n in SIZES), limit=None)


def hostile_result(text: str) -> StudyResult:
    """The sample with `text` wherever a study's author or a workload can write."""

    def renamed(result: ArmResult) -> ArmResult:
        labels = {name: text if value == "lars" else value for name, value in result.labels.items()}
        final = tuple(
            one.model_copy(update={"environment": {"cpu": text, text: text}, "reason": text}) for one in result.final
        )
        return dataclasses.replace(
            result, arm=result.arm.model_copy(update={"labels": {**labels, text: text}}), final=final
        )

    study = dataclasses.replace(
        STUDY,
        name=text,
        question=text,
        paper=text,
        paper_setting=text,
        note=text,
        tables=tuple(
            t.model_copy(update={"name": text, "title": text, "note": text}) for t in STUDY.tables
        ),
        figures=tuple(f.model_copy(update={"name": text, "title": text, "caption": text}) for f in FIGURES),
        claims=(Claim(text, text, lambda result: Judgement("agrees", text, text), text),),
        paper_values=(PaperValue(where={text: text}, words=text, source=text, setting=text),),
        context=tuple({**row, "team": text, text: text} for row in CONTEXT),
    )  # fmt: skip
    facts = FACTS.model_copy(update={"workload": text, "metric_name": text})
    return sample_result(study=study, facts=facts, arms=tuple(renamed(arm) for arm in sample_result().arms))
