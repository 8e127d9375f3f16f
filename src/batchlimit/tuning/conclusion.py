"""From a notebook to the finding that reports show: the regimes, their boundaries, what was tried and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from batchlimit.findings import (
    BaselineFinding,
    BatchSizeFinding,
    Boundary,
    Cost,
    Decision,
    LimitFinding,
    Tuned,
    TunedPoint,
)
from batchlimit.tuning.notebook import Notebook
from batchlimit.tuning.statistics import estimate

Regime = Literal["small", "large", "huge", "unknown"]
# The settings that a finding has fields of its own for.
_TOLD = {"epochs", "seeds", "budget", "tuner", "techniques", "protocol", "exhaustive"}


def conclude(notebook: Notebook) -> LimitFinding:
    """Return what the notebook carries; `problem` says so where that is no verdict, or not yet one."""
    question, settings = notebook.question, notebook.question.settings
    sizes = question.batch_sizes
    small = boundary({size: m.decision for size, m in notebook.linear.items()}, smallest=question.baseline_batch_size)
    decided = {size: decision for size in sizes if (decision := notebook.decision(size)) is not None}
    large = boundary(decided, smallest=question.baseline_batch_size)
    if notebook.problem:
        small, large = Boundary(), Boundary()
    by_size = tuple(_batch_size(notebook, size, small, large) for size in sizes)
    return LimitFinding(
        workload=question.workload,
        metric_name=question.metric_name,
        metric_direction=question.metric_direction,
        metric_percent=question.metric_percent,
        dataset_size=question.dataset_size,
        training_budget=str(question.budget),
        protocol=settings.protocol,
        search="exhaustive" if settings.exhaustive else "adaptive",
        tuner="grid" if settings.exhaustive else settings.tuner,
        techniques=question.techniques,
        recipes=tuple(candidate.name for candidate in question.candidates),
        budget=settings.budget,
        seeds=(settings.seeds, settings.max_seeds),
        confidence=settings.confidence,
        no_validation=question.no_validation,
        refused=question.refused,
        baseline=_baseline(notebook),
        small_up_to=small,
        large_up_to=large,
        full=next((finding for finding in by_size if finding.is_full), None),
        by_batch_size=by_size,
        tuned_points=_points(notebook),
        cost=cost(notebook),
        problem=notebook.problem or ("" if notebook.complete else "The search is not finished."),
        environment=notebook.environment,
        changes=settings.model_dump(mode="json", exclude_defaults=True, exclude=_TOLD),
    )


def boundary(decisions: Mapping[int, Decision], *, smallest: int) -> Boundary:
    """Return up to where everything decided passes; `smallest`, the baseline's own batch size, passes by definition."""
    fails = [size for size, decision in decisions.items() if decision == "fail"]
    first_fail = min(fails, default=None)
    passes = [size for size, d in decisions.items() if d == "pass" and (first_fail is None or size < first_fail)]
    value = max(passes, default=smallest)
    between = sorted(
        size
        for size, d in decisions.items()
        if d == "undecided" and size > value and (first_fail is None or size < first_fail)
    )
    return Boundary(value=value, next_fail=first_fail, undecided=tuple(between))


def regime(batch_size: int, small: Boundary, large: Boundary) -> Regime:
    """Return the regime of a batch size, 'unknown' between the last pass and the first fail."""
    if small.value is not None and batch_size <= small.value:
        return "small"
    if large.value is not None and batch_size <= large.value:
        return "large"
    if large.next_fail is not None and batch_size >= large.next_fail:
        return "huge"
    return "unknown"


def cost(notebook: Notebook) -> Cost:
    """Return what the search has spent."""
    return Cost(
        trials=sum(notebook.trials.values()),
        samples=sum(notebook.samples.values()),
        seconds=notebook.seconds,
        by_purpose=dict(notebook.purposes),
    )


def _baseline(notebook: Notebook) -> BaselineFinding | None:
    metrics, losses = notebook.baseline_metrics(), notebook.baseline_losses()
    if not metrics:
        return None
    question = notebook.question
    metric, loss = estimate(metrics), estimate(losses)
    return BaselineFinding(
        batch_size=question.baseline_batch_size,
        recipe=question.baseline,
        metric=metric,
        loss=loss,
        target_metric=notebook.target_metric(),
        target_loss=notebook.target_loss(),
        metrics=tuple(metrics),
        diverged=notebook.baseline_lost,
    )


def _batch_size(notebook: Notebook, size: int, small: Boundary, large: Boundary) -> BatchSizeFinding:
    return BatchSizeFinding(
        batch_size=size,
        regime=regime(size, small, large),
        is_full=size == notebook.question.dataset_size,
        linear=notebook.linear.get(size),
        best=notebook.winner(size),
        tried=tuple(
            Tuned(
                name=candidate.name,
                trials=len(records),
                best=notebook.best_selection(candidate.name, size),
                recipe=notebook.best_recipe(candidate.name, size),
            )
            for candidate in notebook.question.candidates
            if (records := notebook.tuned.get((size, candidate.name)))
        ),
        trials=notebook.trials[size],
        samples=notebook.samples[size],
    )


def _points(notebook: Notebook) -> tuple[TunedPoint, ...]:
    return tuple(
        TunedPoint(
            name=name,
            batch_size=size,
            lr=record.config.recipe.lr,
            warmup=str(record.config.recipe.warmup),
            metric=notebook.selection(record),
            status=record.status,
        )
        for (size, name), records in notebook.tuned.items()
        for record in records
    )
