"""The Python API: each function is one question, answered from a ledger where it can be and by training where not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchlimit.errors import InputError, unknown_name
from batchlimit.findings import LimitFinding, TuneFinding
from batchlimit.ledger import Ledger
from batchlimit.tuning.driver import Event, drive
from batchlimit.tuning.limit import LimitSearch
from batchlimit.tuning.question import Candidate, FindSettings, Question

if TYPE_CHECKING:
    from batchlimit.engine import Execution
    from batchlimit.tuning.runners import Runner
    from batchlimit.tuning.single import TuneSettings
    from batchlimit.workloads.workload import Workload

OnEvent = Callable[[Event], None]
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
    trials finish, `on_finding` with the state of the verdict after each.

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

    settings = settings or FindSettings()
    execution = execution or Execution()
    named = _named(workload)
    asked = [
        _checked_question(named, settings.model_copy(update={"techniques": name}), execution) for name in techniques
    ]
    _check_apart(asked)
    findings = []
    with Ledger.open(ledger) as opened:
        _claim_workload(opened, named)
        with _runner(workload, named, jobs, execution) as runner:
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
    return _drawn(ledger, Question.model_validate_json(text))


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
    return tuple(finding for question in others if not (finding := _drawn(ledger, question)).problem)


def _drawn(ledger: Ledger, question: Question) -> LimitFinding:
    search = LimitSearch(question)
    with contextlib.suppress(InputError):  # a search that was interrupted lacks records: its finding says so
        drive(search.trials(), ledger, None)
    return search.finding()


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


def tune(
    workload: str | Workload,
    *,
    settings: TuneSettings | None = None,
    ledger: str | Path = ":memory:",
    jobs: int | None = None,
    execution: Execution | None = None,
    on_event: OnEvent | None = None,
) -> TuneFinding:
    """Return the best values of some recipe fields at one batch size, selected within a budget of trials.

    Arguments as in `find_limit`. The best is selected on the validation split (or as the protocol says) and measured
    on the test split with fresh seeds.

    Raises:
        InputError: a name, a size, a field, the data or the ledger cannot be used; before any training.
    """
    from batchlimit.durations import Duration
    from batchlimit.engine import Execution
    from batchlimit.engine.check import check_names, dataset_size
    from batchlimit.tuning.single import TuneQuestion, TuneSettings, Tuning, tune_space

    settings = settings or TuneSettings()
    execution = execution or Execution()
    named = _named(workload)
    recipe = named.baseline.updated(settings.recipe)
    batch_size = settings.batch_size or named.batch_size
    question = TuneQuestion(
        workload=named.name,
        metric_name=named.metric.name,
        metric_direction=named.metric.direction,
        metric_percent=named.metric.percent,
        batch_size=batch_size,
        budget=settings.epochs or Duration.parse(named.budget),
        recipe=recipe,
        space=tune_space(settings, recipe),
        trials=settings.budget,
        tuner=settings.tuner,
        seeds=settings.seeds,
        protocol=settings.protocol,
    )
    if batch_size > (size := dataset_size(named, settings.protocol)):
        raise InputError(f"batch_size {batch_size} is larger than the {size} training examples. Valid: 1 to {size}.")
    check_names(named, recipe, (batch_size,), execution)
    tuning = Tuning(question)
    with Ledger.open(ledger) as opened:
        _claim_workload(opened, named)
        with _runner(workload, named, jobs, execution) as runner:
            drive(tuning.trials(), opened, runner, on_event)
    return tuning.finding()


def _named(workload: str | Workload) -> Workload:
    """Return the workload; one given by a reference is named by it, so that worker processes can find it too."""
    from batchlimit.workloads.resolve import resolve

    if not isinstance(workload, str):
        return workload
    found = resolve(workload)
    return found if found.name == workload else replace(found, name=workload)


def _checked_question(workload: Workload, settings: FindSettings, execution: Execution) -> Question:
    """Return the question, once everything that can be wrong with it has been looked at."""
    from batchlimit.engine.check import check_names, dataset_size

    question = _question(workload, settings, dataset_size(workload, settings.protocol))
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


def _question(workload: Workload, settings: FindSettings, dataset_size: int) -> Question:
    from batchlimit.tuning.question import asked_baseline, make_question
    from batchlimit.tuning.techniques import techniques
    from batchlimit.tuning.tuner import tuners

    tuners.get(settings.tuner)
    known = techniques.get(settings.techniques)
    batch_size, baseline = asked_baseline(workload, settings)
    plain = {"lr": baseline.peak_lr(batch_size), "lr_rule": "none", "reference_batch_size": None}
    candidates = (
        tuple(Candidate(name=name, recipe=recipe) for name, recipe in workload.recipes.items())
        if workload.recipes
        else known(baseline.updated(plain))
    )
    return make_question(workload, settings, dataset_size=dataset_size, candidates=candidates)


def _claim_workload(ledger: Ledger, workload: Workload) -> None:
    """Note what the workload is, or check that it is still what the ledger's records were made with."""
    from batchlimit.engine.check import fingerprint

    now = fingerprint(workload)
    known = ledger.document("workload", workload.name)
    if known is not None and known != now:
        raise InputError(
            f"The ledger '{ledger.location}' was made with another '{workload.name}' ({known}; now {now}). "
            "Valid: another --ledger or --out, or the workload as it was."
        )
    if known is None:
        ledger.put_document("workload", workload.name, now)


def _runner(given: str | Workload, workload: Workload, jobs: int | None, execution: Execution) -> Runner:
    from batchlimit.engine import run
    from batchlimit.tuning.runners import default_jobs
    from batchlimit.tuning.runners.inline import InlineRunner
    from batchlimit.tuning.runners.local import LocalPool

    count = jobs if jobs is not None else default_jobs(execution.torch_device().type)
    if count < 1:
        raise InputError(f"jobs is {count}. Valid: 1 or more.")
    if isinstance(given, str) and count > 1:
        return LocalPool(count, execution)
    return InlineRunner(lambda config: run(config, workload=workload, execution=execution))
