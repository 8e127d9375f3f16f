"""The limit of the batch size, in Python: searched for, and drawn again from a ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchlimit.api.opening import OnEvent, claim_workload, drawn, keeping, named_workload, question_of, runner_for
from batchlimit.errors import InputError, unknown_name
from batchlimit.findings import LimitFinding
from batchlimit.ledger import Ledger
from batchlimit.tuning.driver import Event, drive
from batchlimit.tuning.limit import LimitSearch
from batchlimit.tuning.question import FindSettings, Question

if TYPE_CHECKING:
    from batchlimit.engine import Execution
    from batchlimit.workloads.workload import Workload

OnFinding = Callable[[LimitFinding], None]
OnBegin = Callable[[str], None]

QUESTION = "question"
# The question last asked with each technique set, by 'set:workload'.
SET_QUESTION = "question of a technique set"


def find_limit(
    workload: str | Workload,
    *,
    settings: FindSettings | None = None,
    ledger: str | Path = ":memory:",
    jobs: int | None = None,
    execution: Execution | None = None,
    on_event: OnEvent | None = None,
    on_finding: OnFinding | None = None,
) -> LimitFinding:
    """Return up to which batch size linear scaling, and any recipe, keeps the baseline's metric.

    `workload` is a name, 'module:attribute', 'file.py:attribute' or a `Workload`. Trials that the ledger (a SQLite
    file, or a PostgreSQL URL) already holds are not run again. `jobs` worker processes run trials (default: the cores
    on a CPU, 1 on an accelerator); a `Workload` given as an object is trained in this process. `on_event` is called as
    trials finish, `on_finding` with the state of the verdict after each. Beside a ledger that is a file, long trials
    under way are kept too, unless `execution` names another folder for them: killed, they go on where they were.

    Raises:
        InputError: a name, a size, the data or the ledger cannot be used; before any training.

    Source: You et al., 2020, Definitions 2.1 to 2.3.
    """
    settings = settings or FindSettings()
    (finding,) = find_limits(
        workload,
        (settings.techniques,),
        settings=settings,
        ledger=ledger,
        jobs=jobs,
        execution=execution,
        on_event=on_event,
        on_finding=on_finding,
    )
    return finding


def find_limits(
    workload: str | Workload,
    techniques: Sequence[str],
    *,
    settings: FindSettings | None = None,
    ledger: str | Path = ":memory:",
    jobs: int | None = None,
    execution: Execution | None = None,
    on_begin: OnBegin | None = None,
    on_event: OnEvent | None = None,
    on_finding: OnFinding | None = None,
) -> tuple[LimitFinding, ...]:
    """Return the limit with each of several technique sets, everything else equal, one search after the other.

    Other arguments as in `find_limit`; `on_begin` is called with the name of a set as its search begins. Trials that
    several sets ask for are run once.

    Raises:
        InputError: as `find_limit`, or the sets do not differ for this workload.
    """
    from batchlimit.engine import Execution
    from batchlimit.engine.check import dataset_size, has_validation
    from batchlimit.engine.rehearsal import rehearse

    settings = settings or FindSettings()
    execution = keeping(execution or Execution(), ledger)
    named = named_workload(workload)
    data = rehearse(named, execution.torch_device())
    size, unheld = dataset_size(data, settings.protocol), {"no_validation": not has_validation(data)}
    questions = (question_of(named, settings.model_copy(update={"techniques": name}), size) for name in techniques)
    asked = [_checked(question.model_copy(update=unheld), named, execution) for question in questions]
    _check_apart(asked)
    findings = []
    with Ledger.open(ledger) as opened:
        claim_workload(opened, named)
        with runner_for(workload, named, jobs, execution) as runner:
            for question in asked:
                search = LimitSearch(question)
                _note_question(opened, question)
                if on_begin is not None:
                    on_begin(question.techniques)
                drive(search.trials(), opened, runner, _telling(search, on_event, on_finding))
                findings.append(search.finding())
    return tuple(findings)


def redraw(ledger: Ledger, workload: str) -> LimitFinding:
    """Return the finding that a ledger's records carry for the question last asked about `workload`; nothing is run.

    Raises:
        InputError: the ledger holds no question about it.
    """
    text = ledger.document(QUESTION, workload)
    if text is None:
        known = ledger.documents(QUESTION)
        raise unknown_name(f"search in the ledger '{ledger.location}' for workload", workload, known)
    return drawn(ledger, Question.model_validate_json(text))


def redraw_beside(ledger: Ledger, workload: str) -> tuple[LimitFinding, ...]:
    """Return the finished findings of other technique sets for the question last asked about `workload`.

    Only those of questions that are the same but for the techniques: same baseline, training length, batch sizes,
    seeds, tuning budget and protocol. Nothing is run.
    """
    text = ledger.document(QUESTION, workload)
    if text is None:
        return ()
    last = Question.model_validate_json(text)
    questions = [
        Question.model_validate_json(text)
        for name, text in sorted(ledger.documents(SET_QUESTION).items())
        if name.partition(":")[2] == workload
    ]
    others = [question for question in questions if question.differs_in_techniques_alone(last)]
    return tuple(finding for question in others if not (finding := drawn(ledger, question)).problem)


def _note_question(ledger: Ledger, question: Question) -> None:
    """Store the question as the last one, and as the last one of its set; one of an older version keeps its place."""
    before = ledger.document(QUESTION, question.workload)
    for text in (before, question.model_dump_json(exclude_defaults=True)):
        if text is not None:
            name = Question.model_validate_json(text).techniques
            ledger.put_document(SET_QUESTION, f"{name}:{question.workload}", text)
            ledger.put_document(QUESTION, question.workload, text)


def _telling(search: LimitSearch, on_event: OnEvent | None, on_finding: OnFinding | None) -> OnEvent:
    def tell(event: Event) -> None:
        if on_event is not None:
            on_event(event)
        if on_finding is not None:
            on_finding(search.finding())

    return tell


def _checked(question: Question, workload: Workload, execution: Execution) -> Question:
    """Return the question, once everything that can be wrong with it has been looked at."""
    from batchlimit.engine.check import check_names

    for candidate in question.candidates:
        check_names(workload, candidate.recipe, question.batch_sizes, execution)
    check_names(workload, question.baseline, (question.baseline_batch_size, *question.batch_sizes), execution)
    return question


def _check_apart(questions: Sequence[Question]) -> None:
    """Check that no two of several questions are the same: the sets' recipes may be replaced or left out."""
    if not questions:
        raise InputError("techniques is empty. Valid: one technique set or more.")
    for place, question in enumerate(questions):
        for other in questions[:place]:
            if other.candidates == question.candidates:
                recipes = ", ".join(candidate.name for candidate in question.candidates)
                raise InputError(
                    f"The technique sets '{other.techniques}' and '{question.techniques}' come to the same recipes for "
                    f"'{question.workload}' ({recipes}): there is nothing to compare. Valid: one set."
                )
