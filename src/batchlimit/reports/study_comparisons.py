"""The arms of a study compared pairwise over shared seeds, corrected for the number of comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from batchlimit.analysis.intervals import PairedTest, holm, paired_test
from batchlimit.config import Scalar
from batchlimit.findings import Estimate
from batchlimit.reports.figures.studies.cells import short, words_of
from batchlimit.reports.figures.studies.measures import Measure, measure
from batchlimit.reports.quantities import counted, listed
from batchlimit.studies.claims import difference_form
from batchlimit.studies.results import ArmResult, StudyResult

_SIGNIFICANT = 0.05
_UNDECIDED, _NONE_SHARED, _ONE_SHARED = "not decided", "no shared seed", "one shared seed decides nothing"


@dataclass(frozen=True)
class Comparison:
    """Two values of a label compared over shared seeds, all else being equal.

    `corrected` is the p-value after Holm's correction for all comparisons of the study; None where no seed is shared.
    """

    label: str
    first: str
    second: str
    where: str
    difference: Estimate
    text: str
    n: int
    p_value: float | None
    corrected: float | None
    verdict: str

    @property
    def decided(self) -> bool:
        """Whether the test tells the two apart, or one of them diverged."""
        return self.verdict not in (_UNDECIDED, _NONE_SHARED, _ONE_SHARED)


def comparisons(result: StudyResult) -> list[Comparison]:
    """Return all pairs of values of the study's labels to compare, all other labels being equal.

    A paired permutation test over the seeds that both completed, with Holm's correction over all of them.
    """
    found: list[tuple[str, ArmResult, ArmResult]] = []
    for label in result.study.comparisons:
        groups: dict[tuple[tuple[str, Scalar], ...], list[ArmResult]] = {}
        for arm in result.arms:
            if label in arm.labels and arm.status != "unfinished":
                rest = tuple(sorted((n, v) for n, v in arm.labels.items() if n != label))
                groups.setdefault(rest, []).append(arm)
        for arms in groups.values():
            pairs = itertools.combinations(arms, 2)
            found += [(label, one, other) for one, other in pairs if one.labels[label] != other.labels[label]]
    tests = [_tested(one.by_seed(), other.by_seed()) for _, one, other in found]
    corrected = iter(holm([test.p_value for test in tests if test.p_value is not None]))
    quantity = measure(result, "metric")
    rows = []
    for (label, one, other), test in zip(found, tests, strict=True):
        p_value = next(corrected) if test.p_value is not None else None
        rows.append(
            Comparison(
                label=label,
                first=short(one.labels[label]),
                second=short(other.labels[label]),
                where=words_of(result.arms, one, (label,)),
                difference=test.difference,
                text=_difference(test.difference, quantity),
                n=test.n,
                p_value=test.p_value,
                corrected=p_value,
                verdict=_verdict(one, other, label, test.difference.mean, p_value, quantity),
            )
        )
    return rows


def _tested(one: dict[int, float], other: dict[int, float]) -> PairedTest:
    """Return the paired test; of a single shared seed the difference alone, for its sign says nothing."""
    shared = sorted(one.keys() & other.keys())
    if len(shared) != 1:
        return paired_test(one, other)
    gap = one[shared[0]] - other[shared[0]]
    wins, ties = int(gap > 0), int(gap == 0)
    return PairedTest(difference=Estimate(mean=gap, n=1), p_value=None, n=1, wins=wins, ties=ties, test="permutation")


def _difference(found: Estimate, quantity: Measure) -> str:
    """Return a difference in points, with its interval."""
    if found.mean is None:
        return "–"
    scale, form, unit = difference_form(percent=quantity.percent)
    mean = f"{scale * found.mean:{form}}"
    if found.low is None or found.high is None:
        return f"{mean}{unit}"
    return f"{mean} ({scale * found.low:{form}} to {scale * found.high:{form}}){unit}"


def _verdict(
    one: ArmResult, other: ArmResult, label: str, gap: float | None, p_value: float | None, quantity: Measure
) -> str:
    names = short(one.labels[label]), short(other.labels[label])
    lost = [name for name, arm in zip(names, (one, other), strict=True) if arm.status == "diverged"]
    if lost:
        return f"{listed(lost)} diverged"
    if gap is None:
        return _NONE_SHARED
    if p_value is None:
        return _ONE_SHARED
    if p_value >= _SIGNIFICANT:
        return _UNDECIDED
    return f"{names[(gap > 0) != (quantity.better != 'down')]} is better"


def comparison_note(rows: Sequence[Comparison]) -> str:
    """Return how the comparisons were made and how many there are."""
    shared = [row.n for row in rows if row.p_value is not None]
    few = min(shared, default=0)
    note = (
        f"{counted(len(rows), 'comparison')}: paired permutation tests over shared seeds, p-values corrected by Holm's "
        f"method for all {len(rows)}; 'better' below {_SIGNIFICANT:g}."
    )
    if few > 0 and 2 / 2**few * len(rows) > _SIGNIFICANT:
        least = f"no uncorrected p-value is below {2 / 2**few:.2g}: not decided is not equal."
        note += f" With {counted(few, 'shared seed')} {least}"
    return note


def undecided_note(rows: Sequence[Comparison]) -> str:
    """Return, as a sentence or two, that none of the comparisons is decided, and whether any could be."""
    few = min((row.n for row in rows if row.p_value is not None), default=0)
    number = f"None of {counted(len(rows), 'comparison')}" if len(rows) > 1 else "The one comparison"
    note = f"{number} {'is' if len(rows) > 1 else 'is not'} decided by a paired test over shared seeds"
    if len(rows) > 1:
        note += f", corrected for all {len(rows)} by Holm's method"
    if few > 0 and 2 / 2**few * len(rows) > _SIGNIFICANT:
        note += f": with {counted(few, 'shared seed')} even the clearest difference has p = {2 / 2**few:.2g}"
    return f"{note}. Not decided is not equal."


def p_words(value: float | None) -> str:
    """Return a p-value with the digits it is good for."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
