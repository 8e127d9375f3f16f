"""Claims of the paper, and how a study's results judge them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from batchlimit.analysis.intervals import difference_interval
from batchlimit.findings import Direction, Estimate
from batchlimit.studies.arm import Labels

if TYPE_CHECKING:
    from batchlimit.studies.results import ArmResult, StudyResult

Agreement = Literal["agrees", "differs", "undecided", "not comparable"]


@dataclass(frozen=True)
class Judgement:
    """Whether our data agrees with a claim, our figures in words, and the reason."""

    agreement: Agreement
    ours: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim in words, where the paper makes it, the paper's figures, and its judge."""

    text: str
    source: str
    judge: Callable[[StudyResult], Judgement]
    paper: str = ""


def better(left: Labels, right: Labels, *, by: float = 0.0) -> Callable[[StudyResult], Judgement]:
    """Return a judge: the arms `left` selects (the best of them) beat the best that `right` selects, by at least `by`.

    Decided by the 95 % bootstrap interval of the difference of means over seeds. An arm whose trainings all diverged
    loses to any that was measured.
    """

    def judge(result: StudyResult) -> Judgement:
        ours, theirs = _best(result, left), _best(result, right)
        if ours is None or theirs is None:
            return _missing(result, left if ours is None else right)
        said = f"{words(left)}: {said_of(result, ours)}; {words(right)}: {said_of(result, theirs)}"
        if "measured" not in (ours.status, theirs.status):
            return Judgement("undecided", said, "neither completed")
        if ours.status != "measured":
            return Judgement("differs", said, f"{words(left)} did not complete")
        if theirs.status != "measured":
            return Judgement("agrees", said, f"{words(right)} did not complete")
        sign = 1.0 if result.facts.metric_direction == "up" else -1.0
        gap = difference_interval(
            [sign * v for v in ours.by_seed().values()], [sign * v for v in theirs.by_seed().values()]
        )
        return _decided(gap, by, said, result)

    return judge


def reaches(where: Labels, value: float, *, direction: Direction | None = None) -> Callable[[StudyResult], Judgement]:
    """Return a judge: the best arm that `where` selects has a mean metric at least (loss: at most) `value`."""

    def judge(result: StudyResult) -> Judgement:
        ours = _best(result, where)
        if ours is None:
            return _missing(result, where)
        said = f"{words(where)}: {said_of(result, ours)}"
        if ours.status != "measured":
            return Judgement("differs", said, "no training completed")
        sign = 1.0 if (direction or result.facts.metric_direction) == "up" else -1.0
        known = ours.estimate()
        if known.mean is None or known.low is None or known.high is None:
            return Judgement("undecided", said, "one seed has no interval")
        gap = sorted((sign * (known.low - value), sign * (known.high - value)))
        return _decided(
            Estimate(mean=sign * (known.mean - value), low=gap[0], high=gap[1], n=known.n), 0.0, said, result
        )

    return judge


def fails(where: Labels) -> Callable[[StudyResult], Judgement]:
    """Return a judge: no training that `where` selects completes."""

    def judge(result: StudyResult) -> Judgement:
        arms = [r for r in result.select(where) if r.status != "unfinished"]
        if not arms:
            return _missing(result, where)
        said = "; ".join(f"{words(where)}: {said_of(result, r)}" for r in arms)
        return Judgement("differs" if any(r.complete for r in arms) else "agrees", said)

    return judge


def only_on(workload: str, judge: Callable[[StudyResult], Judgement], why: str) -> Callable[[StudyResult], Judgement]:
    """Return a judge that has an opinion on one workload alone: numbers of another model or data set do not compare."""

    def judged(result: StudyResult) -> Judgement:
        if result.facts.workload != workload or result.effort.scale == "smoke":
            return Judgement("not comparable", "", why)
        return judge(result)

    return judged


def words(where: Labels) -> str:
    """Return labels in words: 'lars, batch size 8,192'."""
    return ", ".join(str(v) if isinstance(v, str) else f"{name} {v:,}" for name, v in where.items()) or "all"


def said_of(result: StudyResult, arm: ArmResult) -> str:
    """Return '98.21 % (98.10 to 98.32, n = 5)', or what became of the arm."""
    if arm.status != "measured":
        return arm.status
    known = arm.estimate()
    lost = f", {arm.diverged} diverged" if arm.diverged else ""
    if known.low is None or known.high is None:
        return f"{_number(result, known.mean)} (n = {known.n}{lost})"
    low, high = _number(result, known.low).removesuffix(" %"), _number(result, known.high)
    return f"{_number(result, known.mean)} ({low} to {high}, n = {known.n}{lost})"


def _number(result: StudyResult, value: float | None) -> str:
    if value is None:
        return "no finite value"
    return f"{100 * value:.2f} %" if result.facts.metric_percent else f"{value:.4g}"


def _best(result: StudyResult, where: Labels) -> ArmResult | None:
    arms = [r for r in result.select(where) if r.status != "unfinished"]
    return result.best(arms) or (arms[0] if arms else None)


def _missing(result: StudyResult, where: Labels) -> Judgement:
    if result.effort.scale == "smoke":
        return Judgement("not comparable", "", "a smoke run measures nothing")
    return Judgement("not comparable", "", f"not measured here: {words(where)}")


def _decided(gap: Estimate, by: float, said: str, result: StudyResult) -> Judgement:
    if result.effort.scale == "smoke":
        return Judgement("not comparable", said, "a smoke run trains too little to judge by")
    if gap.low is None or gap.high is None:
        return Judgement("undecided", said, "one seed has no interval")
    if gap.low >= by:
        return Judgement("agrees", said)
    if gap.high < by:
        return Judgement("differs", said)
    return Judgement("undecided", said, "the interval of the difference holds both answers")
