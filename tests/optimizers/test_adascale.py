"""AdaScale's gain against its definition, by simulation and at its ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlimit.errors import InputError
from batchlimit.optimizers.adascale import AdaScale, gain, gradient_moments


@pytest.mark.parametrize("size", [1.0, 0.1])
def test_moments_are_unbiased(size: float) -> None:
    """Parts drawn around a known gradient with a known variance give both back on average, also deep in the noise."""
    random = np.random.default_rng(0)
    truth = size * random.normal(size=20)
    deviation, parts, estimates = 0.7, 4, []
    for _ in range(20_000):
        gradients = truth + deviation * random.normal(size=(parts, 20))
        squares, mean = (gradients**2).sum(1).mean(), (gradients.mean(0) ** 2).sum()
        estimates.append(gradient_moments(squares, mean, parts))
    variance, squared = np.mean(estimates, axis=0)
    assert variance == pytest.approx(20 * deviation**2, rel=0.02)
    error = np.std(estimates, axis=0)[1] / len(estimates) ** 0.5
    assert squared == pytest.approx((truth**2).sum(), abs=3 * error)
    assert error < 0.1 * (truth**2).sum()
    assert (min(estimates, key=lambda pair: pair[1])[1] < 0) == (size < 1)


def test_moments_of_given_parts() -> None:
    gradients = np.array([[1.0, 2.0], [3.0, -2.0], [2.0, 3.0]])
    mean = gradients.mean(0)
    variance, squared = gradient_moments((gradients**2).sum(1).mean(), (mean**2).sum(), 3)
    assert variance == pytest.approx(gradients.var(axis=0, ddof=1).sum())
    assert squared == pytest.approx((mean**2).sum() - variance / 3)
    assert gradient_moments(5.0, 5.0, 2) == (0.0, 5.0)
    with pytest.raises(InputError, match="2 or more"):
        gradient_moments(1.0, 1.0, 1)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e4))
def test_the_gain_lies_between_1_and_the_scale(variance, squared, scale) -> None:
    assert 1.0 <= gain(variance, squared, scale) <= scale
    assert gain(variance, squared, 1.0) == 1.0


def test_the_gain_at_its_ends_and_between() -> None:
    assert gain(1.0, 0.0, 32) == 32
    assert gain(0.0, 1.0, 32) == 1
    assert gain(0.0, 0.0, 32) == 1
    assert gain(3.0, 1.0, 4) == pytest.approx(4 / 1.75)


def test_noise_that_hides_the_gradient_at_times_does_not_lower_the_gain() -> None:
    """Averages are cut off at 0, not what goes into them."""
    scaler = AdaScale(32.0, smoothing=0.9)
    for _ in range(100):
        scaler.update(10.0, 1.5)
        last = scaler.update(10.0, -1.5)
    assert last == pytest.approx(32.0)


def test_progress_counts_small_batch_updates() -> None:
    scaler = AdaScale(4.0, smoothing=0.0)
    assert scaler.update(1.0, 0.0) == 4.0
    assert scaler.update(0.0, 1.0) == 1.0
    assert scaler.update(3.0, 1.0) == pytest.approx(4 / 1.75)
    assert scaler.progress == pytest.approx(5 + 4 / 1.75)


def test_the_gain_comes_from_smoothed_moments() -> None:
    assert AdaScale(100).smoothing == pytest.approx(0.9)
    assert AdaScale(5000).smoothing == 0.0
    scaler = AdaScale(10.0, smoothing=0.5)
    scaler.update(8.0, 0.0)
    assert scaler.update(0.0, 2.0) == pytest.approx(gain(0.5 * 4.0, 1.0, 10.0))


def test_parts_of_another_size_are_brought_to_the_small_batch() -> None:
    """The same batch cut into 4 parts or 16: on average the same gain."""
    random = np.random.default_rng(1)
    truth, gains = random.normal(size=30), {4: [], 16: []}
    for _ in range(300):
        samples = truth + 3.0 * random.normal(size=(16, 30))
        for parts, seen in gains.items():
            means = samples.reshape(parts, -1, 30).mean(1)
            scaler = AdaScale(16.0, smoothing=0.0)
            seen.append(scaler.update_from_parts((means**2).sum(1).mean(), (means.mean(0) ** 2).sum(), parts))
    truly = gain(9.0 * 30, (truth**2).sum(), 16.0)
    assert np.mean(gains[16]) == pytest.approx(truly, rel=0.05)
    assert np.mean(gains[4]) == pytest.approx(truly, rel=0.05)


def test_state_dict_round_trip() -> None:
    whole, first, second = AdaScale(8.0), AdaScale(8.0), AdaScale(8.0)
    moments = [(3.0, 1.0), (2.0, 0.5), (9.0, 1.0), (1.0, 2.0)]
    gains = [whole.update(*pair) for pair in moments]
    seen = [first.update(*pair) for pair in moments[:2]]
    second.load_state_dict(first.state_dict())
    assert seen + [second.update(*pair) for pair in moments[2:]] == gains
    assert second.progress == whole.progress


@pytest.mark.parametrize(("options", "message"), [({"scale": 0.5}, "scale is 0.5"), ({"scale": float("nan")}, "nan")])
def test_bad_scales(options, message) -> None:
    with pytest.raises(InputError, match=message):
        AdaScale(**options)


def test_bad_smoothing() -> None:
    with pytest.raises(InputError, match="smoothing is 1"):
        AdaScale(2.0, smoothing=1.0)
