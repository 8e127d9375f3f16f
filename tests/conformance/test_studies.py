"""Every registered study, at every scale, on three workloads: its arms can be trained, its specifications refer to
them, solvers are compared with equal budgets, and its judges say nothing that was not measured."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import cast, get_args

import pytest
from made_up_study import WORKLOADS, Metrics, around, effort_of, facts_of, result_of

from batchlimit.config import Recipe
from batchlimit.engine.check import check_names
from batchlimit.engine.execution import Execution
from batchlimit.probes import probes
from batchlimit.studies import studies
from batchlimit.studies.arm import Arm
from batchlimit.studies.facts import Effort, Facts, ScaleName
from batchlimit.studies.study import Study
from batchlimit.studies.views import FigureKind
from batchlimit.tuning.question import FindSettings, make_question
from batchlimit.tuning.search_space import SearchSpace
from batchlimit.tuning.techniques import techniques
from batchlimit.tuning.tuner import tuners
from batchlimit.workloads import workloads

NAMES = studies.names()
SCALES = get_args(ScaleName)
MOST_TRIALS = {"smoke": 45, "quick": 300}
OF_MANY_SOLVERS = {"smoke": 110, "quick": 570}
TRACES = ("train loss", "train", "selection", "test")

every_study = pytest.mark.parametrize("name", NAMES)
at_every_scale = pytest.mark.parametrize("scale", SCALES)
on_every_workload = pytest.mark.parametrize("workload", WORKLOADS)


def case(name: str, workload: str, scale: str) -> tuple[Study, Facts, Effort, tuple[Arm, ...]]:
    study = studies.get(name)
    facts, effort = facts_of(workload, cast(ScaleName, scale)), effort_of(cast(ScaleName, scale))
    return study, facts, effort, study.arms(facts, effort)


@cache
def check_recipe(workload: str, recipe: str, batch_size: int) -> None:
    """Check a recipe, given as JSON, once."""
    found = Recipe.model_validate_json(recipe)
    check_names(workloads.get(workload)(), found, [batch_size], Execution(device="cpu"))


@every_study
@on_every_workload
@at_every_scale
def test_arms_can_be_trained_and_told_apart(name: str, workload: str, scale: str) -> None:
    study, facts, effort, arms = case(name, workload, scale)
    assert study.name == name
    assert len({tuple(sorted(arm.labels.items())) for arm in arms}) == len(arms), "two arms with the same labels"
    for arm in arms:
        trial = arm.trial(workload, arm.recipe, 1, final=True)
        assert trial.total_steps(facts.dataset_size) >= 1
        assert arm.protocol == effort.protocol
        assert arm.labels.get("batch size", arm.batch_size) == arm.batch_size
        assert all(probe in probes for probe in arm.probes)
        assert bool(arm.space) == (arm.budget > 0), "a space without a budget, or a budget without a space"


@every_study
@on_every_workload
@at_every_scale
def test_the_engine_takes_every_recipe(name: str, workload: str, scale: str) -> None:
    _, _, _, arms = case(name, workload, scale)
    for arm in arms:
        space = SearchSpace.parse(arm.space)
        space.check(arm.recipe)
        assert arm.tuner in tuners
        ends = [{d.name: d.grid()[end] for d in space.dimensions} for end in (0, -1)]
        for fields in ends:
            recipe: Recipe = arm.recipe.updated(dict(fields)).updated({"lr": 0.1})
            check_recipe(workload, recipe.canonical(), arm.batch_size if recipe.ghost_batch_size else 1)


@every_study
@on_every_workload
@at_every_scale
def test_a_grid_has_a_cell_for_every_trial(name: str, workload: str, scale: str) -> None:
    _, _, _, arms = case(name, workload, scale)
    for arm in arms:
        if arm.tuned and arm.tuner == "grid":
            assert SearchSpace.parse(arm.space).grid_size() >= arm.budget, arm.labels


@every_study
@on_every_workload
@at_every_scale
def test_what_is_compared_has_equal_budgets(name: str, workload: str, scale: str) -> None:
    """Where the learning rate is tuned, arms that differ in a compared label alone get as many trials and seeds."""
    study, _, _, arms = case(name, workload, scale)
    for label in study.comparisons:
        assert any(label in arm.labels for arm in arms), f"no arm has the label '{label}'"
        groups = defaultdict(set)
        for arm in arms:
            if label in arm.labels and "lr" in arm.space:
                rest = tuple(sorted((key, value) for key, value in arm.labels.items() if key != label))
                groups[rest].add((arm.budget, arm.seeds))
        assert all(len(budgets) == 1 for budgets in groups.values()), groups


@every_study
@on_every_workload
@at_every_scale
def test_tables_and_figures_refer_to_what_is_there(name: str, workload: str, scale: str) -> None:
    study, _, _, arms = case(name, workload, scale)
    assert len({table.name for table in study.tables}) == len(study.tables)
    assert len({figure.name for figure in study.figures}) == len(study.figures)
    for table in study.tables:
        shown = [arm for arm in arms if arm.matches(table.only)]
        assert shown, f"table '{table.name}' shows no arm"
        for label in filter(None, (table.rows, table.columns)):
            assert any(label in arm.labels for arm in shown), f"table '{table.name}': no label '{label}'"
        cells = [(arm.labels.get(table.rows), arm.labels.get(table.columns)) for arm in shown]
        # In one epoch trainings of different lengths may have the same number of updates.
        assert scale == "smoke" or len(set(cells)) == len(cells), f"table '{table.name}' has two arms in one cell"
    for figure in study.figures:
        assert figure.title.endswith("?"), f"figure '{figure.name}': its title is no question"
        if figure.kind == "timeline":
            assert all(row.get(field) is not None for row in study.context for field in (figure.x, figure.y))
            continue
        if figure.kind == "regime-map":
            assert study.search is not None
            continue
        shown = [arm for arm in arms if arm.matches(figure.only)]
        assert shown, f"figure '{figure.name}' shows no arm"
        channels = [figure.colour, figure.facet, *([figure.x] if figure.kind in ("lines", "dots") else [])]
        for label in filter(None, channels):
            assert any(label in arm.labels for arm in shown), f"figure '{figure.name}': no label '{label}'"
        if figure.kind in ("heat", "best-so-far"):
            assert any(arm.tuned for arm in shown)
        if figure.kind == "curves" and figure.y in ("train", "test"):
            assert all(figure.y in arm.watch for arm in shown), f"figure '{figure.name}' shows what nobody watches"
        assert figure.kind in get_args(FigureKind)


@every_study
@at_every_scale
def test_trials_stay_within_their_limits(name: str, scale: str) -> None:
    study, _, effort, arms = case(name, "digits", scale)
    trials = sum((arm.budget if arm.tuned else 0) + arm.seeds for arm in arms)
    assert bool(arms) or bool(study.context), "neither trains nor shows anything"
    limits = OF_MANY_SOLVERS if name in ("solvers", "beyond") else MOST_TRIALS
    assert trials <= limits.get(scale, 1500), f"{trials} trials at scale {scale}"
    if scale == "smoke":
        assert all(arm.seeds <= effort.seeds for arm in arms)


@every_study
@at_every_scale
def test_a_search_asks_a_question_that_can_be_asked(name: str, scale: str) -> None:
    study, facts, effort, _ = case(name, "digits", scale)
    if study.search is None:
        assert not any(figure.kind == "regime-map" for figure in study.figures)
        return
    settings = FindSettings.model_validate(study.search(facts, effort))
    question = make_question(
        workloads.get("digits")(),
        settings,
        dataset_size=facts.dataset_size,
        candidates=techniques.get(settings.techniques)(facts.baseline),
    )
    assert question.budget == effort.epochs
    assert question.baseline == facts.baseline
    assert settings.protocol == effort.protocol
    assert question.candidates


@every_study
def test_a_change_of_the_baseline_s_precision_holds_in_every_arm(name: str) -> None:
    facts = facts_of("digits")
    changed = facts.model_copy(update={"baseline": facts.baseline.updated({"precision": "bf16"})})
    for arm in studies.get(name).arms(changed, effort_of("quick")):
        assert arm.recipe.precision == "bf16", arm.labels


@every_study
def test_claims_are_about_arms_that_there_are(name: str) -> None:
    """With everything measured, on the workload that is the paper's, no claim finds its arms missing.

    But for claims about what a probe measured: nothing like that is made up here.
    """
    study = studies.get(name)
    for scale in ("quick", "paper"):
        result = result_of(study, lambda arm: around(0.9), facts=facts_of("mnist", scale), scale=scale)
        for claim in study.claims:
            assert claim.text.endswith("."), claim.text
            assert claim.source
            found = claim.judge(result)
            probed = any(arm.arm.probes for arm in result.arms)
            assert probed or not found.reason.startswith("not measured here"), f"{claim.text}: {found.reason}"


@every_study
def test_the_paper_s_values_stand_beside_arms_that_there_are(name: str) -> None:
    study = studies.get(name)
    arms = study.arms(facts_of("mnist", "paper"), effort_of("paper"))
    for value in study.paper_values:
        assert value.source
        assert (value.value is not None) or value.words
        assert any(arm.matches(value.where) for arm in arms), f"the paper's {value.where} is nowhere"


EVERYTHING: dict[str, Metrics] = {
    "measured alike": lambda arm: around(0.9),
    "differing": lambda arm: around(0.5 + (hash_of(arm) % 97) / 200),
    "diverged": lambda arm: None,
    "some diverged": lambda arm: None if hash_of(arm) % 2 else around(0.8),
    "one seed": lambda arm: [0.9],
}


def hash_of(arm: Arm) -> int:
    return int(arm.recipe.hash, 16) + arm.batch_size


@every_study
@pytest.mark.parametrize("what", EVERYTHING)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_no_judge_stumbles(name: str, what: str, direction: str) -> None:
    """Whatever came of the trials, each claim is judged, or said not to be comparable and why."""
    study = studies.get(name)
    facts = facts_of("mnist", metric_direction=direction)
    result = result_of(study, EVERYTHING[what], facts=facts)
    for claim in study.claims:
        found = claim.judge(result)
        assert found.agreement in ("agrees", "differs", "undecided", "not comparable")
        assert found.ours or found.reason, claim.text
        assert found.reason or found.agreement != "undecided", claim.text


@every_study
@pytest.mark.parametrize("what", EVERYTHING)
def test_a_smoke_run_judges_nothing(name: str, what: str) -> None:
    study = studies.get(name)
    result = result_of(study, EVERYTHING[what], facts=facts_of("mnist", "smoke"), scale="smoke")
    for claim in study.claims:
        assert claim.judge(result).agreement == "not comparable", claim.text


@every_study
def test_nothing_is_decided_before_anything_was_measured(name: str) -> None:
    study = studies.get(name)
    result = result_of(study, lambda arm: [], facts=facts_of("mnist"))
    for claim in study.claims:
        assert claim.judge(result).agreement in ("undecided", "not comparable"), claim.text


def test_studies_share_the_baseline_s_trials() -> None:
    """The baseline's own recipe is the same trial in every study that measures it as it is."""
    facts, effort = facts_of("digits"), effort_of("quick")
    hashes = {
        name: {arm.trial("digits", arm.recipe, 1, final=False).hash for arm in studies.get(name).arms(facts, effort)}
        for name in ("regimes", "ladder", "recipe-128k")
    }
    assert set.intersection(*hashes.values())
