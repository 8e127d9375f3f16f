"""Tuning at one batch size, in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batchlimit.api.opening import OnEvent, claim_workload, keeping, named_workload, runner_for
from batchlimit.errors import InputError
from batchlimit.findings import TuneFinding
from batchlimit.ledger import Ledger
from batchlimit.tuning.driver import drive

if TYPE_CHECKING:
    from batchlimit.engine import Execution
    from batchlimit.tuning.search_space import SearchSpace
    from batchlimit.tuning.single import TuneSettings
    from batchlimit.workloads.workload import Workload


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
    from batchlimit.engine.rehearsal import rehearse
    from batchlimit.tuning.single import TuneQuestion, TuneSettings, Tuning, tune_space

    settings = settings or TuneSettings()
    execution = keeping(execution or Execution(), ledger)
    named = named_workload(workload)
    data = rehearse(named, execution.torch_device())
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
    if batch_size > (size := dataset_size(data, settings.protocol)):
        raise InputError(f"batch_size {batch_size} is larger than the {size} training examples. Valid: 1 to {size}.")
    check_names(named, recipe, (batch_size,), execution)
    check_choices(question.space)
    tuning = Tuning(question)
    with Ledger.open(ledger) as opened:
        claim_workload(opened, named)
        with runner_for(workload, named, jobs, execution) as runner:
            drive(tuning.trials(), opened, runner, on_event)
    return tuning.finding()


def check_choices(space: SearchSpace) -> None:
    """Check the names among the choices of a space: the recipe that is tuned has only one of each.

    Raises:
        InputError: a solver or a schedule is not known.
    """
    from batchlimit.optimizers import solvers
    from batchlimit.schedules import schedules

    for dimension in space.dimensions:
        for choice in dimension.choices:
            if dimension.name == "solver":
                solvers.get(str(choice))
            elif dimension.name == "schedule":
                schedules.get(str(choice))
