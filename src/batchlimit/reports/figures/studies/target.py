"""The target that figures of a study are read against: a share of what the workload's baseline reaches."""

from __future__ import annotations

from dataclasses import dataclass

from batchlimit.findings import Estimate
from batchlimit.reports.figures.studies.measures import Measure, measure
from batchlimit.studies.judges import TARGET
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.views import FigureSpec


@dataclass(frozen=True)
class Target:
    """The target, the arm that it is a share of, and what that arm reached."""

    value: float
    arm: ArmResult
    reached: Estimate

    def label(self, y: Measure) -> str:
        """Return what stands at its line."""
        return f"target {y.text(self.value)}"

    def caption(self, y: Measure) -> str:
        """Return what the line is, as a sentence with a space before it."""
        share = f"{100 * TARGET:g} % of" if y.better != "down" else f"{100 * (1 - TARGET):g} % above"
        known = f"{y.text(self.reached.mean)}"
        if self.reached.low is not None and self.reached.high is not None:
            low = y.text(self.reached.low).removesuffix(" %")
            known += f" ({low} to {y.text(self.reached.high)}, n = {self.reached.n})"
        whose = "tuned baseline" if self.arm.arm.tuned else "baseline"
        return f" Dashed: the target, {share} the {whose}'s {known}."


def target(result: StudyResult, spec: FigureSpec) -> Target | None:
    """Return the target (Definitions 2.1 and 2.2), where the figure is of the metric and the study has the baseline.

    The baseline is the workload's own recipe at its own batch size and length, not tuned; in a study without it, the
    one arm that tunes the baseline's solver there.
    """
    if spec.y != "metric":
        return None
    found = _baseline(result)
    reached = measure(result, spec.y).shown(found.estimate()) if found is not None else Estimate()
    if found is None or reached.mean is None:
        return None
    allowance = (1.0 - TARGET) * abs(reached.mean)
    up = result.facts.metric_direction == "up"
    return Target(reached.mean - allowance if up else reached.mean + allowance, found, reached)


def _baseline(result: StudyResult) -> ArmResult | None:
    facts = result.facts
    there = [
        found
        for found in result.arms
        if found.arm.batch_size == facts.batch_size
        and found.arm.epochs == result.effort.epochs
        and found.arm.recipe.solver == facts.baseline.solver
    ]
    own = [found for found in there if found.arm.recipe == facts.baseline and not found.arm.tuned]
    if own:
        return own[0]
    return there[0] if len(there) == 1 else None
