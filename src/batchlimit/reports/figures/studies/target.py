"""The target that figures of a study are read against: a share of what the workload's baseline reaches."""

from __future__ import annotations

from dataclasses import dataclass

from batchlimit.findings import Estimate
from batchlimit.reports.figures.studies.measures import Measure
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
            known += f" ({y.text(self.reached.low)} to {y.text(self.reached.high)}, n = {self.reached.n})"
        return f" Dashed: the target, {share} the baseline's {known}."


def target(result: StudyResult, spec: FigureSpec) -> Target | None:
    """Return the target (Definitions 2.1 and 2.2), where the figure is of the metric and the study has the baseline.

    The baseline is the workload's own recipe at its own batch size and length, not tuned.
    """
    if spec.y != "metric":
        return None
    facts = result.facts
    for found in result.arms:
        arm = found.arm
        own = arm.batch_size == facts.batch_size and arm.recipe == facts.baseline and arm.epochs == result.effort.epochs
        reached = found.estimate()
        if own and not arm.tuned and reached.mean is not None:
            allowance = (1.0 - TARGET) * abs(reached.mean)
            value = reached.mean - allowance if facts.metric_direction == "up" else reached.mean + allowance
            return Target(value, found, reached)
    return None
