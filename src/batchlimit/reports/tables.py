"""The tables of a report as plain typed rows: no markup, no rounding that cannot be undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchlimit.config import Recipe, TrialConfig
from batchlimit.findings import Decision, Estimate, LimitFinding
from batchlimit.records import TrialRecord
from batchlimit.reports.recipe_toml import trial_toml
from batchlimit.reports.verdict import all_sizes, limit_text, reached_by, tried_in_vain

PER_DEVICE_BATCHES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class SizeRow:
    """One batch size: its regime, linear scaling and the best recipe (None: not measured), and what was spent on it.

    `linear_by_loss` says that linear scaling's loss decided, not its metric; `in_vain` counts the size's tuning trials
    where none came near the target, so that no recipe was measured.
    """

    batch_size: int
    is_full: bool
    regime: str
    linear: Estimate | None
    linear_decision: Decision | None
    linear_by_loss: bool
    linear_diverged: int
    linear_lost: str
    best_name: str | None
    best: Estimate | None
    best_decision: Decision | None
    best_diverged: int
    best_lost: str
    tried: int
    in_vain: int
    trials: int
    samples: int


@dataclass(frozen=True)
class SetRow:
    """One technique set: its limits as text, its best recipe at the full batch (None: nothing measured), its cost.

    `full_known` says why nothing was measured there; `trials` counts those that another set asked for as well.
    `recipes` are those besides the recipes of the set that it `contains`, where there is one.
    """

    techniques: str
    linear: str
    best: str
    full_name: str | None
    full: Estimate | None
    full_decision: Decision | None
    full_known: str
    contains: str
    recipes: tuple[str, ...]
    trials: int
    samples: int


@dataclass(frozen=True)
class DeviceRow:
    """How many devices a global batch feeds at `per_device` examples each; None where the limit is not known."""

    per_device: int
    linear: int | None
    best: int | None


@dataclass(frozen=True)
class RecipeBlock:
    """The winning recipe of one batch size, as TOML that `batchlimit train --config` reads."""

    batch_size: int
    name: str
    decision: Decision
    peak_lr: float
    toml: str


def size_rows(finding: LimitFinding) -> list[SizeRow]:
    """Return one row a batch size, in rising order, the full batch included; none where there is no verdict."""
    rows = []
    for size in all_sizes(finding) if not finding.problem else ():
        # Where linear scaling is also the best that is known, the row says so once.
        best = size.best if size.best != size.linear else None
        rows.append(
            SizeRow(
                batch_size=size.batch_size,
                is_full=size.is_full or size.batch_size == finding.dataset_size,
                regime=size.regime,
                linear=size.linear.metric if size.linear else None,
                linear_decision=size.linear.decision if size.linear else None,
                linear_by_loss=size.linear.decided_by_loss if size.linear else False,
                linear_diverged=size.linear.diverged if size.linear else 0,
                linear_lost=size.linear.lost if size.linear else "",
                best_name=best.name if best else None,
                best=best.metric if best else None,
                best_decision=best.decision if best else None,
                best_diverged=best.diverged if best else 0,
                best_lost=best.lost if best else "",
                tried=len(size.tried),
                in_vain=tried_in_vain(size),
                trials=size.trials,
                samples=size.samples,
            )
        )
    return rows


def set_rows(finding: LimitFinding, beside: Sequence[LimitFinding]) -> list[SetRow]:
    """Return one row for each technique set, that of the verdict last; none where there is nothing beside it."""
    rows = []
    for found in (*beside, finding) if beside else ():
        inner = _largest_within(found, (*beside, finding))
        full = reached_by(found.full) if found.full is not None else None
        in_vain = found.full is not None and tried_in_vain(found.full)
        rows.append(
            SetRow(
                techniques=found.techniques,
                linear=limit_text(found.small_up_to),
                best=limit_text(found.large_up_to),
                full_name=full.name if full else None,
                full=full.metric if full else None,
                full_decision=full.decision if full else None,
                full_known="" if full else "none near the target" if in_vain else "not measured",
                contains=inner.techniques if inner else "",
                recipes=tuple(name for name in found.recipes if inner is None or name not in inner.recipes),
                trials=found.cost.trials,
                samples=found.cost.samples,
            )
        )
    return rows


def _largest_within(found: LimitFinding, others: Sequence[LimitFinding]) -> LimitFinding | None:
    """Return which of `others` has the most of the recipes of `found`, and no recipe that is not among them."""
    within = [other for other in others if set(other.recipes) < set(found.recipes)]
    return max(within, key=lambda other: len(other.recipes), default=None)


def device_rows(finding: LimitFinding) -> list[DeviceRow]:
    """Return how many devices B_L and B_H feed: floor(limit / per-device batch), at least 1; none without a limit.

    Source: You et al., 2020, section 6.6 (about 32 images keep one accelerator busy, so 32K keeps 1024 busy).
    """

    def devices(limit: int | None, per_device: int) -> int | None:
        return None if limit is None else max(1, limit // per_device)

    if finding.problem or (finding.small_up_to.value, finding.large_up_to.value) == (None, None):
        return []
    return [
        DeviceRow(
            per_device=per_device,
            linear=devices(finding.small_up_to.value, per_device),
            best=devices(finding.large_up_to.value, per_device),
        )
        for per_device in PER_DEVICE_BATCHES
    ]


def recipe_blocks(finding: LimitFinding) -> list[RecipeBlock]:
    """Return the recipe to use at the baseline and at every batch size where one is known."""
    found: dict[int, tuple[str, Recipe, Decision]] = {}
    if finding.baseline is not None and finding.baseline.metric.mean is not None:
        found[finding.baseline.batch_size] = ("baseline", finding.baseline.recipe, "pass")
    for size in all_sizes(finding):
        best = reached_by(size)
        if best is not None and best.metric.mean is not None:
            found.setdefault(size.batch_size, (best.name, best.recipe, best.decision))
    return [
        RecipeBlock(
            batch_size=batch_size,
            name=name,
            decision=decision,
            peak_lr=recipe.peak_lr(batch_size),
            toml=trial_toml(_config(finding, batch_size, recipe)),
        )
        for batch_size, (name, recipe, decision) in sorted(found.items())
    ]


def _config(finding: LimitFinding, batch_size: int, recipe: Recipe) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "workload": finding.workload,
            "batch_size": batch_size,
            "budget": finding.training_budget,
            "recipe": recipe,
            "protocol": finding.protocol,
        }
    )


def environment_rows(finding: LimitFinding, records: Sequence[TrialRecord]) -> list[tuple[str, str]]:
    """Return what software and hardware the trials ran on, and when; every value where trials differ in one."""
    seen: dict[str, list[str]] = {}
    for environment in [finding.environment, *(record.environment for record in records)]:
        for name, value in environment.items():
            if name == "resumed_at":  # of single trials
                continue
            values = seen.setdefault(name, [])
            if value is not None and str(value) not in values:
                values.append(str(value))
    rows = [
        (name, ", ".join(values[:6]) + (" …" if len(values) > 6 else "")) for name, values in seen.items() if values
    ]
    started = sorted(record.started for record in records if record.started)
    if started:
        rows.append(("first trial", started[0]))
        rows.append(("last trial", started[-1]))
    return rows
