"""What functions of the API share: workload, question, ledger, workers, a search drawn again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchlimit.config import UNSCALED, Recipe
from batchlimit.errors import InputError
from batchlimit.findings import LimitFinding
from batchlimit.ledger import MEMORY, Ledger
from batchlimit.tuning.driver import Event, drive
from batchlimit.tuning.limit import LimitSearch
from batchlimit.tuning.question import Candidate, FindSettings, Question
from batchlimit.validation import user_path

if TYPE_CHECKING:
    from batchlimit.engine import Execution
    from batchlimit.tuning.runners import Runner
    from batchlimit.workloads.workload import Workload

OnEvent = Callable[[Event], None]


def named_workload(workload: str | Workload) -> Workload:
    """Return the workload; one given by a reference is named by it, so that worker processes can find it too."""
    from batchlimit.workloads.resolve import resolve

    if not isinstance(workload, str):
        return workload
    found = resolve(workload)
    return found if found.name == workload else replace(found, name=workload)


def question_of(workload: Workload, settings: FindSettings, dataset_size: int) -> Question:
    """Return the question that `settings` ask about `workload`.

    Recipes of a technique set that cannot train the workload's model are left out, unless they are asked for by name.

    Raises:
        InputError: a name or a size cannot be, or no recipe of the set can train the model.
    """
    from batchlimit.engine.check import refusals
    from batchlimit.tuning.question import asked_baseline, make_question
    from batchlimit.tuning.techniques import techniques
    from batchlimit.tuning.tuner import tuners

    tuners.get(settings.tuner)
    known = techniques.get(settings.techniques)
    batch_size, baseline = asked_baseline(workload, settings, dataset_size)
    plain = {**UNSCALED, "lr": baseline.peak_lr(batch_size), "reference_batch_size": batch_size}
    candidates = (
        tuple(_own_candidate(name, recipe) for name, recipe in workload.recipes.items())
        if workload.recipes
        else known(baseline.updated(plain))
    )
    question = make_question(workload, settings, dataset_size=dataset_size, candidates=candidates)
    if workload.recipes or settings.recipes is not None:
        return question
    recipes = {candidate.name: candidate.recipe for candidate in candidates}
    refused = refusals(workload, baseline, recipes, batch_sizes=question.batch_sizes)
    if len(refused) == len(candidates):
        raise InputError(
            f"No '{settings.techniques}' recipe can train '{workload.name}': {next(iter(refused.values()))}"
        )
    kept = tuple(candidate for candidate in candidates if candidate.name not in refused)
    return question.model_copy(update={"candidates": kept, "refused": refused})


def _own_candidate(name: str, recipe: Recipe) -> Candidate:
    """Return a workload's own recipe as a candidate: its warmup comes first, and its LR rule is not doubled."""
    ruled = recipe.lr_rule != "none" or recipe.adascale
    plain = Candidate(name=name, recipe=recipe, exponent=0.0 if ruled else 0.5)
    if not recipe.warmup.amount:
        return plain
    return plain.model_copy(update={"warmups": (plain.warmups[0], str(recipe.warmup), plain.warmups[-1])})


def claim_workload(ledger: Ledger, workload: Workload) -> None:
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


def keeping(execution: Execution, ledger: str | Path) -> Execution:
    """Return `execution` with a folder for trials under way, beside a ledger that is a file, unless it has one."""
    from batchlimit.engine.checkpoint import FOLDER_SUFFIX

    name = str(ledger).removeprefix("sqlite:///")
    if execution.checkpoints is not None or name == MEMORY or "://" in name:
        return execution
    path = user_path(name).resolve()
    return execution.model_copy(update={"checkpoints": path.with_name(f"{path.name}{FOLDER_SUFFIX}")})


def drawn(ledger: Ledger, question: Question) -> LimitFinding:
    """Return the finding that a ledger's records carry for a search; nothing is run."""
    search = LimitSearch(question)
    with contextlib.suppress(InputError):  # a search that was interrupted lacks records: its finding says so
        drive(search.trials(), ledger, None)
    return search.finding()


def runner_for(given: str | Workload, workload: Workload, jobs: int | None, execution: Execution) -> Runner:
    """Return what runs trials: a pool of processes, or this one for one job or a workload given as an object."""
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
