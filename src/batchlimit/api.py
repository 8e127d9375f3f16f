"""The Python API: each function is one question, answered from a ledger where it can be and by training where not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
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

QUESTION = "question"


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
    from batchlimit.engine import Execution
    from batchlimit.engine.check import check_names, dataset_size

    settings = settings or FindSettings()
    execution = execution or Execution()
    named = _named(workload)
    size = dataset_size(named, settings.protocol)
    question = _question(named, settings, size)
    for candidate in question.candidates:
        check_names(named, candidate.recipe, question.batch_sizes, execution)
    check_names(named, question.baseline, (question.baseline_batch_size, *question.batch_sizes), execution)
    search = LimitSearch(question)

    def tell(event: Event) -> None:
        if on_event is not None:
            on_event(event)
        if on_finding is not None:
            on_finding(search.finding())

    with Ledger.open(ledger) as opened:
        _claim_workload(opened, named)
        opened.put_document(QUESTION, question.workload, question.model_dump_json(exclude_defaults=True))
        with _runner(workload, named, jobs, execution) as runner:
            drive(search.trials(), opened, runner, tell)
    return search.finding()


def redraw(ledger: Ledger, workload: str) -> LimitFinding:
    """Return the finding that a ledger's records carry for the question last asked about `workload`; nothing is run.

    Raises:
        InputError: the ledger holds no question about it.
    """
    text = ledger.document(QUESTION, workload)
    if text is None:
        known = ledger.documents(QUESTION)
        raise unknown_name(f"search in the ledger '{ledger.location}' for workload", workload, known)
    search = LimitSearch(Question.model_validate_json(text))
    with contextlib.suppress(InputError):  # a search that was interrupted lacks records: its finding says so
        drive(search.trials(), ledger, None)
    return search.finding()


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
