"""Studies in Python: planned, run and redrawn, each from one ledger."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from pydantic import ValidationError

from batchlimit.api.opening import OnEvent, claim_workload, drawn, keeping, named_workload, question_of, runner_for
from batchlimit.config import Frozen, Recipe, TrialConfig
from batchlimit.errors import InputError
from batchlimit.findings import LimitFinding
from batchlimit.ledger import Ledger
from batchlimit.records import TrialRecord
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.checks import arms_of, check_views
from batchlimit.studies.facts import Effort, Facts, StudySettings
from batchlimit.studies.finding import find_study, found_again
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.study import Study
from batchlimit.studies.views import Value
from batchlimit.tuning.campaign import Campaign
from batchlimit.tuning.cost import CostModel, timed_here
from batchlimit.tuning.driver import drive
from batchlimit.tuning.limit import LimitSearch
from batchlimit.tuning.question import FindSettings, Question
from batchlimit.validation import explain

if TYPE_CHECKING:
    from batchlimit.engine import Execution
    from batchlimit.tuning.runners import Runner
    from batchlimit.workloads.workload import Workload

T = TypeVar("T")
DOCUMENT = "study"


class StudyQuestion(Frozen):
    """All that defines one study of one workload: kept in the ledger, so that it can be drawn again."""

    study: str
    toml: str = ""
    facts: Facts
    effort: Effort
    search: Question | None = None
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class StudyPlan:
    """What a study would train: its arms, their trials, and the seconds they take on one worker (None: not measured).

    `known` counts trials whose records the ledger has, among those that can be told in advance. A study with a
    `search` runs, besides, as many trials as its verdict takes. `left_out` are the arms that do not fit into the time.
    """

    study: Study
    question: StudyQuestion
    arms: tuple[Arm, ...]
    trials: tuple[int, ...]
    seconds: tuple[float | None, ...]
    known: int = 0
    left_out: tuple[Arm, ...] = ()


@dataclass
class Studying:
    """One workload, one ledger and one pool of workers for any number of studies; use it as a context manager.

    `workload`, `ledger`, `jobs` and `execution` are as in `find_limit`.

    Raises:
        InputError: a name, a size, the data or the ledger cannot be used; before any training.
    """

    workload: str | Workload
    settings: StudySettings = field(default_factory=StudySettings)
    ledger: str | Path = ":memory:"
    jobs: int | None = None
    execution: Execution | None = None

    def __post_init__(self) -> None:
        from batchlimit.engine import Execution

        self.execution = keeping(self.execution or Execution(), self.ledger)
        self._named = named_workload(self.workload)
        self._ledger: Ledger | None = None
        self._open_runner: Runner | None = None
        self._speed: CostModel | None = None
        self._facts: Facts | None = None
        self._spent = time.monotonic()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Studying:
        from batchlimit.engine.rehearsal import rehearse

        assert self.execution is not None
        rehearse(self._named, self.execution.torch_device())
        self._ledger = self._stack.enter_context(Ledger.open(self.ledger))
        claim_workload(self._ledger, self._named)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def facts(self) -> Facts:
        """What studies know of the workload; its data is loaded when first asked for."""
        if self._facts is None:
            self._facts = facts_of(self._named, self.settings)
        return self._facts

    @property
    def kept(self) -> Ledger:
        """The open ledger."""
        assert self._ledger is not None, "Studying is a context manager"
        return self._ledger

    @property
    def worker_count(self) -> int:
        """How many trials run at a time."""
        from batchlimit.tuning.runners import default_jobs

        assert self.execution is not None
        if not isinstance(self.workload, str):
            return 1  # an object cannot be sent to worker processes
        return self.jobs or default_jobs(self.execution.torch_device().type)

    def plan(self, reference: str, *, timed: bool = True) -> StudyPlan:
        """Return what the study `reference` would train; `timed` also says how long that takes, measured here.

        With `max_hours` in the settings, arms that would not fit are left out, the last first.
        """
        study, text = find_study(reference)
        question, arms = self._asked(study, text, reference)
        campaign = Campaign(question.facts.workload, question.facts.metric_direction, arms)
        campaign.recall(self.kept.get)
        trials = tuple(progress.trials for progress in campaign.progress)
        known = sum(len(r.tuning) + len(r.final) for r in campaign.results())
        model = self.speed() if (timed or self.settings.max_hours is not None) and arms else None
        seconds = tuple(
            None if model is None else _seconds_left(model, arm, count, result)
            for arm, count, result in zip(arms, trials, campaign.results(), strict=True)
        )
        plan = StudyPlan(study, question, arms, trials, seconds, known)
        return self._fitted(plan) if self.settings.max_hours is not None else plan

    def check(self, reference: str) -> None:
        """Check the study `reference`: its arms, and what its tables, figures and claims name.

        Raises:
            InputError: there is no such study, or something in it cannot be.
        """
        question, arms = self._asked(*find_study(reference), reference)
        self._check(arms)
        Campaign(question.facts.workload, question.facts.metric_direction, arms)

    def run(self, reference: str, on_event: OnEvent | None = None) -> StudyResult:
        """Run what the ledger lacks of the study `reference`, and return its result."""
        plan = self.plan(reference, timed=False)
        question = self._with_search(plan)
        if question.search is not None and not self._fits(question.search):
            question = question.model_copy(update={"search": None})
        self._check(plan.arms)
        name = f"{plan.study.name}@{question.facts.workload}"
        self.kept.put_document(DOCUMENT, name, question.model_dump_json(exclude_defaults=True))
        limit = self._search(question, on_event)
        campaign = Campaign(question.facts.workload, question.facts.metric_direction, plan.arms)
        if campaign.wanted():
            drive(campaign.trials(), self.kept, self._runner(), on_event)
        found = campaign.results()
        return StudyResult(
            plan.study, question.facts, question.effort, found, limit, plan.left_out, reference=question.study
        )

    def speed(self) -> CostModel:
        """Return the cost of trials here: from the ledger's, or else from a few steps timed now."""
        if self._speed is None:
            self._speed = self._measured_speed()
        return self._speed

    def _asked(self, study: Study, text: str, reference: str) -> tuple[StudyQuestion, tuple[Arm, ...]]:
        facts = self.facts
        effort = self.settings.effort(facts.epochs)
        effort = effort.model_copy(update={"epochs": effort.epochs.in_examples(facts.batch_size)})
        question = StudyQuestion(study=reference, toml=text, facts=facts, effort=effort)
        arms = arms_of(study, facts, effort)
        if study.name not in studies:  # those name labels of arms that they have at some scales alone
            check_views(study, arms, (*get_args(Value), *(metric.name for metric in self._named.also)))
        return question, arms

    def _with_search(self, plan: StudyPlan) -> StudyQuestion:
        """Return the plan's question with that of its search for the limit, if it has one."""
        if plan.study.search is None:
            return plan.question
        question = plan.question
        wanted = plan.study.search(question.facts, question.effort)
        # Last, or a field that was set back to its default would be lost.
        wanted["baseline"] = {**wanted.get("baseline", {}), **self.settings.recipe}
        settings = FindSettings.model_validate(wanted)
        asked = question_of(self._named, settings, question.facts.dataset_size)
        return question.model_copy(update={"search": asked})

    def _search(self, question: StudyQuestion, on_event: OnEvent | None) -> LimitFinding | None:
        if question.search is None:
            return None
        search = LimitSearch(question.search, part=True)
        drive(search.trials(), self.kept, self._runner(), on_event)
        return search.finding()

    def _fits(self, question: Question) -> bool:
        """Return whether a search ends before `max_hours`, as one does of which the ledger has every trial."""
        if self.settings.max_hours is None:
            return True
        search = LimitSearch(question)
        trials = search.trials()
        first = next(trials)
        trials.close()
        expected = (len(first.trials) + (first.expected_left or 0)) * self.speed().seconds(first.trials[0])
        left = self.settings.max_hours * 3600 - (time.monotonic() - self._spent)
        return expected / self.worker_count <= left or not drawn(self.kept, question).problem

    def _check(self, arms: Iterable[Arm]) -> None:
        from batchlimit.api.tuning import check_choices
        from batchlimit.engine.check import check_names
        from batchlimit.probes import probes
        from batchlimit.tuning.search_space import SearchSpace

        assert self.execution is not None
        arms = tuple(arms)
        for probe in {probe: None for arm in arms for probe in arm.probes}:
            probes.get(probe)
        for arm in {(arm.recipe.canonical(), arm.batch_size): arm for arm in arms}.values():
            if arm.batch_size > (size := self.facts.dataset_size):
                raise InputError(
                    f"batch_size {arm.batch_size} is above the {size} training examples. Valid: 1 to {size}."
                )
            check_names(self._named, arm.recipe, (arm.batch_size,), self.execution)
        for arm in arms:
            check_choices(SearchSpace.parse(arm.space))

    def _runner(self) -> Runner:
        if self._open_runner is None:
            assert self.execution is not None
            runner = runner_for(self.workload, self._named, self.jobs, self.execution)
            self._open_runner = self._stack.enter_context(runner)
        return self._open_runner

    def _fitted(self, plan: StudyPlan) -> StudyPlan:
        """Return the plan without the arms that would end after `max_hours`, counted from the start of this object.

        An arm of which all trials are known costs nothing and is kept.
        """
        assert self.settings.max_hours is not None
        left = self.settings.max_hours * 3600 - (time.monotonic() - self._spent)
        ends = itertools.accumulate((seconds or 0.0) / self.worker_count for seconds in plan.seconds)
        out = tuple(place for place, end in enumerate(ends) if end > left and plan.seconds[place] != 0.0)
        arms, left_out = _divided(plan.arms, out)
        return replace(
            plan,
            question=plan.question.model_copy(update={"left_out": out}),
            arms=arms,
            trials=_divided(plan.trials, out)[0],
            seconds=_divided(plan.seconds, out)[0],
            left_out=left_out,
        )

    def _measured_speed(self) -> CostModel:
        from batchlimit.engine.environment import describe

        assert self.execution is not None
        facts = self.facts
        config = TrialConfig(
            workload=facts.workload, batch_size=facts.batch_size, budget="3 steps", recipe=facts.baseline
        )
        here = describe(self.execution.torch_device())
        known = timed_here(self.kept.records(), config, here)
        if len({record.config.batch_size for record in known}) < 3:
            known = self._timed_now(config)
        return CostModel(known, facts.dataset_size)

    def _timed_now(self, config: TrialConfig) -> list[TrialRecord]:
        """Time three short trials of the baseline's recipe: few steps, more steps, and more examples a step."""
        from batchlimit.engine import run

        assert self.execution is not None
        execution = self.execution.model_copy(update={"threads": self.execution.threads or 1})
        larger = min(8 * config.batch_size, self.facts.dataset_size)
        asked = ((config.batch_size, 1), (config.batch_size, 1), (config.batch_size, 20), (larger, 10))
        configs = [config.updated({"batch_size": size, "budget": f"{steps} steps"}) for size, steps in asked]
        # The first run also loads the data and chooses the micro-batch size: it is not counted.
        return [run(config, workload=self._named, execution=execution) for config in configs][1:]


