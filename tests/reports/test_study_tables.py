"""The tables of studies: cells, the paper's figures, claims, comparisons, and what it cost."""

from __future__ import annotations

import dataclasses
import tomllib

from sample_finding import digits_finding
from sample_study import FIGURES, STUDY, effort, empty_result, sample_result

from batchlimit.analysis.intervals import paired_test
from batchlimit.config import TrialConfig
from batchlimit.durations import Duration
from batchlimit.reports import study_account, study_comparisons, study_tables
from batchlimit.reports.figures.studies import draw
from batchlimit.reports.verdict import UNFINISHED
from batchlimit.studies.results import ArmResult
from batchlimit.studies.study import Study


def test_a_table_has_each_cell_with_interval_seeds_and_the_papers_figure() -> None:
    result = sample_result()
    table = study_tables.table(result, STUDY.tables[0])
    assert table.heads == ("batch size 16", "batch size 128", "batch size 256", "batch size 512", "batch size 1,000")
    rows = dict(table.rows)
    assert list(rows) == ["momentum", "lars", "lamb"]
    lost = rows["momentum"][3]
    arm = result.select({"solver": "momentum", "batch size": 512})[0]
    assert lost.estimate == arm.estimate()
    assert (lost.diverged, lost.status, lost.paper) == (1, "measured", "diverges")
    assert f"n = {arm.estimate().n}" in lost.text
    assert (rows["momentum"][4].text, rows["momentum"][4].diverged) == ("diverged", 5)
    assert rows["lamb"][2].text == "not finished"
    assert rows["lars"][2].text == ""
    assert rows["lars"][3].paper == "99.4 %"
    assert [cell.best for cell in (rows["momentum"][4], rows["lars"][4], rows["lamb"][4])] == [False, False, True]
    assert "do not compare" in " ".join(table.notes)


def test_where_the_setting_is_the_papers_numbers_compare() -> None:
    result = sample_result()
    theirs = dataclasses.replace(result, facts=result.facts.model_copy(update={"workload": "mnist"}))
    assert "do not compare" not in " ".join(study_tables.table(theirs, STUDY.tables[0]).notes)


def test_less_loss_is_the_best_of_its_column() -> None:
    rows = dict(study_tables.table(sample_result(), STUDY.tables[1]).rows)
    means = {name: cells[0].estimate.mean for name, cells in rows.items() if cells[0].estimate is not None}
    best = [name for name, cells in rows.items() if cells[0].best]
    assert [means[name] for name in best] == [min(value for value in means.values() if value is not None)]
    assert all(not cells[0].paper for cells in rows.values())


def test_claims_are_judged_and_counted() -> None:
    rows = study_tables.claim_rows(sample_result())
    assert [row.agreement for row in rows] == ["agrees", "differs", "agrees", "not comparable", "undecided"]
    counts = study_tables.agreement_counts(rows)
    assert study_tables.agreement_words(counts) == "2 agree, 1 differs, 1 undecided, 1 not comparable"
    assert rows[0].paper == "99.3 % against diverge"
    assert "n = 4, 1 diverged" in rows[0].ours


def test_the_papers_figures_stand_beside_ours_or_alone() -> None:
    rows = study_tables.paper_rows(sample_result())
    assert [(row.value, bool(row.ours), row.setting) for row in rows] == [
        ("99.4 %", True, "MNIST, LeNet"),
        ("diverges", True, "MNIST, LeNet"),
        ("50.0 %", False, "ImageNet"),
    ]


def test_comparisons_are_paired_all_else_equal_and_corrected_for_their_number() -> None:
    result = sample_result()
    rows = study_comparisons.comparisons(result)
    assert len(rows) == 12
    assert {row.where for row in rows} == {"batch size 16", "batch size 128", "batch size 512", "batch size 1,000"}
    known = [row for row in rows if row.p_value is not None]
    assert len(known) == 9
    smallest = min(known, key=lambda row: row.p_value or 0)
    assert smallest.corrected == min(1.0, 9 * (smallest.p_value or 0))
    one, other = (result.select({"solver": name, "batch size": 128})[0] for name in ("momentum", "lars"))
    test = paired_test(one.by_seed(), other.by_seed())
    row = next(row for row in rows if (row.first, row.second, row.where) == ("momentum", "lars", "batch size 128"))
    assert (row.difference, row.p_value) == (test.difference, test.p_value)
    verdicts = {(row.first, row.second): row.verdict for row in rows if row.where == "batch size 1,000"}
    assert verdicts == {
        ("momentum", "lars"): "momentum diverged",
        ("momentum", "lamb"): "momentum diverged",
        ("lars", "lamb"): "one shared seed decides nothing",
    }
    assert "12 comparisons" in study_comparisons.comparison_note(rows)
    assert "not decided is not equal" in study_comparisons.comparison_note(rows)


