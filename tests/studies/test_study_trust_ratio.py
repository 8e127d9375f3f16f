"""The judges of trust-ratio on made measurements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from study_worlds import judged, result

from batchlimit.studies.arm import Arm
from batchlimit.studies.results import StudyResult
from batchlimit.studies.trust_ratio import BOUNDED, LAYER_WISE, PROBE, between_layers, between_steps

STEPS, LAYERS, BATCH, BOUND = "step to step", "layer to layer", "batch size to batch size", "a bound holds"


def world(
    ratio: Callable[[Arm, str, int], float], share: float = 0.0, scale: str = "quick", lost: bool = False
) -> StudyResult:
    def measured(arm: Arm, seed: int) -> dict[str, Any]:
        wobble = 1 + 0.01 * seed
        layers = {name: [ratio(arm, name, step) * wobble for step in (1, 2, 4)] for name in ("conv", "dense")}
        return {PROBE: {"updates": [1, 2, 4], "layers": layers, "share_at_upper": [share, 0.0, None]}}

    return result("trust-ratio", lambda arm: None if lost else 0.9, measured=measured, scale=scale)


def test_ratios_that_differ_everywhere() -> None:
    def ratio(arm: Arm, layer: str, step: int) -> float:
        return (5.0 if layer == "conv" else 1.0) * step * (3.0 if arm.labels["batch"] == "full" else 1.0)

    found = world(ratio, share=0.5)
    assert {judged(found, text).agreement for text in (STEPS, LAYERS, BATCH, BOUND)} == {"agrees"}


def test_ratios_that_are_all_the_same() -> None:
    found = world(lambda arm, layer, step: 1.0)
    assert {judged(found, text).agreement for text in (STEPS, LAYERS, BATCH, BOUND)} == {"differs"}


def test_between_two_answers() -> None:
    def ratio(arm: Arm, layer: str, step: int) -> float:
        return 4.0 if layer == "conv" and arm.labels["batch"] == "full" else 1.0

    found = world(ratio)
    assert judged(found, LAYERS).agreement == "undecided"
    assert judged(found, LAYERS).reason == "of 4 batch sizes 1 at least twofold, 3 less than twofold"
    assert judged(found, BATCH).agreement == "undecided"
    assert judged(found, BATCH).reason == "in some layers, but not in most"


def test_the_figure_of_bounds_is_of_adam_alone() -> None:
    found = world(lambda arm, layer, step: 1.0)
    (spec,) = [spec for spec in found.study.figures if spec.name == "bounds"]
    assert [arm.labels["solver"] for arm in found.select(spec.only)] == [LAYER_WISE, BOUNDED]


def test_diverged_and_smoke() -> None:
    for found in (world(lambda *_: 1.0, lost=True), world(lambda *_: 1.0, scale="smoke")):
        assert {claim.judge(found).agreement for claim in found.study.claims} == {"not comparable"}


def test_spreads_of_known_ratios() -> None:
    layers: dict[str, list[float | None]] = {"a": [2.0, 8.0, None], "b": [16.0, 16.0, 16.0]}
    found = between_layers(layers)
    assert found is not None
    assert abs(found - 4.0) < 1e-9
    steps = between_steps(layers)
    assert steps is not None
    assert abs(steps - 2.0) < 1e-9
    assert between_layers({"a": [1.0]}) is None
    assert between_steps({"a": [1.0]}) is None


def test_the_1_of_biases_that_are_still_0_is_not_counted() -> None:
    layers: dict[str, list[float | None]] = {"bias": [1.0, 0.004, 0.002], "weight": [0.004, 0.004, 0.001]}
    steps = between_steps(layers)
    assert steps is not None
    assert abs(steps - (2 * 4) ** 0.5) < 1e-9
    assert between_steps({"bias": [0.5, 1.0]}) is not None, "a 1 later on is a ratio"
