"""Claims of the paper, and how a study's results judge them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """A claim in words, where the paper makes it, the paper's figures, and its judge.

    `selects` are the labels by which its judge looks for arms, where they are to be checked before any training.
    """

    text: str
    source: str
    judge: Callable[[StudyResult], Judgement]
    paper: str = ""
    selects: tuple[Labels, ...] = ()


def better(left: Labels, right: Labels, *, by: float = 0.0) -> Callable[[StudyResult], Judgement]:
    """Return a judge: the arms `left` selects (the best of them) beat the best that `right` selects, by at least `by`.

    Decided by the 95 % interval of the difference of means over seeds. An arm whose trainings all diverged
    loses to any that was measured.
    """

    def judge(result: StudyResult) -> Judgement:
        ours, theirs = best_of(result, left), best_of(result, right)
        if ours is None or theirs is None:
            return missing(result, left if ours is None else right)
        judged = compared(result, (words(left), ours), (words(right), theirs), by=by)
        return unless_waiting(result, judged, {"agrees": right, "differs": left})

    return judge


def unless_waiting(result: StudyResult, judged: Judgement, could_change: Mapping[str, Labels]) -> Judgement:
    """Return the judgement; undecided where arms not finished could still overturn it.

    `could_change` names, by agreement, the arms of which a better one would.
    """
    where = could_change.get(judged.agreement)
    waiting = sum(arm.status == "unfinished" for arm in result.select(where)) if where is not None else 0
    if not waiting:
        return judged
    return Judgement("undecided", judged.ours, f"{waiting} {'arm' if waiting == 1 else 'arms'} not finished")


def compared(
    result: StudyResult, left: tuple[str, ArmResult], right: tuple[str, ArmResult], *, by: float = 0.0
) -> Judgement:
    """Return whether one arm beats another by at least `by`; each comes with its name in words."""
    (name, ours), (other, theirs) = left, right
    said = f"{name}: {said_of(result, ours)}; {other}: {said_of(result, theirs)}"
    if result.effort.scale == "smoke":
        return too_short(said)
    if "measured" not in (ours.status, theirs.status):
        return Judgement("undecided", said, "neither completed")
    if ours.status != "measured":
        return Judgement("differs", said, f"{name} did not complete")
    if theirs.status != "measured":
        return Judgement("agrees", said, f"{other} did not complete")
    return decided(gap(result, ours, theirs), by, said, result)


def gap(result: StudyResult, ours: ArmResult, theirs: ArmResult) -> Estimate:
    """Return by how much one arm is better than another (above 0: better), whichever way the metric points."""
    sign = 1.0 if result.facts.metric_direction == "up" else -1.0
    left, right = ours.by_seed().values(), theirs.by_seed().values()
    return difference_interval([sign * v for v in left], [sign * v for v in right])


def reaches(where: Labels, value: float, *, direction: Direction | None = None) -> Callable[[StudyResult], Judgement]:
    """Return a judge: the best arm that `where` selects has a mean metric at least (loss: at most) `value`."""

    def judge(result: StudyResult) -> Judgement:
        ours = best_of(result, where)
        if ours is None:
            return missing(result, where)
        said = f"{words(where)}: {said_of(result, ours)}"
        if result.effort.scale == "smoke":
            return too_short(said)
        if ours.status != "measured":
            return Judgement("differs", said, "no training completed")
        sign = 1.0 if (direction or result.facts.metric_direction) == "up" else -1.0
        known = ours.estimate()
        if known.mean is None or known.low is None or known.high is None:
            return Judgement("undecided", said, "one seed has no interval")
        ends = sorted((sign * (known.low - value), sign * (known.high - value)))
        above = Estimate(mean=sign * (known.mean - value), low=ends[0], high=ends[1], n=known.n)
        return unless_waiting(result, decided(above, 0.0, said, result), {"differs": where})

    return judge


def fails(where: Labels) -> Callable[[StudyResult], Judgement]:
    """Return a judge: no training that `where` selects completes, or none that does has learnt anything.

    The latter where every one ends no better than a constant answer would (`Facts.constant_score`): a network whose
    units have all died has a finite loss, and papers say of it that it diverged.
    """

    def judge(result: StudyResult) -> Judgement:
        arms = [r for r in result.select(where) if r.status != "unfinished"]
        if not arms:
            return missing(result, where)
        said = "; ".join(f"{words(where)}: {said_of(result, r)}" for r in arms)
        if result.effort.scale == "smoke":
            return too_short(said)
        scores = [score for r in arms for score in r.by_seed().values()]
        floor = result.facts.constant_score
        if scores and (floor is None or max(scores) > floor):
            return Judgement("differs", said)
        why = f"no better than the same answer always, which scores {_number(result, floor)}" if scores else ""
        return unless_waiting(result, Judgement("agrees", said, why), {"agrees": where})

    return judge


def only_on(workload: str, judge: Callable[[StudyResult], Judgement], why: str) -> Callable[[StudyResult], Judgement]:
    """Return a judge that has an opinion on one workload alone: numbers of another model or data set do not compare."""
    return only_if(lambda result: result.facts.workload == workload and result.effort.scale != "smoke", judge, why)


def only_if(
    holds: Callable[[StudyResult], bool], judge: Callable[[StudyResult], Judgement], why: str
) -> Callable[[StudyResult], Judgement]:
    """Return a judge that says `why` it has no opinion unless `holds`."""

    def judged(result: StudyResult) -> Judgement:
        return judge(result) if holds(result) else Judgement("not comparable", "", why)

    return judged


def words(where: Labels) -> str:
    """Return labels in words: 'lars, batch size 8,192'."""
    said = [str(v) if isinstance(v, str) else f"{name} {v:,}" for name, v in where.items()]
    return ", ".join(dict.fromkeys(said)) or "all"


def said_of(result: StudyResult, arm: ArmResult) -> str:
    """Return '98.21 % (98.10 to 98.32 %, n = 5)', or what became of the arm."""
    if arm.status != "measured":
        return arm.status
    return estimate_said(result, arm.estimate(), f", {arm.diverged} diverged" if arm.diverged else "")


def estimate_said(result: StudyResult, estimate: Estimate, more: str = "") -> str:
    """Return '98.21 % (98.10 to 98.32 %, n = 5)' of an estimate of the metric, with `more` at its end."""
    known = estimate.shown(percent=result.facts.metric_percent)
    if known.low is None or known.high is None:
        return f"{_number(result, known.mean)} (n = {known.n}{more})"
    low, high = _number(result, known.low).removesuffix(" %"), _number(result, known.high)
    return f"{_number(result, known.mean)} ({low} to {high}, n = {known.n}{more})"


def _number(result: StudyResult, value: float | None) -> str:
    if value is None:
        return "no finite value"
    return f"{100 * value:.2f} %" if result.facts.metric_percent else f"{value:.4g}"


def best_of(result: StudyResult, where: Labels) -> ArmResult | None:
    """Return the best arm that `where` selects; of those that all diverged, the first; None where none finished."""
    arms = [r for r in result.select(where) if r.status != "unfinished"]
    return result.best(arms) or (arms[0] if arms else None)


def too_short(said: str) -> Judgement:
    """Return the judgement of any smoke run."""
    return Judgement("not comparable", said, "a smoke run trains too little to judge by")


def missing(result: StudyResult, where: Labels) -> Judgement:
    """Return the judgement where nothing that `where` selects was measured."""
    if result.effort.scale == "smoke":
        return Judgement("not comparable", "", "a smoke run measures nothing")
    return Judgement("not comparable", "", f"not measured here: {words(where)}")


def difference_form(*, percent: bool) -> tuple[float, str, str]:
    """Return what a difference is multiplied by, the format of the number, never a minus nought, and its unit."""
    return (100.0, "+z.2f", " points") if percent else (1.0, "+.3g", "")


def _by_how_much(gap: Estimate, by: float, *, percent: bool) -> str:
    """Return 'difference +1.20 points (+0.80 to +1.60)', above 0 where the first is better, and a bar if not 0."""
    scale, form, unit = difference_form(percent=percent)
    mean, low, high = (f"{scale * (end or 0.0):{form}}" for end in (gap.mean, gap.low, gap.high))
    bar = f", {'the target' if by < 0 else 'asked'} at {scale * by:{form}}" if by else ""
    return f"difference {mean}{unit} ({low} to {high}){bar}"


def together(found: Sequence[Agreement], said: str, *, of: str, so: str = "so", not_so: str = "not so") -> Judgement:
    """Return the judgement that all of `found` agree on, else undecided with how many of them (`of`) say what."""
    if len(set(found)) == 1 and found[0] != "undecided":
        return Judgement(found[0], said)
    sides = (("agrees", so), ("differs", not_so), ("undecided", "not to be told"))
    told = [f"{found.count(side)} {name}" for side, name in sides if side in found]
    return Judgement("undecided", said, f"of {len(found)} {of} {', '.join(told)}")


def unanimous(holds: Sequence[bool], said: str, mixed: str) -> Judgement:
    """Return 'agrees' where it holds everywhere, 'differs' where nowhere, else undecided for the reason `mixed`."""
    if any(holds) and not all(holds):
        return Judgement("undecided", said, mixed)
    return Judgement("agrees" if all(holds) else "differs", said)


def decided(gap: Estimate, by: float, said: str, result: StudyResult, *, of: str = "metric") -> Judgement:
    """Return the judgement of "the gap, of the metric or the loss, is at least `by`" by its interval."""
    percent = result.facts.metric_percent and of == "metric"
    if result.effort.scale == "smoke":
        return too_short(said)
    if gap.low is None or gap.high is None:
        return Judgement("undecided", said, "one seed has no interval")
    if gap.low >= by:
        return Judgement("agrees", said, _by_how_much(gap, by, percent=percent))
    if gap.high < by:
        return Judgement("differs", said, _by_how_much(gap, by, percent=percent))
    return Judgement("undecided", said, "the interval of the difference holds both answers")
