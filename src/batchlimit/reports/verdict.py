"""The verdict in words and as JSON: for the command line, the page and other programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchlimit.findings import BatchSizeFinding, Boundary, LimitFinding, Measurement
from batchlimit.reports.quantities import (
    compared,
    count,
    counted,
    estimate_text,
    is_percent,
    large_count,
    length,
    listed,
    metric_text,
    span,
)

# What a search says of itself that was stopped before its end; a test holds it to what `tuning.conclusion` says.
UNFINISHED = "The search is not finished."
_ENDS = {"pruned": "stopped early", "diverged": "diverged", "failed": "failed"}


def is_unfinished(finding: LimitFinding) -> bool:
    """Say whether there is no verdict because the search was stopped: the same command goes on with it."""
    return finding.problem == UNFINISHED


def all_sizes(finding: LimitFinding) -> list[BatchSizeFinding]:
    """Return what is known of every batch size, the full batch included, in rising order."""
    found = {size.batch_size: size for size in finding.by_batch_size}
    if finding.full is not None:
        found[finding.full.batch_size] = finding.full
    return [found[size] for size in sorted(found)]


def reached_by(size: BatchSizeFinding) -> Measurement | None:
    """Return the best that is known at a batch size: its best recipe, or linear scaling where that was enough."""
    if size.best is not None:
        return size.best
    return size.linear if size.linear is not None and size.linear.decision == "pass" else None


def tried_in_vain(size: BatchSizeFinding) -> int:
    """Return how many tuning trials a batch size has if none was good enough to be measured over seeds, else 0."""
    if size.best is not None or any(tuned.best is not None for tuned in size.tried):
        return 0
    return sum(tuned.trials for tuned in size.tried)


def in_vain_words(finding: LimitFinding, size: BatchSizeFinding) -> str:
    """Return what became of the trials of a batch size that was tried in vain, as a clause."""
    trials = tried_in_vain(size)
    ends = Counter(
        _ENDS.get(p.status, "without a score") for p in finding.tuned_points if p.batch_size == size.batch_size
    )
    if len(ends) > 1:
        why = listed([f"{count(number)} {end}" for end, number in ends.items()])
    else:
        why = f"all {next(iter(ends), 'stopped early or diverged')}"
    if trials == 1:
        return f"the one tuning trial came nowhere near the target ({why.removeprefix('all ')})"
    return f"none of {count(trials)} tuning trials came near the target ({why})"


def sentence(finding: LimitFinding) -> str:
    """Return the verdict as one plain sentence, or why there is none."""
    if finding.problem:
        return f"No verdict for {finding.workload}: {finding.problem.strip().rstrip('.')}."
    parts = [f"On {finding.workload}, {_linear_clause(finding)}", _recipe_clause(finding)]
    full = _full_clause(finding)
    return "; ".join([*parts, full] if full else parts) + "."


def _linear_clause(finding: LimitFinding) -> str:
    boundary = finding.small_up_to
    if boundary.value is None:
        if boundary.undecided:
            return f"it is undecided whether linear LR scaling holds at {_sizes(boundary.undecided)}"
        return "linear LR scaling holds at no batch size that was tried"
    if finding.baseline is not None and boundary.value == finding.baseline.batch_size:
        where = f"above the baseline's ({count(boundary.value)})"
        return f"linear LR scaling is known to hold at no batch size {where}{_unsure(boundary)}"
    return f"linear LR scaling holds up to {_batch(finding, boundary.value)}{_unsure(boundary)}"


def _recipe_clause(finding: LimitFinding) -> str:
    boundary, small = finding.large_up_to, finding.small_up_to.value
    unsure = _unsure(boundary)
    if boundary.value is None or boundary.value == small:
        if small is not None and small >= finding.dataset_size:
            return "no other recipe was needed"
        if boundary.value is None and small is None and boundary.undecided:
            return f"it is undecided whether any recipe reaches the target at {_sizes(boundary.undecided)}"
        where = "beyond that" if small is not None else "at any batch size that was tried"
        return f"no recipe in the budget is known to reach the target {where}{unsure}"
    size = next((size for size in all_sizes(finding) if size.batch_size == boundary.value), None)
    best = reached_by(size) if size is not None else None
    name = f" ({best.name})" if best is not None else ""
    where = _batch(finding, boundary.value, article=False)
    return f"the best recipe found{name} still reaches the target at {where}{unsure}"


def _unsure(boundary: Boundary) -> str:
    above = tuple(size for size in boundary.undecided if size > (boundary.value or 0))
    return f" (undecided at {_sizes(above)})" if above else ""


def _full_clause(finding: LimitFinding) -> str:
    full, baseline = finding.full, finding.baseline
    if full is None or baseline is None or finding.large_up_to.value == full.batch_size:
        return ""
    where = f"at full batch ({count(full.batch_size)})"
    if tried_in_vain(full):
        return f"{where} {in_vain_words(finding, full)}"
    if full.best is None or full.best.metric.mean is None:
        return f"{where} every recipe diverges" if full.best is not None else f"{where} nothing was measured"
    best, target = compared(full.best.metric.mean, baseline.target_metric, percent=is_percent(finding))
    undecided = ", which is undecided" if full.best.decision == "undecided" else ""
    return f"{where} the best is {best} against a target of {target}{undecided}"


def _batch(finding: LimitFinding, size: int, *, article: bool = True) -> str:
    if size == finding.dataset_size:
        return f"the full batch ({count(size)})"
    return f"a batch of {count(size)}" if article else count(size)


def _sizes(sizes: tuple[int, ...]) -> str:
    return listed([count(size) for size in sizes])


def limit_text(boundary: Boundary) -> str:
    """Return the limit as one number, or why there is none; with what is undecided above it."""
    if boundary.value is None:
        return "undecided" if boundary.undecided else "none"
    above = [count(size) for size in boundary.undecided if size > boundary.value]
    return f"{count(boundary.value)} (undecided: {listed(above)})" if above else count(boundary.value)


def further_with_less(finding: LimitFinding, beside: Sequence[LimitFinding]) -> str:
    """Return what to make of a set whose recipes are all in the verdict's and which may reach further; '' if none."""
    own = finding.large_up_to
    fails = own.next_fail if own.next_fail is not None else math.inf
    further = [
        other
        for other in beside
        if set(other.recipes) <= set(finding.recipes)
        and any(size >= fails for size in (other.large_up_to.value or 0, *other.large_up_to.undecided))
    ]
    if not further:
        return ""
    names = listed([f"'{other.techniques}'" for other in further])
    return (
        f"The recipes of {names} are among those of '{finding.techniques}', yet are not known to fail at "
        f"{count(fails)}: where more recipes compete, each gets fewer trials before it is given up. There, "
        f"read the verdict as undecided; --exhaustive gives every recipe all of its trials."
    )


