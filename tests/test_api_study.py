"""Studies from Python: run, resumed, redrawn, planned to fit into hours, sharing trials through one ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from torch import nn

from batchlimit.api.study import Studying, facts_of, kept_studies, redraw_study, run_study
from batchlimit.config import TrialConfig
from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.ledger import Ledger
from batchlimit.studies.facts import StudySettings
from batchlimit.tuning.cost import CostModel
from batchlimit.tuning.driver import Event
from batchlimit.workloads.digits import digits

FILE = """
name = "{name}"
question = "Which solver?"
batch_size = [250, "full"]
solver = {solvers}
"""
SETTINGS = StudySettings(scale="smoke")


def written(folder: Path, name: str = "mine", solvers: str = '["momentum", "adam"]') -> str:
    path = folder / f"{name}.toml"
    path.write_text(FILE.format(name=name, solvers=solvers))
    return str(path)


def kinds(events: list[Event]) -> tuple[int, int]:
    return sum(e.kind == "finished" for e in events), sum(e.kind == "reused" for e in events)


def test_a_study_runs_resumes_and_is_redrawn(tmp_path: Path) -> None:
    study, ledger = written(tmp_path), tmp_path / "ledger.db"
    first: list[Event] = []
    result = run_study(study, "digits", settings=SETTINGS, ledger=ledger, jobs=1, on_event=first.append)
    assert [arm.status for arm in result.arms] == ["measured"] * 4
    assert kinds(first) == (4 * (2 + 2), 0)
    assert all(len(arm.tuning) == 2 and len(arm.final) == 2 for arm in result.arms)

    again: list[Event] = []
    assert (
        run_study(study, "digits", settings=SETTINGS, ledger=ledger, jobs=1, on_event=again.append).arms == result.arms
    )
    assert kinds(again) == (0, 16)

    # The definition is in the ledger: the file may be gone.
    Path(study).unlink()
    with Ledger.open(ledger) as kept:
        redrawn = redraw_study(kept, "mine@digits")
        assert [r.study.name for r in kept_studies(kept)] == ["mine"]
        with pytest.raises(InputError, match="mine@digits"):
            redraw_study(kept, "mien@digits")
    assert redrawn.arms == result.arms
    assert redrawn.reference == result.reference == study
    assert redrawn.facts == result.facts


def test_two_studies_share_the_trials_they_have_in_common(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    run_study(written(tmp_path, "one"), "digits", settings=SETTINGS, ledger=ledger, jobs=1)
    events: list[Event] = []
    other = written(tmp_path, "two", '["momentum"]')
    run_study(other, "digits", settings=SETTINGS, ledger=ledger, jobs=1, on_event=events.append)
    assert kinds(events) == (0, 8)


def test_a_plan_counts_trials_and_what_is_known(tmp_path: Path) -> None:
    study, ledger = written(tmp_path), tmp_path / "ledger.db"
    with Studying("digits", SETTINGS, ledger, jobs=1) as studying:
        before = studying.plan(study)
        assert (sum(before.trials), before.known) == (16, 0)
        assert all(seconds is not None and seconds > 0 for seconds in before.seconds)
        studying.run(study)
        after = studying.plan(study)
        assert (sum(after.trials), after.known) == (16, 16)
        assert set(after.seconds) == {0.0}
    hurried = SETTINGS.model_copy(update={"max_hours": 1e-9})
    with Studying("digits", hurried, ledger, jobs=1) as studying:
        assert studying.plan(study).left_out == (), "what is known takes no time"


def test_what_does_not_fit_is_left_out_and_named(tmp_path: Path) -> None:
    settings = StudySettings(scale="smoke", max_hours=1e-9)
    result = run_study(written(tmp_path), "digits", settings=settings, jobs=1)
    assert result.arms == ()
    assert len(result.left_out) == 4
    generous = StudySettings(scale="smoke", max_hours=10)
    with Studying("digits", generous, jobs=1) as studying:
        assert studying.plan(written(tmp_path)).question.left_out == ()


@pytest.mark.parametrize(("jobs", "kept"), [(1, 2), (2, 4)])
def test_what_fits_depends_on_the_trials_at_a_time(jobs: int, kept: int, tmp_path: Path) -> None:
    """Four arms of four trials of 100 seconds each, in 1100 seconds."""

    class Even:
        def seconds(self, config: TrialConfig) -> float:
            return 100.0

    with Studying("digits", StudySettings(scale="smoke", max_hours=1100 / 3600), jobs=jobs) as studying:
        studying._speed = cast(CostModel, Even())
        plan = studying.plan(written(tmp_path))
    assert (len(plan.arms), len(plan.left_out)) == (kept, 4 - kept)
    assert plan.seconds == (400.0,) * kept


def test_a_search_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"max_hours": 1e-6})
    events: list[Event] = []
    result = run_study("regimes", "digits", settings=short, ledger=tmp_path / "l.db", jobs=1, on_event=events.append)
    assert (result.arms, result.limit, events) == ((), None, [])
    assert result.left_out


def test_the_search_of_a_study_has_the_baseline_of_its_arms(tmp_path: Path) -> None:
    constant = SETTINGS.model_copy(update={"recipe": {"schedule": "constant", "schedule_options": {}}})
    with Studying("digits", constant, tmp_path / "l.db", 1) as studying:
        question = studying._with_search(studying.plan("regimes", timed=False))
    assert question.search is not None
    assert question.search.baseline == question.facts.baseline
    assert question.search.baseline.schedule == "constant"


def test_a_length_in_steps_is_that_of_the_baseline_s_batch_size(tmp_path: Path) -> None:
    steps = SETTINGS.model_copy(update={"epochs": Duration(200, "steps")})
    with Studying("digits", steps, tmp_path / "l.db", 1) as studying:
        plan = studying.plan(written(tmp_path), timed=False)
        size = studying.facts.batch_size
    assert {str(arm.epochs) for arm in plan.arms} == {f"{200 * size} examples"}


def test_a_workload_that_is_an_object_is_planned_for_one_worker(tmp_path: Path) -> None:
    with Studying(digits(), SETTINGS, tmp_path / "l.db", 2) as studying:
        assert studying.worker_count == 1


def test_a_study_that_is_gone_takes_no_other_with_it(tmp_path: Path) -> None:
    run_study(written(tmp_path), "digits", settings=SETTINGS, ledger=tmp_path / "l.db", jobs=1)
    with Ledger.open(tmp_path / "l.db") as ledger:
        kept = ledger.document("study", "mine@digits")
        assert kept is not None
        gone = {**json.loads(kept), "study": "nowhere.py:STUDY", "toml": ""}
        ledger.put_document("study", "gone@digits", json.dumps(gone))
        assert [result.study.name for result in kept_studies(ledger)] == ["mine"]


def test_a_batch_size_above_the_data_is_found_before_any_training(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE.format(name="mine", solvers='["momentum"]').replace("250", "5000"))
    events: list[Event] = []
    with pytest.raises(InputError, match=r"5000"):
        run_study(str(path), "digits", settings=SETTINGS, ledger=tmp_path / "l.db", jobs=1, on_event=events.append)
    assert not events


def test_a_recipe_field_that_cannot_be_is_bad_input(tmp_path: Path) -> None:
    wrong = StudySettings(scale="smoke", recipe={"label_smoothing": 3})
    with pytest.raises(InputError, match="label_smoothing"):
        run_study(written(tmp_path), "digits", settings=wrong)


def test_facts_say_whether_the_model_drops_anything_with_the_recipe_asked_for() -> None:
    dropping = replace(digits(), make_model=lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 10)))
    assert not facts_of(digits(), SETTINGS).dropout
    assert facts_of(dropping, SETTINGS).dropout
    assert not facts_of(dropping, SETTINGS.model_copy(update={"recipe": {"dropout": 0.0}})).dropout
    with pytest.raises(InputError, match=r"recipe\.dropout is 0\.2, and the model DigitsCNN has no dropout layer"):
        facts_of(digits(), SETTINGS.model_copy(update={"recipe": {"dropout": 0.2}}))


def test_a_solver_that_is_none_is_found_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="momentum"):
        run_study(written(tmp_path, solvers='["momentun"]'), "digits", settings=SETTINGS)