def test_a_clear_difference_is_decided_whichever_way_is_better() -> None:
    result = sample_result(effort=sample_result().effort)
    one, other = result.select({"batch size": 16})[:2]
    far = [
        dataclasses.replace(
            arm,
            final=tuple(
                arm.final[0].model_copy(
                    update={
                        "config": arm.final[0].config.updated({"seed": seed}),
                        "test": arm.final[0].test.model_copy(update={"metric": level + seed / 1000}),  # type: ignore[union-attr]
                    }
                )
                for seed in range(1, 9)
            ),
        )
        for arm, level in ((one, 0.9), (other, 0.5))
    ]
    pair = dataclasses.replace(result, arms=tuple(far))
    assert [row.verdict for row in study_comparisons.comparisons(pair)] == ["momentum is better"]
    down = dataclasses.replace(pair, facts=pair.facts.model_copy(update={"metric_direction": "down"}))
    assert [row.verdict for row in study_comparisons.comparisons(down)] == ["lars is better"]


def test_every_arms_recipe_can_be_pasted() -> None:
    result = sample_result()
    rows = study_tables.arm_rows(result)
    assert len(rows) == 13
    for row, arm in zip(rows, result.arms, strict=True):
        if arm.chosen is None:
            assert row.toml == ""
            continue
        config = TrialConfig.model_validate(tomllib.loads(row.toml))
        assert (config.recipe, config.batch_size, str(config.budget)) == (arm.chosen, arm.arm.batch_size, "20 epochs")


def test_the_cost_counts_the_search_too_and_says_where_and_when() -> None:
    result = sample_result()
    line = study_account.cost_line(result)
    assert study_account.trial_count(result) == len(result.records) + 164
    assert f"{study_account.trial_count(result)} trials" in line
    assert "AMD EPYC 9B45, batchlimit 0.1.0, torch 2.13.0. 2026-11-22." in line
    (first, *rest) = result.arms
    later = first.final[-1].model_copy(update={"started": "2026-11-24T00:10:00+00:00"})
    gone_on = dataclasses.replace(result, arms=(dataclasses.replace(first, final=(*first.final[:-1], later)), *rest))
    assert "2026-11-22 to 2026-11-24." in study_account.cost_line(gone_on)
    nothing = sample_result(study=Study(name="records", question="How fast?"), arms=(), limit=None)
    assert study_account.cost_line(nothing) == "Nothing was trained."
    assert study_account.state_words(nothing) == "finished"


def test_what_is_missing_is_said() -> None:
    result = sample_result()
    assert study_account.state_words(result) == "1 arm of 13 not finished"
    assert not study_account.is_finished(result)
    short = sample_result(arms=result.arms[:-1], left_out=(result.arms[-1].arm,))
    assert study_account.state_words(short) == "1 arm left out for time"
    assert study_account.is_finished(sample_result(arms=result.arms[:-1]))
    assert study_account.state_words(empty_result()) == "12 arms of 12 not finished"


def test_a_search_that_was_stopped_is_missing() -> None:
    study = dataclasses.replace(STUDY, search=lambda facts, effort: {})
    whole = sample_result(study=study, arms=sample_result().arms[:-1])
    assert study_account.state_words(whole) == "finished"
    for limit in (None, digits_finding(problem=UNFINISHED)):
        stopped = dataclasses.replace(whole, limit=limit)
        assert study_account.state_words(stopped) == "the search for the limit is not finished"
        assert not study_account.is_finished(stopped)
        assert draw(stopped, FIGURES[-1]) is None
    assert draw(whole, FIGURES[-1]) is not None


def test_a_machine_is_named_once_with_its_commits() -> None:
    result = sample_result()
    trained = [arm for arm in result.arms if arm.final]

    def ran(place: int) -> ArmResult:
        environment = {"cpu": "X1", "batchlimit": "0.1.0", "torch": "2.13.0", "commit": f"c{place}"}
        own = trained[place]
        return dataclasses.replace(
            own, tuning=(), final=tuple(one.model_copy(update={"environment": environment}) for one in own.final)
        )

    for count, said in ((1, "commit c0"), (3, "commits c0, c1, c2"), (6, "commits c0, c1, c2, c3, and 2 more")):
        mine = dataclasses.replace(result, arms=tuple(map(ran, range(count))), limit=None)
        assert study_account.hardware(mine) == f"X1, batchlimit 0.1.0, torch 2.13.0, {said}"


def test_one_epoch_and_one_seed_are_said_in_the_singular() -> None:
    result = sample_result()
    once = {"seeds": 1, "epochs": Duration(1, "epochs")}
    arms = tuple(dataclasses.replace(arm, arm=arm.arm.updated(once)) for arm in result.arms)
    few = dataclasses.replace(result, arms=arms, effort=effort(epochs=Duration(1, "epochs")))
    line = study_account.effort_line(few)
    assert "1 epoch as the usual length" in line
    assert "measured with 1 fresh seed on" in line
    assert {row.epochs for row in study_tables.arm_rows(few)} == {"1 epoch"}
