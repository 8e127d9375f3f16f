"""The claims of the study 'regimes': what the search found, against the paper's Table 2."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_study import around, facts_of, result_of

from batchlimit.findings import BatchSizeFinding, Boundary, LimitFinding
from batchlimit.studies.regimes import STUDY, boundary, full_batch_is_huge, techniques_reach_further
from batchlimit.studies.results import StudyResult


def found(small: Boundary, large: Boundary, **more: Any) -> StudyResult:
    limit = LimitFinding(
        workload="mnist",
        metric_name="accuracy",
        metric_direction="up",
        dataset_size=60_000,
        training_budget="30 epochs",
        protocol="paper",
        search="adaptive",
        tuner="grid",
        techniques="paper",
        recipes=("lamb",),
        budget=6,
        seeds=(5, 12),
        small_up_to=small,
        large_up_to=large,
        **more,
    )
    everything = result_of(STUDY, lambda arm: around(0.9), facts=facts_of("mnist"))
    return replace(everything, limit=limit)


@pytest.mark.parametrize(
    ("value", "next_fail", "agreement"),
    [
        (1024, 2048, "agrees"),
        (2048, 4096, "differs"),
        (512, 1024, "differs"),
        (None, 256, "differs"),
        (1024, 4096, "undecided"),
        (512, 2048, "undecided"),
        (None, None, "undecided"),
        (1024, None, "undecided"),
    ],
)
def test_a_boundary_is_compared_with_the_paper_s(value: int | None, next_fail: int | None, agreement: str) -> None:
    result = found(Boundary(value=value, next_fail=next_fail), Boundary())
    assert boundary("small", 1024, 2048)(result).agreement == agreement


def test_techniques_reach_further_than_linear_scaling() -> None:
    small = Boundary(value=1024, next_fail=2048)
    assert techniques_reach_further(found(small, Boundary(value=8192, next_fail=16_384))).agreement == "agrees"
    assert techniques_reach_further(found(small, Boundary(value=512, next_fail=1024))).agreement == "differs"
    assert techniques_reach_further(found(Boundary(value=60_000), Boundary(value=60_000))).agreement == "differs"
    assert techniques_reach_further(found(small, Boundary(value=1024, next_fail=4096))).agreement == "undecided"


def test_the_full_batch_is_huge_or_it_is_not() -> None:
    for regime, agreement in (("huge", "agrees"), ("large", "differs"), ("small", "differs"), ("unknown", "undecided")):
        full = BatchSizeFinding.model_validate({"batch_size": 60_000, "regime": regime, "is_full": True})
        assert full_batch_is_huge(found(Boundary(), Boundary(), full=full)).agreement == agreement


def test_a_search_without_a_verdict_is_not_compared() -> None:
    result = found(Boundary(), Boundary(), problem="The baseline diverged.")
    assert techniques_reach_further(result).agreement == "not comparable"
    assert full_batch_is_huge(replace(result, limit=None)).agreement == "not comparable"
    assert boundary("large", 8192, 16_384)(replace(result, limit=None)).agreement == "not comparable"
