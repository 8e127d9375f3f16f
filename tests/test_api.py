"""The Python API on a problem that trains in milliseconds: from a workload to a finding, and back from the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import batchlimit
from batchlimit import FindSettings, InputError, Ledger, LimitFinding, Recipe, TuneSettings, Workload
from batchlimit.api.opening import question_of
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.reports.verdict import as_json, rests_on
from batchlimit.tuning.driver import Event
from batchlimit.tuning.question import Question
from batchlimit.workloads.workload import cross_entropy


def clouds() -> DataSet:
    generator = torch.Generator().manual_seed(1)

    def split(count: int) -> TensorSplit:
        targets = torch.arange(count) % 2
        return TensorSplit(torch.randn(count, 4, generator=generator) + 3.0 * targets[:, None], targets)

    return DataSet(train=split(200), test=split(200), validation_size=40)


CLOUDS = Workload(
    name="clouds",
    make_model=lambda: nn.Linear(4, 2),
    load=clouds,
    baseline=Recipe(solver="momentum", lr=0.1, solver_options={"momentum": 0.9}),
    batch_size=20,
    budget="2 epochs",
)
QUICK = FindSettings(seeds=2, max_seeds=4, budget=3, batch_sizes=(40, 160), recipes=("adamw", "tuned momentum"))


def nan_loss(outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    return cross_entropy(outputs, targets, label_smoothing=label_smoothing) * float("nan")


def test_the_limit_of_a_workload_of_ones_own(tmp_path: Path) -> None:
    events: list[Event] = []
    states: list[LimitFinding] = []
    path = tmp_path / "ledger.sqlite"
    finding = batchlimit.find_limit(
        CLOUDS, settings=QUICK, ledger=path, on_event=events.append, on_finding=states.append
    )
    assert finding.problem == ""
    assert (finding.workload, finding.dataset_size, finding.training_budget) == ("clouds", 160, "2 epochs")
    assert [found.batch_size for found in finding.by_batch_size] == [40, 160]
    assert finding.recipes == ("adamw", "tuned momentum")
    assert finding.baseline is not None
    assert finding.baseline.metric.mean is not None
    assert finding.baseline.metric.mean > 0.9
    assert finding.small_up_to.value in (20, 40, 160)
    assert states[-1].problem == "The search is not finished."  # what follows the last trial is told by the finding
    finished = [event for event in events if event.kind == "finished"]
    assert len(finished) == finding.cost.trials == len({event.config.hash for event in finished})

    events.clear()
    again = batchlimit.find_limit(CLOUDS, settings=QUICK, ledger=path, on_event=events.append)
    assert again == finding
    assert {event.kind for event in events} == {"reused"}
    with Ledger.open(path, create=False) as ledger:
        assert batchlimit.redraw(ledger, "clouds") == finding


def test_without_a_validation_split_the_finding_says_what_selected() -> None:
    data = CLOUDS.load()
    unheld = replace(CLOUDS, load=lambda: DataSet(train=data.train, test=data.test))
    settings = QUICK.model_copy(update={"recipes": ("adamw",), "batch_sizes": (160,), "budget": 1, "max_seeds": 2})
    assert batchlimit.find_limit(unheld, settings=settings).no_validation
    assert not batchlimit.find_limit(CLOUDS, settings=settings).no_validation


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("make", "baseline", "name", "reason"),
    [
        (normed, {}, "adascale momentum", "this model's batch norm takes more than half of it at once."),
        (CLOUDS.make_model, {"solver": "lars"}, "adascale lars", "the trust ratios of 'lars' undo that."),
        (normed, {"ghost_batch_size": 10}, "", ""),
    ],
)
def test_adascale_is_tried_where_the_gradient_s_noise_can_be_measured(
    make: Callable[[], nn.Module], baseline: dict[str, object], name: str, reason: str
) -> None:
    workload = replace(CLOUDS, make_model=make, baseline=CLOUDS.baseline.updated(baseline))
    asked = question_of(workload, QUICK.model_copy(update={"recipes": None}), 160)
    assert list(asked.refused) == ([name] if name else [])
    assert all(why.endswith(reason) for why in asked.refused.values())
    scaled = [candidate.recipe for candidate in asked.candidates if candidate.recipe.adascale]
    assert [recipe.reference_batch_size for recipe in scaled] == ([] if name else [CLOUDS.batch_size])


BOTH = QUICK.model_copy(update={"recipes": None, "batch_sizes": (160,), "budget": 1, "max_seeds": 2})


def unfactored() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))


def test_a_recipe_that_cannot_train_the_model_is_left_out_and_named() -> None:
    workload = replace(CLOUDS, make_model=unfactored)
    finding = batchlimit.find_limit(workload, settings=QUICK.model_copy(update={"recipes": None, "budget": 1}))
    assert finding.problem == ""
    assert "kfac" not in finding.recipes
    assert "muon" in finding.recipes
    assert finding.refused["kfac"] == "kfac found no layer to factor."
    assert finding.refused["whitened muon"].startswith("muon found no layer whose inputs to whiten.")
    assert finding.refused["averaged whitened muon"] == finding.refused["whitened muon"]
    assert len(finding.refused) == 3
    untried = [line for line in rests_on(finding) if line.startswith("Not tried")]
    assert untried[1] == "Not tried, as it cannot be done here: kfac (kfac found no layer to factor)."
    assert "here: whitened muon; averaged whitened muon (muon found no layer whose inputs to whiten" in untried[0]
    assert len(untried) == 2
    assert as_json(finding, None)["refused"] == finding.refused
    # One that is asked for by name is an error, before any training.
    with pytest.raises(InputError, match="kfac found no layer to factor"):
        batchlimit.find_limit(workload, settings=QUICK.model_copy(update={"recipes": ("kfac", "muon")}))


def test_two_sets_in_one_ledger_are_kept_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    begun: list[str] = []
    events: list[Event] = []
    paper, modern = batchlimit.find_limits(
        CLOUDS, ("paper", "modern"), settings=BOTH, ledger=path, on_begin=begun.append, on_event=events.append
    )
    assert begun == [paper.techniques, modern.techniques] == ["paper", "modern"]
    assert set(paper.recipes) < set(modern.recipes)
    finished = [event.config.hash for event in events if event.kind == "finished"]
    assert len(finished) == len(set(finished)), "a trial that both sets ask for is run once"
    assert paper.baseline == modern.baseline
    with Ledger.open(path, create=False) as ledger:
        assert batchlimit.redraw(ledger, "clouds") == modern
        assert batchlimit.redraw_beside(ledger, "clouds") == (paper,)
    events.clear()
    alone = batchlimit.find_limit(
        CLOUDS, settings=BOTH.model_copy(update={"techniques": "paper"}), ledger=path, on_event=events.append
    )
    assert alone == paper
    assert {event.kind for event in events} == {"reused"}
    with Ledger.open(path, create=False) as ledger:
        assert batchlimit.redraw(ledger, "clouds") == paper
        assert batchlimit.redraw_beside(ledger, "clouds") == (modern,)


def test_only_the_same_question_is_shown_beside(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    paper = BOTH.model_copy(update={"techniques": "paper"})
    batchlimit.find_limit(CLOUDS, settings=BOTH, ledger=path)
    for changes in ({"budget": 2}, {"baseline": {"lr": 0.2}}, {"epochs": "3 epochs"}, {"max_seeds": 3}):
        batchlimit.find_limit(CLOUDS, settings=paper.updated(changes), ledger=path)
        with Ledger.open(path, create=False) as ledger:
            assert batchlimit.redraw_beside(ledger, "clouds") == ()
    batchlimit.find_limit(CLOUDS, settings=paper, ledger=path)
    with Ledger.open(path, create=False) as ledger:
        assert [found.techniques for found in batchlimit.redraw_beside(ledger, "clouds")] == ["modern"]
        assert batchlimit.redraw_beside(ledger, "another") == ()


def test_a_search_that_was_interrupted_is_not_shown_beside(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"

    def stop_at_modern(name: str) -> None:
        if name == "modern":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batchlimit.find_limits(CLOUDS, ("paper", "modern"), settings=BOTH, ledger=path, on_begin=stop_at_modern)
    batchlimit.find_limit(CLOUDS, settings=BOTH.model_copy(update={"techniques": "paper"}), ledger=path)
    with Ledger.open(path, create=False) as ledger:
        assert batchlimit.redraw(ledger, "clouds").techniques == "paper"
        assert len(ledger.documents("question of a technique set")) == 2
        assert batchlimit.redraw_beside(ledger, "clouds") == ()


def test_a_ledger_with_one_question_a_workload_is_read_and_keeps_it(tmp_path: Path) -> None:
    """Before there were sets side by side, a ledger held the last question of a workload and nothing else."""
    path = tmp_path / "ledger.sqlite"
    finding = batchlimit.find_limit(CLOUDS, settings=BOTH, ledger=path)
    with Ledger.open(path, create=False) as ledger:
        ledger.export_jsonl(tmp_path / "new.jsonl")
    header, *records = (tmp_path / "new.jsonl").read_text().splitlines(keepends=True)
    content = json.loads(header)
    kept = [document for document in content["documents"] if document[0] != "question of a technique set"]
    assert len(kept) == len(content["documents"]) - 1
    (tmp_path / "old.jsonl").write_text(json.dumps({**content, "documents": kept}) + "\n" + "".join(records))
    old = tmp_path / "old.sqlite"
    with Ledger.open(old) as ledger:
        ledger.import_jsonl(tmp_path / "old.jsonl")
        assert batchlimit.redraw(ledger, "clouds") == finding
        assert batchlimit.redraw_beside(ledger, "clouds") == ()
    batchlimit.find_limit(CLOUDS, settings=BOTH.model_copy(update={"techniques": "paper"}), ledger=old)
    with Ledger.open(old, create=False) as ledger:
        assert batchlimit.redraw_beside(ledger, "clouds") == (finding,)


def test_sets_that_cannot_be_compared_are_bad_input_before_any_training(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    own = replace(CLOUDS, recipes={"gentle": Recipe(solver="adam", lr=0.02)})
    for workload, sets, message in (
        (CLOUDS, ("paper", "modren"), r"Unknown technique set 'modren'\. Did you mean 'modern'"),
        (own, ("paper", "modern"), r"'paper' and 'modern' come to the same recipes for 'clouds' \(gentle\)"),
        (CLOUDS, (), r"techniques is empty"),
    ):
        with pytest.raises(InputError, match=message):
            batchlimit.find_limits(workload, sets, settings=BOTH, ledger=path)
    assert not path.exists()


def test_a_finding_is_drawn_again_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    few = QUICK.model_copy(update={"batch_sizes": (160,), "recipes": ("adamw",)})
    finding = batchlimit.find_limit(CLOUDS, settings=few, ledger=path)
    with Ledger.open(path, create=False) as ledger:
        ledger.export_jsonl(tmp_path / "ledger.jsonl.gz")
    code = (
        "import sys, batchlimit\n"
        "ledger = batchlimit.Ledger.open(sys.argv[1], create=False)\n"
        "print(batchlimit.redraw(ledger, 'clouds').model_dump_json())\n"
        "assert 'torch' not in sys.modules and 'optuna' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "ledger.jsonl.gz")]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert LimitFinding.model_validate_json(drawn) == finding


def test_an_interrupted_search_is_drawn_as_far_as_it_came(tmp_path: Path) -> None:
    done = 0

    def stop_at_seven(event: Event) -> None:
        nonlocal done
        done += event.kind == "finished"
        if done == 7:
            raise KeyboardInterrupt

    path = tmp_path / "ledger.sqlite"
    with pytest.raises(KeyboardInterrupt):
        batchlimit.find_limit(CLOUDS, settings=QUICK, ledger=path, on_event=stop_at_seven)
    with Ledger.open(path, create=False) as ledger:
        assert len(ledger) == 7
        finding = batchlimit.redraw(ledger, "clouds")
    assert finding.problem == "The search is not finished."
    assert finding.baseline is not None  # four trials: the baseline is there
    events: list[Event] = []
    batchlimit.find_limit(CLOUDS, settings=QUICK, ledger=path, on_event=events.append)
    assert sum(event.kind == "reused" for event in events) == 7


def test_a_loss_that_is_nan_at_once_gives_no_verdict() -> None:
    finding = batchlimit.find_limit(replace(CLOUDS, loss=nan_loss), settings=QUICK)
    assert finding.problem.startswith("4 of 4 baseline trials at batch size 20 did not complete (the loss was nan")
    assert finding.small_up_to.value is finding.large_up_to.value is None


def test_a_ledger_asked_about_something_else_is_refused_or_names_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    few = QUICK.model_copy(update={"batch_sizes": (160,), "recipes": ("adamw",)})
    batchlimit.find_limit(CLOUDS, settings=few, ledger=path)
    wider = replace(CLOUDS, make_model=lambda: nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)))
    with pytest.raises(InputError, match=r"was made with another 'clouds' .*Valid: another --ledger"):
        batchlimit.find_limit(wider, settings=few, ledger=path)
    with Ledger.open(path, create=False) as ledger, pytest.raises(InputError, match="Did you mean 'clouds'"):
        batchlimit.redraw(ledger, "cloud")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuner": "gird"}, r"Unknown tuner 'gird'\. Did you mean 'grid'\? Valid: .*tpe"),
        ({"techniques": "modren"}, r"Unknown technique set 'modren'\. Did you mean 'modern'\? Valid: .*paper"),
        ({"recipes": ("adam w",)}, r"Unknown recipe 'adam w'\. Did you mean 'adamw'\?"),
        ({"batch_sizes": (161,)}, r"batch_sizes has 161\. Valid: 21 to 160"),
        ({"batch_sizes": (0,)}, r"batch_sizes has 0\."),
        ({"baseline": {"batch_size": 160}}, r"baseline's batch_size is 160\. Valid: 1 to 159"),
        ({"baseline": {"solver": "adamm"}}, r"Unknown solver 'adamm'\. Did you mean 'adam'"),
        ({"baseline": {"schedule": "cosin"}}, r"Unknown schedule 'cosin'\. Did you mean 'cosine'"),
    ],
)
def test_bad_settings_are_found_before_any_training(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with pytest.raises(InputError, match=message):
        batchlimit.find_limit(CLOUDS, settings=FindSettings.model_validate(settings), ledger=path)
    assert not path.exists()


def test_unknown_workloads_and_jobs_below_one_are_bad_input() -> None:
    with pytest.raises(InputError, match="Did you mean 'digits'"):
        batchlimit.find_limit("digit")
    with pytest.raises(InputError, match=r"jobs is 0\. Valid: 1 or more"):
        batchlimit.find_limit(CLOUDS, settings=QUICK, jobs=0)


def test_what_changes_the_baseline_changes_its_recipes(tmp_path: Path) -> None:
    """Weight decay and clipping given for the baseline hold for every recipe; an LR rule enters its LR once."""
    changes = {"weight_decay": 0.01, "clip_norm": 2.0, "lr_rule": "linear", "reference_batch_size": 40}
    settings = QUICK.model_copy(update={"baseline": changes})
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    batchlimit.find_limit(CLOUDS, settings=settings, ledger=tmp_path / "ledger.sqlite")
    with Ledger.open(tmp_path / "ledger.sqlite", create=False) as ledger:
        text = ledger.document("question", "clouds")
        recipes = [record.config.recipe for record in ledger.records()]
    assert {(recipe.weight_decay, recipe.clip_norm) for recipe in recipes} == {(0.01, 2.0)}
    assert text is not None
    question = Question.model_validate_json(text)
    tuned = next(candidate.recipe for candidate in question.candidates if candidate.name == "tuned momentum")
    assert (tuned.lr, tuned.lr_rule) == (0.05, "none")


def test_a_workloads_own_recipes_replace_the_technique_set() -> None:
    own = replace(CLOUDS, recipes={"gentle": Recipe(solver="adam", lr=0.02)})
    finding = batchlimit.find_limit(own, settings=QUICK.model_copy(update={"recipes": None, "batch_sizes": (160,)}))
    assert finding.recipes == ("gentle",)


def test_tuning_at_one_batch_size(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    settings = TuneSettings(batch_size=40, budget=5, seeds=2, space={"lr": {"low": 1e-5, "high": 0.3, "log": True}})
    events: list[Event] = []
    finding = batchlimit.tune(CLOUDS, settings=settings, ledger=path, on_event=events.append)
    assert finding.problem == ""
    assert (finding.batch_size, len(finding.proposals), finding.cost.trials) == (40, 5, 7)
    assert finding.best is not None
    assert finding.best.recipe.lr > 1e-3  # with less, nothing is learned in two epochs
    assert finding.best.metric.n == 2
    again = batchlimit.tune(CLOUDS, settings=settings, ledger=path, on_event=events.append)
    assert again == finding
    assert {event.kind for event in events[-7:]} == {"reused"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 161}, r"batch_size 161 is larger than the 160 training examples\. Valid: 1 to 160"),
        ({"tuner": "tpee"}, r"Unknown tuner 'tpee'\. Did you mean 'tpe'"),
        ({"space": {"lrr": [0.1]}}, r"Search space, field 'lrr': Unknown key 'lrr'\. Did you mean 'lr'"),
        ({"space": {"lr": [-1.0]}}, r"Search space, field 'lr': lr = -1\.0: must be greater than 0"),
        ({"recipe": {"solver": "lamp"}}, r"Unknown solver 'lamp'\. Did you mean 'lamb'"),
    ],
)
def test_bad_tuning_settings_are_bad_input(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        batchlimit.tune(CLOUDS, settings=TuneSettings.model_validate(settings))


def test_everything_public_is_there() -> None:
    for name in batchlimit.__all__:
        assert getattr(batchlimit, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'find_the_limit'"):
        batchlimit.find_the_limit  # noqa: B018
