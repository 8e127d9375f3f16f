"""The state of a running search as it is shown: from events to rows and lines."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from batchlimit.cli.board import Board
from batchlimit.cli.conclusion import conclude, finding_table, measured, plus_minus
from batchlimit.cli.searching import SearchProgress
from batchlimit.config import Recipe, TrialConfig
from batchlimit.durations import Duration
from batchlimit.findings import (
    BaselineFinding,
    BatchSizeFinding,
    Boundary,
    Cost,
    Decision,
    Estimate,
    LimitFinding,
    Measurement,
    Tuned,
)
from batchlimit.records import Scores, TrialRecord
from batchlimit.tuning.driver import Event


def event(
    purpose: str, batch_size: int, metric: float | None = None, *, kind: str = "finished", seed: int = 0, done: int = 1
) -> Event:
    config = TrialConfig(workload="toy", batch_size=batch_size, budget=Duration(1, "epochs"), seed=seed)
    scores = None if metric is None else Scores(loss=1.0, metric=metric)
    status = "diverged" if metric is None else "complete"
    record = None if kind == "planned" else TrialRecord(config=config, status=status, selection=scores, test=scores)
    return Event(kind, config, record, purpose, done, None, None)  # type: ignore[arg-type]


def measurement(
    name: str, batch_size: int, mean: float | None, decision: Decision, *, diverged: int = 0
) -> Measurement:
    estimate = Estimate() if mean is None else Estimate(mean=mean, low=mean - 0.002, high=mean + 0.002, n=5)
    return Measurement(
        name=name,
        batch_size=batch_size,
        recipe=Recipe(),
        seeds=5,
        diverged=diverged,
        metric=estimate,
        loss=Estimate(),
        decision=decision,
        metric_decision=decision,
    )


@pytest.fixture
def finding() -> LimitFinding:
    return LimitFinding(
        workload="toy",
        metric_name="accuracy",
        metric_direction="up",
        metric_percent=True,
        dataset_size=1000,
        training_budget="3 epochs",
        protocol="validation",
        search="adaptive",
        tuner="grid",
        techniques="paper",
        recipes=("lars",),
        budget=8,
        seeds=(5, 20),
        baseline=BaselineFinding(
            batch_size=10,
            recipe=Recipe(),
            metric=Estimate(mean=0.98, low=0.979, high=0.981, n=10),
            loss=Estimate(),
            target_metric=0.975,
        ),
        small_up_to=Boundary(value=20, next_fail=40),
        large_up_to=Boundary(value=40, next_fail=1000),
        by_batch_size=(
            BatchSizeFinding(batch_size=20, regime="small", linear=measurement("linear scaling", 20, 0.98, "pass")),
            BatchSizeFinding(
                batch_size=40,
                regime="large",
                linear=measurement("linear scaling", 40, None, "fail", diverged=5),
                best=measurement("lars", 40, 0.979, "pass"),
            ),
            BatchSizeFinding(
                batch_size=1000,
                regime="huge",
                is_full=True,
                best=measurement("lars", 1000, 0.9, "fail", diverged=2),
            ),
        ),
        cost=Cost(trials=40, samples=40_000, seconds=12.0),
    )


def drawn(board: Board, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(board.table())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_stages_begin_and_end_with_their_purpose() -> None:
    board = Board(percent=True)
    assert board.take(event("baseline at batch size 10", 10, 0.9)) is None
    assert board.take(event("baseline at batch size 10", 10, 0.92, seed=1)) is None
    ended = board.take(event("linear scaling at batch size 40", 40, kind="planned"))
    assert ended is not None
    assert (ended.kind, ended.batch_size, len(ended.records)) == ("baseline", 10, 2)
    assert board.line(ended) == "baseline at batch size 10: 91.00 % ± 12.71 (2 trials)"


def test_recipes_are_read_from_purposes() -> None:
    board = Board()
    board.take(event("tuning tuned momentum at batch size 1,024", 1024, 0.5))
    board.take(event("verifying tuned momentum at batch size 1,024", 1024, 0.5))
    assert [(stage.kind, stage.recipe) for stage in board.stages] == [
        ("tuning", "tuned momentum"),
        ("verifying", "tuned momentum"),
    ]


@pytest.mark.parametrize(("direction", "best"), [("up", "0.9"), ("down", "0.1")])
def test_the_best_of_a_tuning_is_by_direction(direction: str, best: str) -> None:
    board = Board(direction=direction)
    for seed, metric in enumerate((0.9, 0.1, None)):
        board.take(event("tuning lars at batch size 40", 40, metric, seed=seed))
    assert board.result(board.stages[0]) == f"best {best} on selection"


def test_lost_trials_are_told() -> None:
    board = Board(percent=True)
    for seed, metric in enumerate((0.9, 0.9, None)):
        board.take(event("verifying lars at batch size 40", 40, metric, seed=seed))
    assert board.result(board.stages[0]) == "90.00 % ± 0.00 (1 diverged)"
    board.take(event("verifying lamb at batch size 40", 40))
    assert board.result(board.stages[1]) == "every trial diverged"


def test_why_a_trial_failed_is_told() -> None:
    board = Board(percent=True)
    for seed, metric in enumerate((0.9, 0.9, None)):
        shown = event("verifying lars at batch size 40", 40, metric, seed=seed)
        if metric is None and shown.record is not None:
            failed = shown.record.model_copy(update={"status": "failed", "reason": "out of memory (2 attempts)"})
            shown = replace(shown, record=failed)
        board.take(shown)
    assert board.result(board.stages[0]) == "90.00 % ± 0.00 (1 failed: out of memory (2 attempts))"


def test_reused_trials_are_counted() -> None:
    board = Board()
    board.take(event("baseline at batch size 10", 10, 0.5, kind="reused"))
    assert board.line(board.stages[0]).endswith("(1 trial, 1 from the ledger)")
    assert "1 from the ledger" in board.status()


def test_the_status_tells_trials_and_time_left() -> None:
    board = Board(note="loading")
    assert board.status() == "loading"
    one = event("baseline at batch size 10", 10, 0.5)
    board.take(Event(one.kind, one.config, one.record, one.purpose, 3, 12, 200.0))
    assert board.status() == "baseline at batch size 10 · 3 of 12 trials · about 3.3 min left"


def test_the_table_has_one_row_a_batch_size_with_decisions(finding: LimitFinding) -> None:
    board = Board(percent=True)
    board.take(event("baseline at batch size 10", 10, 0.98))
    board.take(event("linear scaling at batch size 40", 40))
    board.take(event("tuning lars at batch size 1,000", 1000, 0.9))
    board.take(event("verifying lars at batch size 40", 40, 0.979))
    board.learn(finding)
    rows = drawn(board)
    assert "98.00 %  baseline" in rows[1]
    assert "every trial diverged  fail" in rows[2]
    assert "97.90 %  pass  lars" in rows[2]
    assert "tuning lars: 1 trial" in rows[3]
    assert len(rows) == 4


def test_a_judged_stage_is_told_once_with_its_decision(
    finding: LimitFinding, capsys: pytest.CaptureFixture[str]
) -> None:
    with SearchProgress(judged=True) as progress:
        progress.event(event("linear scaling at batch size 20", 20, 0.98))
        progress.event(event("verifying lars at batch size 40", 40, 0.979))
        assert capsys.readouterr().err == ""
        progress.finding(finding)
        assert capsys.readouterr().err == "linear scaling at batch size 20: 0.98, pass (1 trial)\n"
    assert capsys.readouterr().err == "verifying lars at batch size 40: 0.979, pass (1 trial)\n"


def test_an_unjudged_stage_is_told_as_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with SearchProgress() as progress:
        progress.event(event("tuning at batch size 20", 20, 0.98))
        progress.event(event("measuring the best on the test split", 20, 0.979))
        assert capsys.readouterr().err == "tuning at batch size 20: best 0.98 on selection (1 trial)\n"


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with SearchProgress(quiet=True) as progress:
        progress.event(event("tuning at batch size 20", 20, 0.98))
    assert capsys.readouterr() == ("", "")


def test_the_final_table_fits_80_columns_and_tells_every_size(finding: LimitFinding) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(finding_table(finding))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    # A long cell goes on in the next line, whose first columns are empty.
    rows = [row for row in text.splitlines()[2:] if row[:5].strip()]
    assert [row.split()[0] for row in rows] == ["10", "20", "40", "1,000"]
    assert "diverged  fail" in rows[2]
    assert "97.90 % ± 0.20  pass" in rows[2]
    assert "90.00 % ± 0.20 (2" in rows[3]


def test_seeds_whose_process_died_did_not_diverge() -> None:
    died = measurement("lars", 1000, None, "undecided", diverged=5)
    assert measured(died, percent=True).plain == "failed  undecided"
    some = measurement("lars", 1000, 0.9, "undecided", diverged=2)
    assert measured(some, percent=True).plain == "90.00 % ± 0.20 (2 failed)  undecided"


def test_a_size_at_which_all_tuning_was_in_vain_says_so(finding: LimitFinding) -> None:
    vain = BatchSizeFinding(batch_size=500, tried=(Tuned(name="lars", trials=4, best=None, recipe=None),))
    console = Console(file=io.StringIO(), width=80)
    console.print(finding_table(finding.model_copy(update={"by_batch_size": (vain,), "full": None})))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "none near the target" in next(row for row in text.splitlines() if row.split()[:1] == ["500"])


def test_the_conclusion_ends_with_the_report(finding: LimitFinding, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(finding, ledger="a/ledger.db", report=Path("a/report.html"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("On toy, ")
    assert lines[-2:] == ["Ledger: a/ledger.db", "Report: a/report.html"]
    assert any(line.startswith("Cost: 40 trials, 40,000 training examples") for line in lines)


def test_without_a_verdict_there_is_no_table(finding: LimitFinding, capsys: pytest.CaptureFixture[str]) -> None:
    broken = finding.model_copy(update={"problem": "All diverged.", "baseline": None})
    conclude(broken, ledger="a/ledger.db", report=Path("a/report.html"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "No verdict for toy: All diverged."
    assert "batch size" not in "".join(lines)
    assert [line.split(":")[0] for line in lines[1:] if line] == ["Cost", "Ledger", "Report"]


@pytest.mark.parametrize(
    ("estimate", "percent", "text"),
    [
        (Estimate(), True, "-"),
        (Estimate(mean=0.5, n=1), True, "50.00 %"),
        (Estimate(mean=0.5, low=0.4, high=0.6, n=5), True, "50.00 % ± 10.00"),
        (Estimate(mean=0.5, low=0.4, high=0.6, n=5), False, "0.5 ± 0.1"),
    ],
)
def test_means_and_intervals(estimate: Estimate, percent: bool, text: str) -> None:
    assert plus_minus(estimate, percent=percent) == text