def facts_of(workload: Workload, settings: StudySettings) -> Facts:
    """Return what studies know of a workload, with the recipe fields that the settings change.

    Raises:
        InputError: the data cannot be used, or a recipe field cannot be.
    """
    from batchlimit.durations import Duration
    from batchlimit.engine.check import constant_score, dataset_size, model_facts

    protocol = settings.effort(1.0).protocol
    data = workload.load()
    size = dataset_size(data, protocol)
    length = Duration.parse(workload.budget)
    examples = length.in_examples(workload.batch_size).amount
    try:
        baseline = workload.baseline.updated(settings.recipe)
    except ValidationError as error:
        changed = workload.baseline.merged(settings.recipe)
        raise InputError(explain(error, Recipe, changed, prefix=("recipe",))) from None
    return Facts(
        workload=workload.name,
        metric_name=workload.metric.name,
        metric_direction=workload.metric.direction,
        metric_percent=workload.metric.percent,
        constant_score=constant_score(workload.metric, data.test),
        dataset_size=size,
        batch_size=workload.batch_size,
        baseline=baseline,
        epochs=length.amount if length.unit == "epochs" else examples / size,
        **model_facts(workload, baseline),
    )


def run_study(
    study: str,
    workload: str | Workload,
    *,
    settings: StudySettings | None = None,
    ledger: str | Path = ":memory:",
    jobs: int | None = None,
    execution: Execution | None = None,
    on_event: OnEvent | None = None,
) -> StudyResult:
    """Return the result of one study of a workload: a registered name, a TOML file, or 'module:attribute'.

    Arguments as in `find_limit`; trials that the ledger holds, from whatever study or search, are not run again.

    Raises:
        InputError: a name, a size, the data or the ledger cannot be used; before any training.
    """
    with Studying(workload, settings or StudySettings(), ledger, jobs, execution) as studying:
        return studying.run(study, on_event)


