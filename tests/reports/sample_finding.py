"""Synthetic findings and records, as a search on `digits` leaves them: only for tests and pictures of reports."""

from __future__ import annotations

import math
import random
from typing import Any

from batchlimit.config import LayerWise, Recipe, TrialConfig
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
from batchlimit.records import HistoryPoint, Scores, TrialRecord

N = 1000
BUDGET = "20 epochs"
SIZES = (32, 64, 128, 256, 512, 1000)
ENVIRONMENT: dict[str, str | int | float | None] = {
    "batchlimit": "0.1.0",
    "python": "3.11.2",
    "torch": "2.13.0",
    "device": "cpu",
    "processor": "AMD EPYC 9B45",
    "cores": 2,
}
BASE = Recipe(lr=0.02, solver_options={"momentum": 0.9})


def linear_recipe() -> Recipe:
    return BASE.updated({"lr_rule": "linear", "reference_batch_size": 16})


def tuned_recipe(name: str, batch_size: int) -> Recipe:
    if name == "lamb":
        return Recipe(
            solver="lamb",
            lr=0.01 * math.sqrt(batch_size / 16),
            weight_decay=0.01,
            solver_options={"beta2": 0.999, "bias_correction": False},
            schedule="polynomial",
            schedule_options={"power": 0.5},
            warmup="20%",
            clip_norm=1.0,
        )
    return Recipe(
        solver="momentum",
        lr=0.2 * math.sqrt(batch_size / 16),
        solver_options={"momentum": 0.9},
        layerwise=LayerWise(upper=10.0),
        schedule="polynomial",
        warmup="5 epochs",
        label_smoothing=0.1,
    )


def estimate(values: list[float]) -> Estimate:
    if not values:
        return Estimate(n=0)
    mean = sum(values) / len(values)
    if len(values) == 1:
        return Estimate(mean=mean, n=1)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = 2.6 * deviation / math.sqrt(len(values))
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=len(values))


def measurement(
    name: str,
    batch_size: int,
    recipe: Recipe,
    mean: float,
    *,
    decision: str,
    spread: float = 0.003,
    seeds: int = 5,
    diverged: int = 0,
) -> Measurement:
    draw = random.Random(f"{name}{batch_size}")
    metrics = [mean + draw.gauss(0, spread) for _ in range(seeds - diverged)]
    return Measurement.model_validate(
        {
            "name": name,
            "batch_size": batch_size,
            "recipe": recipe,
            "seeds": seeds,
            "diverged": diverged,
            "metric": estimate(metrics),
            "loss": estimate([abs(1 - value) * 4 for value in metrics]),
            "metrics": tuple(metrics),
            "decision": decision,
            "metric_decision": decision,
        }
    )


_LINEAR: dict[int, tuple[float, str, int, float]] = {
    32: (0.9852, "pass", 0, 0.002),
    64: (0.9845, "pass", 0, 0.002),
    128: (0.9798, "undecided", 0, 0.006),
    256: (0.958, "fail", 0, 0.008),
    512: (0.61, "fail", 2, 0.09),
    1000: (0.0, "fail", 5, 0.0),
}
_BEST: dict[int, tuple[str, float, str]] = {
    128: ("lars", 0.9853, "pass"),
    256: ("lars", 0.985, "pass"),
    512: ("lamb", 0.9846, "pass"),
    1000: ("lamb", 0.9642, "fail"),
}


def _size(batch_size: int) -> BatchSizeFinding:
    mean, decision, diverged, spread = _LINEAR[batch_size]
    linear = measurement(
        "linear scaling", batch_size, linear_recipe(), mean, decision=decision, diverged=diverged, spread=spread,
        seeds=20 if decision == "undecided" else 5,
    )  # fmt: skip
    best = None
    tried: tuple[Tuned, ...] = ()
    if batch_size in _BEST:
        name, value, outcome = _BEST[batch_size]
        best = measurement(name, batch_size, tuned_recipe(name, batch_size), value, decision=outcome, spread=0.0015)
        tried = tuple(
            Tuned(name=each, trials=8, best=value, recipe=tuned_recipe(each, batch_size)) for each in ("lars", "lamb")
        )
    regime = {32: "small", 64: "small", 128: "unknown", 1000: "huge"}.get(batch_size, "large")
    return BatchSizeFinding.model_validate(
        {
            "batch_size": batch_size,
            "regime": regime,
            "is_full": batch_size == N,
            "linear": linear,
            "best": best,
            "tried": tried,
            "trials": 5 + 16 * bool(best) + 5 * bool(best),
            "samples": (5 + 21 * bool(best)) * 20 * N,
        }
    )