def boundary_text(boundary: Boundary, *, end: int) -> str:
    """Return where a boundary lies: '64 holds, 128 does not'; `end` is the full batch. States what is undecided."""
    if boundary.value is None:
        known = "no size tried holds" if boundary.next_fail is not None or not boundary.undecided else "none decided"
        text = known if boundary.next_fail is None else f"{known}, {count(boundary.next_fail)} fails"
    elif boundary.value >= end:
        text = "holds up to the full batch"
    elif boundary.next_fail is None:
        text = f"{count(boundary.value)} holds, no larger size is known to fail"
    else:
        text = f"{count(boundary.value)} holds, {count(boundary.next_fail)} does not"
    return f"{text}; undecided: {_sizes(boundary.undecided)}" if boundary.undecided else text


def summary_lines(finding: LimitFinding) -> list[str]:
    """Return the lines below the verdict: the baseline, where the boundaries lie, what it rests on, the cost."""
    lines = []
    percent, baseline = is_percent(finding), finding.baseline
    if baseline is not None:
        target = metric_text(baseline.target_metric, percent=percent, digits=2)
        least = "at least" if finding.metric_direction == "up" else "at most"
        lines.append(
            f"Baseline: batch {count(baseline.batch_size)} for {length(finding.training_budget)}, "
            f"{finding.metric_name} {estimate_text(baseline.metric, percent=percent)}; the target is {least} {target}."
        )
    if not finding.problem:
        lines.append(f"Linear LR scaling: {boundary_text(finding.small_up_to, end=finding.dataset_size)}.")
        lines.append(f"Best recipe: {boundary_text(finding.large_up_to, end=finding.dataset_size)}.")
    lines += rests_on(finding)
    cost = finding.cost
    # Of a search that was stopped only whole batches of trials are counted: of the first, none may be.
    if cost.trials:
        name = "Cost so far: at least" if is_unfinished(finding) else "Cost:"
        lines.append(
            f"{name} {counted(cost.trials, 'trial')}, {large_count(cost.samples)} training examples, "
            f"{span(cost.seconds)} of compute."
        )
    return lines


