"""The judges of signal-to-noise on made measurements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from study_worlds import judged, result

from batchlimit.studies.arm import Arm
from batchlimit.studies.results import StudyResult
from batchlimit.studies.signal_to_noise import PROBE, measured_limit

FULL = 60_000
GROWS, PREDICTS = "grows with the batch size", "predicts the limit"


def world(
    snr: Callable[[int], float] | None = None,
    scale_of_noise: float = 2000.0,
    limit: int = 4096,
    scale: str = "quick",
    failing: float | str | None = 0.9,
) -> StudyResult:
    def measured(arm: Arm, seed: int) -> dict[str, Any]:
        variance = scale_of_noise * (1 + 0.01 * seed)
        share = 1 / arm.batch_size - 1 / FULL
        power = 1.0 if snr is None or share == 0 else snr(arm.batch_size) * variance * share
        # The noise hides the gradient in two looks of five; a mean over the other three would be far too high.
        powers = [2 * power, -power, 3 * power, -2 * power, 3 * power] if snr else [power] * 5
        looks = {"updates": [1, 2, 3, 4, 5], "gradient_sq": powers, "variance": [variance] * 5}
        return {PROBE: looks, "steps": 5}

    def metric(arm: Arm) -> float | str | None:
        return 0.99 if arm.batch_size <= limit else failing

    return result("signal-to-noise", metric, measured=measured, scale=scale)


@pytest.mark.parametrize(
    ("snr", "expected", "said"),
    [
        (lambda b: b / 100, "agrees", "like B^1 (1 to 1)"),
        (lambda b: 100 / b, "differs", "like B^-1 (-1 to -1)"),
        (lambda b: -1.0 if b == 256 else 1.0, "undecided", ""),
    ],
)
def test_growth(snr: Callable[[int], float], expected: str, said: str) -> None:
    found = judged(world(snr), GROWS)
    assert found.agreement == expected
    assert found.ours.startswith(said)


@pytest.mark.parametrize(("noise", "expected"), [(2000.0, "agrees"), (100.0, "differs"), (1e6, "differs")])
def test_prediction_against_the_limit(noise: float, expected: str) -> None:
    found = judged(world(None, noise), PREDICTS)
    assert found.agreement == expected
    assert "measured 4,096" in found.ours


def test_a_limit_that_was_not_met_lies_at_the_largest_or_above() -> None:
    found = world(None, 1e6, limit=60_000)
    assert measured_limit(found) == (60_000, True)
    assert judged(found, PREDICTS).agreement == "agrees"


def test_diverged_counts_as_beyond_the_limit_and_unfinished_as_unknown() -> None:
    assert measured_limit(world(None, failing=None)) == (4096, False)
    waiting = world(None, failing="unfinished")
    assert measured_limit(waiting) is None
    assert judged(waiting, PREDICTS).agreement == "not comparable"


def test_noise_that_hides_the_gradient_predicts_nothing() -> None:
    found = world(None, limit=4096)
    hidden = tuple(
        type(arm)(
            arm.arm,
            arm.tuning,
            arm.chosen,
            tuple(
                r.model_copy(update={"measurements": {PROBE: {**r.measurements[PROBE], "gradient_sq": [-1.0] * 5}}})
                for r in arm.final
            ),
        )
        for arm in found.arms
    )
    assert judged(type(found)(found.study, found.facts, found.effort, hidden), PREDICTS).agreement == "undecided"


def test_smoke_never_judges() -> None:
    found = world(None, scale="smoke")
    assert {claim.judge(found).agreement for claim in found.study.claims} == {"not comparable"}
