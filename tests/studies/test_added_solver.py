"""A solver that a user registered takes part in the studies that compare all of them, with the same budget."""

from __future__ import annotations

import pytest

from batchlimit.config import Recipe
from batchlimit.durations import Duration
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