def _tuned_points() -> tuple[TunedPoint, ...]:
    points = []
    for batch_size in _BEST:
        for name in ("lars", "lamb"):
            peak = tuned_recipe(name, batch_size).lr
            for place, factor in enumerate((0.25, 0.5, 1.0, 2.0)):
                for warmup in ("0 epochs", "5 epochs"):
                    hot = factor == 2.0 and warmup == "0 epochs"
                    loss = 0.004 * (place - 2) ** 2 + (0.012 if warmup == "0 epochs" else 0) + batch_size / N * 0.02
                    points.append(
                        TunedPoint(
                            name=name,
                            batch_size=batch_size,
                            lr=peak * factor,
                            warmup=warmup,
                            metric=None if hot else 0.988 - loss - (0.01 if name == "lamb" and batch_size < 500 else 0),
                            status="diverged" if hot else "complete",
                        )
                    )
    return tuple(points)


def digits_finding(**changes: Any) -> LimitFinding:
    """B_L = 64 (128 undecided), B_H = 512 by LAMB, the full batch 1,000 short of the target."""
    metrics = [0.986, 0.988, 0.984, 0.987, 0.9855]
    sizes = tuple(_size(size) for size in SIZES)
    values: dict[str, Any] = {
        "workload": "digits",
        "metric_name": "accuracy",
        "metric_direction": "up",
        "metric_percent": True,
        "dataset_size": N,
        "training_budget": BUDGET,
        "protocol": "validation",
        "search": "adaptive",
        "tuner": "grid",
        "techniques": "modern",
        "recipes": ("linear scaling", "lars", "lamb"),
        "budget": 8,
        "seeds": (5, 20),
        "baseline": BaselineFinding(
            batch_size=16,
            recipe=BASE,
            metric=estimate(metrics),
            loss=estimate([0.05, 0.06, 0.055, 0.052, 0.058]),
            target_metric=0.995 * sum(metrics) / 5,
            target_loss=1.2 * 0.055,
            metrics=tuple(metrics),
        ),
        "small_up_to": Boundary(value=64, next_fail=256, undecided=(128,)),
        "large_up_to": Boundary(value=512, next_fail=1000),
        "full": sizes[-1],
        "by_batch_size": sizes,
        "tuned_points": _tuned_points(),
        "cost": Cost(
            trials=164,
            samples=164 * 20 * N,
            seconds=231.4,
            by_purpose={"baseline": 5, "linear scaling": 45, "tuning": 64, "confirmation": 50},
        ),
        "environment": ENVIRONMENT,
    }
    return LimitFinding.model_validate(values | changes)


def paper_finding() -> LimitFinding:
    """The digits question with other techniques: one best recipe shared (at 128), B_H = 256, 1,000 further down."""
    finding = digits_finding()
    other = {
        256: ("tuned momentum", 0.9848, "pass"),
        512: ("lars", 0.976, "fail"),
        1000: ("lars", 0.952, "fail"),
    }
    sizes = tuple(
        size
        if size.batch_size not in other
        else size.model_copy(
            update={
                "best": measurement(
                    other[size.batch_size][0],
                    size.batch_size,
                    tuned_recipe("lars", size.batch_size),
                    other[size.batch_size][1],
                    decision=other[size.batch_size][2],
                )
            }
        )
        for size in finding.by_batch_size
    )
    return digits_finding(
        techniques="paper",
        recipes=("lamb", "lars", "tuned momentum"),
        by_batch_size=sizes,
        full=sizes[-1],
        large_up_to=Boundary(value=256, next_fail=512),
        cost=Cost(trials=171, samples=171 * 20 * N, seconds=240.0),
    )


def paper_loss_finding() -> LimitFinding:
    """The loss question with other techniques: B_H = 64, and the full batch off the axis."""
    finding = loss_finding()
    other = {64: ("adam", 0.0421, "pass"), 128: ("lamb", 0.0428, "fail"), 442: ("lamb", 0.047, "fail")}
    sizes = tuple(
        size
        if size.batch_size not in other
        else size.model_copy(
            update={
                "best": measurement(
                    other[size.batch_size][0],
                    size.batch_size,
                    Recipe(solver=other[size.batch_size][0], lr=0.1),
                    other[size.batch_size][1],
                    decision=other[size.batch_size][2],
                    spread=0.0003,
                )
            }
        )
        for size in finding.by_batch_size
    )
    return finding.model_copy(
        update={
            "techniques": "paper",
            "by_batch_size": sizes,
            "full": sizes[-1],
            "large_up_to": Boundary(value=64, next_fail=128),
        }
    )


