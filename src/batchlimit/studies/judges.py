"""Further judges of claims: keeping the target, being unbeaten, changing nothing, gaining most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from batchlimit.analysis.intervals import mean_interval
from batchlimit.findings import Estimate
from batchlimit.studies.arm import Labels
from batchlimit.studies.claims import (
    Agreement,
    Judgement,
    best_of,
    better,
    compared,
    decided,
    gap,
    missing,
    said_of,
    too_short,
    unless_waiting,
    words,
)

if TYPE_CHECKING:
    from batchlimit.studies.results import ArmResult, StudyResult

Judge = Callable[["StudyResult"], Judgement]

TARGET = 0.995  # of the baseline's accuracy (Definitions 2.1 and 2.2)


def opposite(judge: Judge) -> Judge:
    """Return a judge that agrees where `judge` differs, and the other way round."""
    turned: dict[Agreement, Agreement] = {"agrees": "differs", "differs": "agrees"}

    def judged(result: StudyResult) -> Judgement:
        found = judge(result)
        return replace(found, agreement=turned.get(found.agreement, found.agreement))

    return judged


def keeps(where: Labels, target: Labels, *, share: float = TARGET) -> Judge:
    """Return a judge: the best arm of `where` reaches `share` of the metric of the best of `target`.

    Of a loss, it is at most 1 - share above it.
    """

    def judge(result: StudyResult) -> Judgement:
        aim = best_of(result, target)
        mean = aim.estimate().mean if aim is not None else None
        allowance = 0.0 if mean is None else (1.0 - share) * abs(mean)
        return better(where, target, by=-allowance)(result)

    return judge


def unbeaten(where: Labels, among: Labels | None = None) -> Judge:
    """Return a judge: the best arm of `where` beats every other of `among`; undecided while intervals overlap."""

    def judge(result: StudyResult) -> Judgement:
        ours = best_of(result, where)
        others = [r for r in result.select(among or {}) if not r.arm.matches(where) and r.status != "unfinished"]
        if ours is None or not others:
            return missing(result, where if ours is None else among or {})
        rival = result.best(others) or others[0]
        own = {name: value for name, value in rival.labels.items() if name in where}
        judged = compared(result, (words(where), ours), (words(own), rival))
        return unless_waiting(result, judged, {"agrees": among or {}, "differs": where})

    return judge


def no_change(left: Labels, right: Labels) -> Judge:
    """Return a judge: the best arms of both do not differ significantly; a difference of 0 is in the 95 % interval."""

    def judge(result: StudyResult) -> Judgement:
        ours, theirs = best_of(result, left), best_of(result, right)
        if ours is None or theirs is None:
            return missing(result, left if ours is None else right)
        said = f"{words(left)}: {said_of(result, ours)}; {words(right)}: {said_of(result, theirs)}"
        if result.effort.scale == "smoke":
            return too_short(said)
        if ours.status != "measured" or theirs.status != "measured":
            alike = ours.status == theirs.status
            return Judgement("undecided" if alike else "differs", said, "not both completed")
        known = gap(result, ours, theirs)
        if known.low is None or known.high is None:
            return Judgement("undecided", said, "one seed has no interval")
        judged = Judgement("differs", said, "the interval of the difference leaves out 0")
        if known.low <= 0.0 <= known.high:
            judged = Judgement("agrees", said, f"no difference to be seen with {known.n} seeds")
        for where in (left, right):
            judged = unless_waiting(result, judged, {"agrees": where, "differs": where})
        return judged

    return judge


def gains_most(steps: Sequence[Labels], last: int) -> Judge:
    """Return a judge: of the gains from each of `steps` to the next, the one onto number `last` is the largest.

    Decided, against each other gain, by the interval of the difference over the seeds that all steps have.
    """

    def judge(result: StudyResult) -> Judgement:
        arms = [best_of(result, where) for where in steps]
        for where, arm in zip(steps, arms, strict=True):
            if arm is None:
                return missing(result, where)
        rungs = [arm for arm in arms if arm is not None]
        gains = _gains(result, rungs)
        said = "; ".join(f"{words(where)}: {said_of(result, arm)}" for where, arm in zip(steps, rungs, strict=True))
        if result.effort.scale == "smoke":
            return too_short(said)
        if not gains[0]:
            return Judgement("undecided", said, "not every step completed with the same seeds")
        margins = [
            decided(_leads(gains[last - 1], other), 0.0, said, result)
            for index, other in enumerate(gains)
            if index != last - 1
        ]
        for agreement in ("differs", "undecided"):
            for margin in margins:
                if margin.agreement == agreement:
                    return margin
        return margins[0]

    return judge


def _gains(result: StudyResult, rungs: Sequence[ArmResult]) -> list[list[float]]:
    """Return, for each step, its gain by seed (better: above 0) over the seeds that all rungs completed."""
    sign = 1.0 if result.facts.metric_direction == "up" else -1.0
    values = [rung.by_seed() for rung in rungs]
    shared = sorted(set.intersection(*(set(found) for found in values)))
    return [[sign * (after[seed] - before[seed]) for seed in shared] for before, after in pairwise(values)]


def _leads(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    return mean_interval([one - other for one, other in zip(ours, theirs, strict=True)])
