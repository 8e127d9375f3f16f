"""LAMB against its float64 twin, in every variant and through every kernel."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from naive_trust_ratio import NaiveLAMB, inverted_prenormalization

from batchlimit.errors import InputError
from batchlimit.optimizers import solvers
from batchlimit.optimizers.lamb import LAMB, lamb

SHAPES = [(7, 5), (5,), (4, 3, 2, 2), ()]
KERNELS = [{}, {"fused": True}, {"foreach": True}, {"foreach": False, "fused": False}]
VARIANTS = [
    {"bias_correction": correction, "weight_decay": decay, "exclude": exclude, **clipping}
    for correction, decay, exclude, clipping in itertools.product(
        (True, False),
        (0.0, 0.1),
        ("1d", "nothing"),
        ({}, {"clip_norm": 1.0}, {"clip_norm": 1.0, "clip": "always"}),
    )
]


def problem(steps: int) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in SHAPES]
    return weights, [[rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 0) for shape in SHAPES] for _ in range(steps)]


def trajectory(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], gradients: Any) -> list[Any]:
    for given in gradients:
        for parameter, gradient in zip(parameters, given, strict=True):
            parameter.grad = torch.tensor(gradient, dtype=parameter.dtype)
        optimizer.step()
    return [parameter.detach().double().numpy() for parameter in parameters]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_every_variant_is_the_twin_s(variant: dict[str, Any], kernel: dict[str, bool]) -> None:
    weights, gradients = problem(steps=4)
    options = {"upper": 3.0, "lower": 0.5, **variant}
    expected = [w.copy() for w in weights]
    twin = NaiveLAMB(lr=0.05, **options)
    for given in gradients:
        twin.step(expected, given)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        parameters = [torch.nn.Parameter(torch.tensor(w, dtype=dtype)) for w in weights]
        found = trajectory(LAMB(parameters, lr=0.05, **options, **kernel), parameters, gradients)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gradients_stay_as_they_are(kernel: dict[str, bool]) -> None:
    parameter = torch.nn.Parameter(torch.randn(30, 20))
    parameter.grad = torch.randn(30, 20)
    kept = parameter.grad.clone()
    LAMB([parameter], lr=3.0, weight_decay=0.1, clip_norm=0.1, **kernel).step()
    assert torch.equal(parameter.grad, kept)


def test_the_step_that_a_large_tensor_takes_is_exact_to_1e_6() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(1024, 1024, generator=generator) for _ in range(2))
    parameter = torch.nn.Parameter(weight.clone())
    parameter.grad = gradient.clone()
    LAMB([parameter], lr=0.1, weight_decay=0.01).step()
    exact = [weight.double().numpy()]
    NaiveLAMB(lr=0.1, weight_decay=0.01).step(exact, [gradient.double().numpy()])
    np.testing.assert_allclose(parameter.detach().double().numpy(), exact[0], rtol=0, atol=1e-6 * exact[0].max())


def test_a_memory_order_other_than_the_usual_changes_nothing() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Parameter(torch.randn(8, 4, 3, 3))
    other = torch.nn.Parameter(plain.detach().clone(memory_format=torch.channels_last))
    for parameter in (plain, other):
        parameter.grad = torch.arange(288.0).reshape(8, 4, 3, 3)
        optimizer = LAMB([parameter], lr=0.1)
        optimizer.step()
        optimizer.step()
    torch.testing.assert_close(other.detach(), plain.detach())


def test_prenormalization_never_raises_a_gradient_norm_above_its_bound() -> None:
    """Counter-example to a public code: multiplying by the global norm turns a norm of 639 into its square."""
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(40, 50)), rng.normal(size=(50,))]
    gradients = [639 / np.sqrt(sum((h * h).sum() for h in gradients)) * g for g in gradients]
    wrong = inverted_prenormalization(gradients)
    assert np.sqrt(sum((g * g).sum() for g in wrong)) == pytest.approx(639**2)
    for clip, expected in (("above", 1.0), ("always", 1.0)):
        parameters = [torch.nn.Parameter(torch.ones(g.shape, dtype=torch.float64)) for g in gradients]
        optimizer = LAMB(parameters, lr=0.1, betas=(0.0, 0.999), clip_norm=1.0, clip=clip)
        trajectory(optimizer, parameters, [gradients])
        seen = [optimizer.state[parameter]["exp_avg"] for parameter in parameters]
        assert float(torch.cat([g.flatten() for g in seen]).norm()) == pytest.approx(expected, rel=1e-9)


def test_clipping_by_a_preset_can_be_switched_off() -> None:
    ends = []
    for options in ({"preset": "mlperf"}, {"preset": "mlperf", "clip": "never"}, {"decay_exclude": "1d"}):
        parameter = torch.nn.Parameter(torch.ones(4, 4, dtype=torch.float64))
        optimizer = lamb([("weight", parameter)], lr=0.1, weight_decay=0.1, **options)
        trajectory(optimizer, [parameter], [[np.full((4, 4), 5.0)], [np.eye(4)]])
        ends.append(parameter.detach())
    clipped, off, plain = ends
    assert torch.equal(off, plain)
    assert not torch.allclose(clipped, plain)


@pytest.mark.parametrize(("clip", "expected"), [("above", 0.5), ("always", 2.0)])
def test_a_small_gradient_is_raised_only_by_prenormalization(clip: str, expected: float) -> None:
    parameter = torch.nn.Parameter(torch.ones(4, 4, dtype=torch.float64))
    parameter.grad = torch.full((4, 4), 0.125, dtype=torch.float64)
    optimizer = LAMB([parameter], lr=0.1, betas=(0.0, 0.999), clip_norm=2.0, clip=clip)
    optimizer.step()
    assert float(optimizer.state[parameter]["exp_avg"].norm()) == pytest.approx(expected, rel=1e-9)


def test_a_loaded_state_clips_as_the_saved_one_and_an_older_one_leaves_clipping_alone() -> None:
    saved = LAMB([torch.nn.Parameter(torch.ones(2, 2))], eps=0.5, clip_norm=1.0, clip="always").state_dict()
    optimizer = LAMB([torch.nn.Parameter(torch.ones(2, 2))])
    optimizer.load_state_dict(saved)
    assert (optimizer.param_groups[0]["eps"], optimizer.clip_norm, optimizer.clip) == (0.5, 1.0, "always")
    older = {**saved, "param_groups": [{**saved["param_groups"][0]}]}
    for name in ("clip_norm", "clip"):
        del older["param_groups"][0][name]
    optimizer = LAMB([torch.nn.Parameter(torch.ones(2, 2))], clip_norm=2.0)
    optimizer.load_state_dict(older)
    assert (optimizer.param_groups[0]["eps"], optimizer.clip_norm, optimizer.clip) == (0.5, 2.0, "above")


def test_all_gradients_zero_moves_nothing_but_by_weight_decay() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    LAMB([parameter], lr=0.1, clip_norm=1.0, clip="always").step()
    assert torch.equal(parameter.detach(), torch.ones(4, 4))


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_a_scaled_start_gives_a_scaled_trajectory(scale: float) -> None:
    """w -> c w gives g -> g / c on a scale-invariant loss; Adam's direction forgets the 1 / c, the ratio restores c."""
    torch.manual_seed(0)
    start, data, target = torch.randn(6, 6).double(), torch.randn(9, 6).double(), torch.randn(9, 6).double()
    ends = []
    for factor in (1.0, scale):
        weight = torch.nn.Parameter(factor * start)
        optimizer = LAMB([weight], lr=0.1, eps=0.0)
        for _ in range(6):
            optimizer.zero_grad()
            (data @ (weight / weight.norm()) - target).square().sum().backward()
            optimizer.step()
        ends.append(weight.detach() / factor)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"betas": (1.0, 0.9)}, "beta1"),
        ({"betas": (0.9, -0.1)}, "beta2"),
        ({"clip": "sometimes"}, "clip"),
        ({"eps": -1.0}, "eps"),
        ({"upper": 0.1, "lower": 0.2}, "upper"),
        ({"betas": (0.9, 1.0)}, "beta2 = 1.0 for the solver 'lamb'. Valid: from 0 to below 1."),
        ({"clip_norm": 0}, "clip_norm = 0 for the solver 'lamb'. Valid: above 0, or none."),
        ({"clip_norm": -1.0}, "clip_norm"),
        ({"clip_norm": math.inf}, "clip_norm"),
        ({"upper": 0.0}, "upper = 0.0 "),
        ({"lower": -0.1}, "lower"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        LAMB([torch.nn.Parameter(torch.ones(2))], **options)
    with pytest.raises(InputError, match=named):
        LAMB([{"params": [torch.nn.Parameter(torch.ones(2))], **options}])
    optimizer = LAMB([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(InputError, match=named):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], **options})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("preset", "correction", "clip_norm", "bias_decay"),
    [("default", True, None, 0.01), ("paper-author", False, None, 0.0), ("mlperf", True, 1.0, 0.0)],
)
def test_presets(preset: str, correction: bool, clip_norm: float | None, bias_decay: float) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = solvers.get("lamb")(model.named_parameters(), lr=0.1, weight_decay=0.01, preset=preset, beta1=0.8)
    assert optimizer.clip_norm == clip_norm
    assert all(group["bias_correction"] is correction for group in optimizer.param_groups)
    assert all(group["betas"] == (0.8, 0.999) for group in optimizer.param_groups)
    decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {2: 0.01, 1: bias_decay}


def test_an_unknown_preset_names_the_valid_ones() -> None:
    with pytest.raises(InputError, match=r"mlperf, paper-author"):
        solvers.get("lamb")(torch.nn.Linear(1, 1).named_parameters(), lr=0.1, weight_decay=0.0, preset="mlpref")


def test_a_sparse_gradient_is_refused_in_words() -> None:
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="'lamb' takes no sparse gradients"):
        LAMB(embedding.parameters()).step()