def rests_on(finding: LimitFinding) -> list[str]:
    """Return what the verdict depends on: seeds, techniques, budget, search and its assumptions."""
    low, high = finding.seeds
    seeds = f"{low} to {high} seeds" if low != high else counted(low, "seed")
    if is_unfinished(finding):
        return [f"There is no verdict yet: each will rest on {seeds}."]
    if finding.problem:
        return [f"Nothing was decided: every limit is measured against the baseline, over {seeds}."]
    lost = finding.baseline.diverged if finding.baseline is not None else 0
    trials = f"up to {counted(finding.budget, 'trial')} ({finding.tuner})"
    if finding.search == "exhaustive":
        trials = "a whole grid"
    lines = [
        f"Decided by {100 * finding.confidence:g} % confidence intervals over {seeds} for each verdict."
        + (f" Of the baseline's trainings {lost} did not complete." if lost else ""),
        f"It rests on the '{finding.techniques}' techniques: {counted(len(finding.recipes), 'recipe')} tried "
        f"({'; '.join(finding.recipes) or 'none'}), each tuned with {trials} "
        "at each batch size; another recipe or a larger budget may reach further.",
    ]
    for reason in dict.fromkeys(finding.refused.values()):
        names = "; ".join(name for name, own in finding.refused.items() if own == reason)
        lines.append(f"Not tried, as it cannot be done here: {names} ({reason.removesuffix('.')}).")
    if finding.search == "adaptive":
        lines.append(
            "The search was adaptive: it skipped batch sizes on the assumption that success is monotone (what holds at "
            "one batch size holds at every smaller one); --exhaustive measures every size."
        )
    if finding.protocol == "paper":
        lines.append("Paper protocol: recipes were selected on the test split, which flatters them.")
    elif finding.no_validation:
        lines.append("There is no validation split: recipes were selected on the test split, which flatters them.")
    return lines


def as_json(finding: LimitFinding, report_path: str | Path | None) -> dict[str, Any]:
    """Return what `batchlimit find --json` prints: strict JSON values only, None where nothing finite is known."""
    # Before a search has ended, the baseline's size, which holds by definition, would look like a limit.
    small, large = (Boundary(), Boundary()) if finding.problem else (finding.small_up_to, finding.large_up_to)
    content = {
        "workload": finding.workload,
        "verdict": sentence(finding),
        "problem": finding.problem or None,
        "metric": {"name": finding.metric_name, "direction": finding.metric_direction},
        "dataset_size": finding.dataset_size,
        "training_budget": finding.training_budget,
        "protocol": finding.protocol,
        "search": finding.search,
        "techniques": finding.techniques,
        "recipes": list(finding.recipes),
        "refused": finding.refused,
        "tuning": {"tuner": finding.tuner, "budget": finding.budget},
        "seeds": list(finding.seeds),
        "baseline": finding.baseline.model_dump(mode="json") if finding.baseline is not None else {},
        "small_up_to": small.value,
        "small_up_to_interval": [small.value, small.next_fail],
        "large_up_to": large.value,
        "large_up_to_interval": [large.value, large.next_fail],
        "undecided": {"small": list(small.undecided), "large": list(large.undecided)},
        "full": finding.full.model_dump(mode="json") if finding.full is not None else None,
        "by_batch_size": [size.model_dump(mode="json") for size in all_sizes(finding)],
        "cost": finding.cost.model_dump(mode="json"),
        "environment": dict(finding.environment),
        "report": str(report_path) if report_path is not None else None,
    }
    return {name: strict(value) for name, value in content.items()}


def strict(value: Any) -> Any:
    """Return `value` with every NaN and infinity, however deep, as None: neither is JSON."""
    if isinstance(value, dict):
        return {str(name): strict(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [strict(below) for below in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
