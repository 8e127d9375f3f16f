"""The predicted critical batch size: on curves whose answer is known, and from records."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batchlimit.analysis.critical_batch import (
    CriticalBatch,
    NoiseCurve,
    critical_batch,
    look_weights,
    mean_snr,
    noise_curve,
    predicted_snr,
)
from batchlimit.config import TrialConfig
from batchlimit.errors import InputError
from batchlimit.records import TrialRecord


def curve(
    scale_of, batch_size: int, steps: int = 1000, noise: float = 0.0, seed: int = 0, dataset_size: int | None = None
) -> NoiseCurve:
    """Looks at a training whose noise scale at progress p is scale_of(p); |G|^2 is 1 / scale, tr(Sigma) 1."""
    share = 1 / batch_size - (1 / dataset_size if dataset_size else 0)
    random = np.random.default_rng(seed)
    progress, scales = 0.0, []
    for _ in range(steps):
        scales.append(scale_of(progress))
        progress += 1 / (1 + scales[-1] * share) / steps
    updates = sorted({round(steps ** (k / 24)) for k in range(25)} | set(range(10, steps + 1, 10)))
    seen = [1 / scales[u - 1] + noise * random.normal() for u in updates]
    return NoiseCurve(
        batch_size=batch_size,
        dataset_size=dataset_size,
        steps=steps,
        updates=updates,
        gradient_sq=seen,
        variance=[1.0] * len(updates),
    )


def test_a_constant_scale_is_found_at_any_batch_size() -> None:
    for batch_size in (8, 64, 4096):
        found = critical_batch([curve(lambda p: 100.0, batch_size)])
        assert found.batch_size == pytest.approx(100)
        assert (found.low, found.high) == (pytest.approx(100), pytest.approx(100))


def test_it_predicts_the_number_of_steps_of_other_batch_sizes() -> None:
    """The scale grows along the training; S (1 + B_crit / B) holds for every B, with S the steps without noise."""

    def scale_of(progress: float) -> float:
        return 20 + 500 * progress

    def steps_to(goal: float, batch_size: float) -> float:
        grid = np.linspace(0, goal, 20001)
        return float(np.trapezoid([1 + scale_of(p) / batch_size for p in grid], grid)) * 1000

    for batch_size in (16, 128, 2048):
        seen = curve(scale_of, batch_size)
        reached = sum(1 / (1 + 1 / (s * batch_size)) for s in _every_gradient_sq(scale_of, batch_size)) / 1000
        found = critical_batch([seen]).batch_size
        assert found is not None
        for other in (16, 64, 1024):
            assert reached * 1000 * (1 + found / other) == pytest.approx(steps_to(reached, other), rel=0.02)


@pytest.mark.parametrize("batch_size", [128, 512, 1000])
def test_batches_that_are_much_of_the_data_set_have_less_noise(batch_size: int) -> None:
    """Each moment counts by its progress: a scale of 20 + 500 p up to p = P has the mean 20 + 250 P."""
    share, progress = 1 / batch_size - 1 / 1000, 0.0
    for _ in range(1000):
        progress += 1 / (1 + (20 + 500 * progress) * share) / 1000
    found = critical_batch([curve(lambda p: 20 + 500 * p, batch_size, dataset_size=1000)])
    assert found.batch_size == pytest.approx(20 + 250 * progress, rel=0.01)


def test_signal_to_noise_counts_the_looks_that_noise_hides() -> None:
    curves = [curve(lambda p: 4000.0, 32, noise=0.004, seed=seed, dataset_size=64) for seed in range(40)]
    means = np.array([mean_snr(one) for one in curves])
    assert means.mean() == pytest.approx(predicted_snr(32, 4000.0, 64), abs=3 * means.std() / 40**0.5)
    kept = [x / one.share for one in curves for x in one.gradient_sq if x > 0]
    assert np.exp(np.mean(np.log(kept))) > 5 * means.mean()
    assert mean_snr(curves[0].model_copy(update={"batch_size": 64})) == math.inf


def _every_gradient_sq(scale_of, batch_size: int) -> list[float]:
    progress, seen = 0.0, []
    for _ in range(1000):
        seen.append(1 / scale_of(progress))
        progress += 1 / (1 + 1 / (seen[-1] * batch_size)) / 1000
    return seen


def test_noisy_and_negative_estimates_do_not_bias_it_and_lie_in_the_interval() -> None:
    curves = [curve(lambda p: 400.0, 32, noise=0.004, seed=seed) for seed in range(8)]
    assert min(min(one.gradient_sq) for one in curves) < 0
    found = critical_batch(curves)
    assert found.over == "seeds"
    assert (found.trainings, found.looks) == (8, sum(len(one.updates) for one in curves))
    assert found.batch_size == pytest.approx(400, rel=0.1)
    assert found.low < 400 < found.high < 700
    single = critical_batch(curves[:1])
    assert single.over == "looks"
    assert single.low < 400 < single.high
    assert single.high - single.low > found.high - found.low
    assert critical_batch(curves) == found


def test_no_gradient_in_the_noise_has_no_size() -> None:
    lost = NoiseCurve(batch_size=4, steps=3, updates=(1, 2, 3), gradient_sq=(-0.1, 0.05, -0.1), variance=(1.0,) * 3)
    found = critical_batch([lost])
    assert found.batch_size is None
    assert found.high is None


def test_looks_stand_for_the_updates_nearest_to_them() -> None:
    assert look_weights([1, 2, 4, 10], 12) == [1, 1.5, 4, 5.5]
    assert sum(look_weights([1, 3, 7, 50], 60)) == 60
    assert look_weights([5], 9) == [9]


def test_from_a_record() -> None:
    config = TrialConfig(workload="digits", batch_size=32, budget="9 steps", probes=("gradient-noise",))
    measured = {"updates": [1, 3, 9], "gradient_sq": [0.5, None, -0.1], "variance": [8.0, 9.0, 7.0]}
    record = TrialRecord(config=config, status="complete", steps=9, measurements={"gradient-noise": measured})
    assert noise_curve(record) == NoiseCurve(
        batch_size=32, steps=9, updates=(1, 9), gradient_sq=(0.5, -0.1), variance=(8.0, 7.0)
    )
    assert noise_curve(record.model_copy(update={"measurements": {}})) is None
    assert noise_curve(record, 100).dataset_size == 100
    told = record.model_copy(update={"measurements": {"gradient-noise": {**measured, "dataset_size": 64}}})
    assert noise_curve(told, 100).dataset_size == 64


def test_a_single_look_has_no_interval() -> None:
    found = critical_batch([NoiseCurve(batch_size=4, steps=1, updates=(1,), gradient_sq=(0.5,), variance=(8.0,))])
    assert found == CriticalBatch(
        batch_size=16, low=None, high=None, over="looks", trainings=1, looks=1, confidence=0.95
    )


def test_the_predicted_ratio() -> None:
    assert predicted_snr(50, 200.0) == pytest.approx(0.25)
    assert predicted_snr(50, 200.0, 100) == pytest.approx(0.5)
    assert predicted_snr(100, 200.0, 100) == math.inf
    for wrong in ((0, 1.0), (101, 1.0, 100), (5, 0.0)):
        with pytest.raises(InputError, match="Valid"):
            predicted_snr(*wrong)
    with pytest.raises(InputError, match="gradient-noise"):
        critical_batch([])
    with pytest.raises(InputError, match="confidence"):
        critical_batch([curve(lambda p: 1.0, 8)], confidence=1.0)