def loss_finding() -> LimitFinding:
    """A workload whose metric is a loss (less is better): B_L = 32, adamw reaches the target up to the full batch."""
    base = estimate([0.041, 0.043, 0.042, 0.0415, 0.0425])
    linear = {16: 0.0421, 32: 0.0424, 64: 0.049, 128: 0.09, 442: 0.31}
    best = {64: 0.0418, 128: 0.042, 442: 0.0422}
    sizes = tuple(
        BatchSizeFinding(
            batch_size=size,
            regime="small" if size <= 32 else "large",
            is_full=size == 442,
            linear=measurement(
                "linear scaling", size, linear_recipe(), value, decision="pass" if size <= 32 else "fail", spread=0.0004
            ),
            best=None
            if size not in best
            else measurement(
                "adamw", size, Recipe(solver="adamw", lr=0.01), best[size], decision="pass", spread=0.0002
            ),
            trials=5,
            samples=5 * 442 * 30,
        )
        for size, value in linear.items()
    )
    return digits_finding(
        workload="examples/regression.py:diabetes",
        metric_name="squared error",
        metric_direction="down",
        metric_percent=False,
        dataset_size=442,
        training_budget="30 epochs",
        search="exhaustive",
        recipes=("linear scaling", "adamw"),
        seeds=(5, 5),
        baseline=BaselineFinding(
            batch_size=8, recipe=Recipe(lr=0.01), metric=base, loss=base, target_metric=0.0422, target_loss=0.0504
        ),
        small_up_to=Boundary(value=32, next_fail=64),
        large_up_to=Boundary(value=442),
        full=sizes[-1],
        by_batch_size=sizes,
        tuned_points=(),
    )


def problem_finding() -> LimitFinding:
    """Every trial of the baseline diverged: there is nothing to compare with."""
    return digits_finding(
        problem="every baseline trial diverged (5 of 5; the loss is not finite at step 1); lower the LR",
        baseline=BaselineFinding(batch_size=16, recipe=Recipe(lr=1e9), metric=Estimate(n=5), loss=Estimate(n=5)),
        small_up_to=Boundary(),
        large_up_to=Boundary(),
        full=None,
        by_batch_size=(),
        tuned_points=(),
        cost=Cost(trials=5, samples=80, seconds=0.4, by_purpose={"baseline": 5}),
    )


def hostile_finding(text: str) -> LimitFinding:
    """The digits finding with `text` in every place that a user or an environment can write to."""
    finding = digits_finding()
    data = finding.model_dump(mode="json")

    def rename(measured: dict[str, Any] | None) -> None:
        if measured is not None:
            measured["name"] = text
            measured["recipe"]["solver"] = text
            measured["recipe"]["solver_options"] = {text: text}

    for size in [*data["by_batch_size"], data["full"]]:
        rename(size["linear"])
        rename(size["best"])
        for tuned in size["tried"]:
            tuned["name"] = text
    for point in data["tuned_points"]:
        point["name"] = text
    data["workload"] = data["metric_name"] = data["techniques"] = data["tuner"] = text
    data["recipes"] = [text]
    data["environment"] = {text: text}
    data["cost"]["by_purpose"] = {text: 100}
    return LimitFinding.model_validate(data)


def _record(
    config: TrialConfig, target: float | None, environment: dict[str, Any], *, reason: str = "", dataset_size: int = N
) -> TrialRecord:
    draw = random.Random(config.hash)
    steps_an_epoch = math.ceil(dataset_size / config.batch_size)
    epochs = 20 if target is not None else 3
    level = target if target is not None else 0.3
    history = tuple(
        HistoryPoint(
            step=epoch * steps_an_epoch,
            epoch=float(epoch),
            lr=config.recipe.lr,
            train_loss=2.3 * math.exp(-epoch / 4),
            selection=Scores(
                loss=0.1, metric=level - (level - 0.1) * math.exp(-epoch / (1.2 + config.batch_size / 400))
                + draw.gauss(0, 0.002)
            ),
        )
        for epoch in range(1, epochs + 1)
    )  # fmt: skip
    scores = Scores(loss=0.06, metric=target) if target is not None else None
    return TrialRecord(
        config=config,
        status="complete" if target is not None else "diverged",
        reason=reason,
        steps=history[-1].step,
        samples=history[-1].step * config.batch_size,
        seconds=1.4,
        history=history,
        selection=scores,
        test=scores,
        started="2026-11-22T18:24:26+00:00",
        environment=environment,
    )


def records_of(finding: LimitFinding, *, reason: str = "the loss is not finite at step 31") -> list[TrialRecord]:
    """Return records whose recipes and batch sizes are those of the finding's measurements."""
    wanted: list[tuple[int, Recipe, int, list[float]]] = []
    if finding.baseline is not None:
        base = finding.baseline
        wanted.append((base.batch_size, base.recipe, base.metric.n, list(base.metrics)))
    for size in finding.by_batch_size:
        wanted += [
            (size.batch_size, measured.recipe, measured.seeds, list(measured.metrics))
            for measured in (size.linear, size.best)
            if measured is not None
        ]
    records = []
    for batch_size, recipe, seeds, metrics in wanted:
        for seed in range(seeds):
            config = TrialConfig.model_validate(
                {
                    "workload": finding.workload,
                    "batch_size": batch_size,
                    "budget": finding.training_budget,
                    "recipe": recipe,
                    "seed": seed,
                }
            )
            target = metrics[seed] if seed < len(metrics) else None
            records.append(
                _record(config, target, dict(finding.environment), reason=reason, dataset_size=finding.dataset_size)
            )
    return records
