"""The trust ratio: its definition, its bounds, its invariants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive_trust_ratio import naive_ratio

from batchlimit.optimizers.lamb import LAMB
from batchlimit.optimizers.lars import LARS
from batchlimit.optimizers.layerwise import LayerWise
from batchlimit.optimizers.trust_ratio import norms, ratio_of_sums, trust_ratio

positive = st.floats(1e-6, 1e6)


def ratio_of(weight_norm: float, update_norm: float, **options: float) -> float:
    return float(trust_ratio(*torch.tensor([weight_norm, update_norm], dtype=torch.float64), **options))


@pytest.mark.parametrize("bounds", [{}, {"lower": 0.5}, {"upper": 2.0}, {"lower": 0.5, "upper": 2.0}])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 100.0])
def test_it_is_the_twin_s(scale: float, decay: float, bounds: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    w, u = rng.normal(size=(3, 4)) * scale, rng.normal(size=(3, 4))
    for a, b in ((w, u), (u, w)):
        expected = naive_ratio(a, b, 0.7, decay, **bounds)
        ours = trust_ratio(norms([torch.tensor(a)]), norms([torch.tensor(b)]), coefficient=0.7, decay=decay, **bounds)
        assert float(ours) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("weight_norm", "update_norm"), [(0.0, 3.0), (3.0, 0.0), (0.0, 0.0)])
def test_a_zero_norm_gives_exactly_one_whatever_the_bounds(weight_norm: float, update_norm: float) -> None:
    assert ratio_of(weight_norm, update_norm, coefficient=0.001, decay=0.1, lower=2.0, upper=3.0) == 1.0


@given(positive, positive, st.floats(0, 2), st.floats(0, 2))
def test_it_stays_within_its_bounds(weight_norm: float, update_norm: float, lower: float, width: float) -> None:
    assert lower <= ratio_of(weight_norm, update_norm, lower=lower, upper=lower + width) <= lower + width


@given(positive, positive, st.floats(0.1, 10))
def test_it_depends_on_the_quotient_of_the_norms_alone(weight_norm: float, update_norm: float, scale: float) -> None:
    scaled = ratio_of(scale * weight_norm, scale * update_norm, decay=0.01)
    assert scaled == pytest.approx(ratio_of(weight_norm, update_norm, decay=0.01), rel=1e-9)


@given(positive, positive)
def test_weight_decay_never_raises_it(weight_norm: float, update_norm: float) -> None:
    assert ratio_of(weight_norm, update_norm, decay=0.1) <= ratio_of(weight_norm, update_norm)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_norms_of_many_numbers_are_exact_to_1e_5(dtype: torch.dtype) -> None:
    tensors = [torch.randn(1_000_003, generator=torch.Generator().manual_seed(1)).to(dtype), torch.ones(2, 2).to(dtype)]
    exact = [float(tensor.double().norm()) for tensor in tensors]
    assert norms(tensors).tolist() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-25, 1.0, 1e25, 1e36])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_norms_are_right_where_squares_leave_the_range_of_fp32(dtype: torch.dtype, scale: float) -> None:
    tensor = (torch.randn(50, 40, generator=torch.Generator().manual_seed(1)).double() * scale).to(dtype)
    exact = float(tensor.double().norm())
    assert (exact > 0) == (scale > 0)
    for view in (tensor, tensor.t(), tensor[:, ::2]):
        assert float(norms([view])) == pytest.approx(float(view.double().norm()), rel=1e-5, abs=0)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_norm_of_what_is_not_finite_is_not_finite(bad: float) -> None:
    assert not norms([torch.tensor([1.0, bad])]).isfinite().any()


def test_norms_of_more_than_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.arange(100.0).reshape(4, 25)
    monkeypatch.setattr("batchlimit.optimizers.kernels.BLOCK", 7)
    assert float(norms([tensor])) == pytest.approx(sum(i * i for i in range(100)) ** 0.5, rel=1e-6)


numbers = st.one_of(st.just(0.0), positive)


@given(numbers, numbers, positive, st.floats(0, 1), st.floats(0, 2), st.one_of(st.none(), st.floats(0, 2)))
def test_in_plain_numbers_it_is_the_same(
    weight_norm: float, update_norm: float, coefficient: float, decay: float, lower: float, width: float | None
) -> None:
    options = {"coefficient": coefficient, "decay": decay, "lower": lower}
    options["upper"] = None if width is None else lower + width
    expected = ratio_of(weight_norm, update_norm, **options)
    assert ratio_of_sums(weight_norm**2, update_norm**2, **options) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("solver", ["lamb", "lars", "layerwise sgd", "layerwise adam", "layerwise rmsprop"])
def test_a_ratio_beyond_fp32_ends_in_weights_that_are_not_finite(solver: str) -> None:
    # Weights so large and updates so small that lr * ratio leaves fp32: torch refuses such a scalar.
    weight = torch.nn.Parameter(torch.full((4, 4), 1e30))
    bases = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
    if solver in ("lamb", "lars"):
        kind = {"lamb": LAMB, "lars": LARS}[solver]
        optimizer: torch.optim.Optimizer = kind([weight], lr=1e9, exclude="nothing")
    else:
        optimizer = LayerWise(bases[solver.split()[1]]([weight], lr=1e9), exclude="nothing")
    for _ in range(4):
        weight.grad = torch.full_like(weight, 1e-30)
        optimizer.step()
    assert not (weight.abs() < 1e30).all()
