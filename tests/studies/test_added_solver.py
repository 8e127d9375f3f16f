"""A solver that a user registered takes part in the studies that compare all of them, with the same budget."""

from __future__ import annotations

import pytest
from study_worlds import facts_of, result

from batchlimit.config import Recipe
from batchlimit.durations import Duration
from batchlimit.reports.markdown import page_text
from batchlimit.reports.study_account import refusals
from batchlimit.studies import studies
from batchlimit.studies.facts import Effort, Facts

FACTS = Facts(workload="w", dataset_size=1000, batch_size=16, baseline=Recipe(lr=0.1), epochs=30)
EFFORT = Effort(epochs=Duration(30, "epochs"))


@pytest.mark.parametrize("name", ["solvers", "beyond"])
def test_an_added_solver_is_tuned_like_the_others(name: str) -> None:
    study = studies.get(name)
    without = study.arms(FACTS.model_copy(update={"solvers": ("momentum", "lamb", "muon")}), EFFORT)
    added = study.arms(FACTS.model_copy(update={"solvers": ("momentum", "signsgd")}), EFFORT)
    own = [arm for arm in added if arm.labels.get("solver") == "signsgd"]
    assert own
    assert {arm.budget for arm in own} == {EFFORT.budget}
    assert [arm for arm in added if arm not in own] == list(without)


def test_solvers_that_cannot_train_the_model_are_named_where_solvers_are_compared() -> None:
    facts = facts_of(refused={"kfac": "kfac found no layer to factor."})
    compared = result("solvers", lambda arm: 0.9, facts=facts)
    words = "Not here, for it cannot train this model: kfac found no layer to factor."
    assert refusals(compared) == [words]
    assert words in page_text(compared, [], "")
    assert refusals(result("sensitivity", lambda arm: 0.9, facts=facts)) == []
