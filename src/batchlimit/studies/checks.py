"""Mistakes of a study, which may be a user's own, found before anything is trained."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pydantic import ValidationError

from batchlimit.config import Scalar
from batchlimit.errors import InputError, hint_of, in_one_line
from batchlimit.studies.arm import Arm, Labels
from batchlimit.studies.facts import Effort, Facts
from batchlimit.studies.study import Study
from batchlimit.studies.views import CURVES, FigureSpec

OF_ANY_ARM = ("batch size", "epochs", "solver")  # what tables and figures know of an arm without the label
_OF_CONTEXT = ("timeline", "regime-map")  # kinds of figures that show no arms


def arms_of(study: Study, facts: Facts, effort: Effort) -> tuple[Arm, ...]:
    """Return the arms of a study, each of which can be asked for as a trial.

    Raises:
        InputError: the study's function raises or returns something else, or there is nothing to train or to show.
    """
    try:
        arms = tuple(study.arms(facts, effort))
        for arm in arms:
            if isinstance(arm, Arm):
                arm.trial(facts.workload, arm.recipe, 1, final=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"Study '{study.name}': its arms cannot be made: {reason_of(error)}.") from error
    other = next((arm for arm in arms if not isinstance(arm, Arm)), None)
    if other is not None:
        raise InputError(f"Study '{study.name}': its function 'arms' gave {other!r:.60}, which is no Arm.")
    if not arms and study.search is None and not study.context:
        raise InputError(f"Study '{study.name}' has no arms, so there is nothing to train.")
    return arms


def reason_of(error: Exception) -> str:
    """Return in one line what went wrong in a study's code: for a field that cannot be, which and why."""
    if not isinstance(error, ValidationError):
        return in_one_line(error)
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, (error.title, *first["loc"])))
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def check_views(study: Study, arms: Sequence[Arm], values: Collection[str]) -> None:
    """Check that tables, figures and claims name labels that arms have; `values` are the quantities of a test.

    A number that no arm has is none of these mistakes: on another workload batch sizes are others.

    Raises:
        InputError: a label, a label's text or a figure's quantity is nowhere to be found.
    """
    if not arms:
        return
    known: dict[str, list[Scalar]] = {}
    for arm in arms:
        for name, value in arm.labels.items():
            known.setdefault(name, []).append(value)
    for where, names, wanted in _asked(study):
        for name in filter(None, names):
            if name not in known and name not in OF_ANY_ARM:
                raise _nothing(study, where, "label", name, {*known, *OF_ANY_ARM})
        for name, value in wanted.items():
            if name not in known:
                raise _nothing(study, where, "label", name, known)
            if isinstance(value, str) and value not in known[name]:
                raise _nothing(study, where, name, value, dict.fromkeys(map(str, known[name])))
    for figure in study.figures:
        valid = _quantities(figure, values)
        if valid and figure.y not in valid:
            raise _nothing(study, f"figure '{figure.name}'", "quantity", figure.y, valid)


def _asked(study: Study) -> Iterator[tuple[str, tuple[str, ...], Labels]]:
    """Yield where labels are named, the names, and the labels with their values."""
    for table in study.tables:
        yield f"table '{table.name}'", (table.rows, table.columns), table.only
    for figure in study.figures:
        if figure.kind not in _OF_CONTEXT:
            x = figure.x if figure.kind in ("lines", "dots") else ""
            yield f"figure '{figure.name}'", (x, figure.colour, figure.facet), figure.only
    for number, claim in enumerate(study.claims, 1):
        for wanted in claim.selects:
            yield f"claim {number}", (), wanted


def _quantities(figure: FigureSpec, values: Collection[str]) -> Collection[str]:
    """Return what `y` of a figure may be; none where its kind decides."""
    if figure.kind == "curves":
        return ("metric", *CURVES)
    return values if figure.kind in ("lines", "dots", "scatter") else ()


def _nothing(study: Study, where: str, kind: str, name: str, valid: Collection[str]) -> InputError:
    hint = hint_of(name, valid, cutoff=0.6)
    return InputError(
        f"Study '{study.name}', {where}: there is no {kind} '{name}'.{hint} Valid: {', '.join(sorted(valid))}."
    )