def redraw_study(ledger: Ledger, name: str) -> StudyResult:
    """Return what a ledger's records say of the study kept as `name` ('solvers@digits'); nothing is run.

    Raises:
        InputError: the ledger has no such study, or its definition is no longer to be found.
    """
    from batchlimit.errors import unknown_name

    known = ledger.documents(DOCUMENT)
    if name not in known:
        raise unknown_name(f"study in the ledger '{ledger.location}'", name, known)
    question = StudyQuestion.model_validate_json(known[name])
    study = found_again(question.study, question.toml)
    arms, left_out = _divided(arms_of(study, question.facts, question.effort), question.left_out)
    campaign = Campaign(question.facts.workload, question.facts.metric_direction, arms)
    campaign.recall(ledger.get)
    limit = drawn(ledger, question.search) if question.search is not None else None
    found = campaign.results()
    return StudyResult(study, question.facts, question.effort, found, limit, left_out, reference=question.study)


def kept_studies(ledger: Ledger) -> Iterator[StudyResult]:
    """Yield every study of a ledger, redrawn, in the order of their names.

    Left out is a user's own study of which the file is no longer to be found: the others do not depend on it.
    """
    for name in sorted(ledger.documents(DOCUMENT)):
        with contextlib.suppress(InputError):
            yield redraw_study(ledger, name)


def _divided(every: Sequence[T], left_out: Collection[int]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Return what is at the places of arms that are run, and what is at the places `left_out`."""
    kept = tuple(one for place, one in enumerate(every) if place not in left_out)
    return kept, tuple(one for place, one in enumerate(every) if place in left_out)


def _seconds_left(model: CostModel, arm: Arm, trials: int, result: ArmResult) -> float:
    """Return the seconds of the trials of an arm that have no record yet."""
    known = len(result.tuning) + len(result.final)
    return max(0, trials - known) * model.seconds(arm.trial("", arm.recipe, 0, final=False))
