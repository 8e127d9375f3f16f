"""LARS against its float64 twin, in every variant and through every kernel."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from naive_trust_ratio import NaiveLARS, SeededLARS

from batchlimit.errors import InputError
from batchlimit.optimizers import solvers
from batchlimit.optimizers.lars import LARS

SHAPES = [(7, 5), (5,), (4, 3, 2, 2), ()]
KERNELS = [{}, {"fused": True}, {"foreach": True}, {"foreach": False, "fused": False}]
VARIANTS = [
    {"momentum": momentum, "nesterov": nesterov, "lr_in_buffer": lr_in_buffer, "decay": decay, "exclude": exclude}
    for momentum, nesterov, lr_in_buffer, decay, exclude in itertools.product(
        (0.0, 0.9), (False, True), (False, True), ("both", "ratio", "decoupled"), ("1d", "nothing")
    )
    if momentum or not nesterov
]


def problem(steps: int, seed: int = 0) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape) for shape in SHAPES]
    return weights, [[rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 1) for shape in SHAPES] for _ in range(steps)]


def trajectory(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], gradients: Any) -> list[Any]:
    for step, given in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = 0.1 * (step + 1)
        for parameter, gradient in zip(parameters, given, strict=True):
            parameter.grad = torch.tensor(gradient, dtype=parameter.dtype)
        optimizer.step()
    return [parameter.detach().double().numpy() for parameter in parameters]


def twin_trajectory(twin: Any, weights: list[np.ndarray], gradients: Any) -> list[np.ndarray]:
    weights = [w.copy() for w in weights]
    for step, given in enumerate(gradients):
        twin.lr = 0.1 * (step + 1)
        twin.step(weights, given)
    return weights


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_every_variant_is_the_twin_s(variant: dict[str, Any], kernel: dict[str, bool]) -> None:
    weights, gradients = problem(steps=4)
    options = {"weight_decay": 0.05, "coefficient": 0.02, "upper": 0.5, "lower": 1e-3, **variant}
    expected = twin_trajectory(NaiveLARS(lr=0.1, **options), weights, gradients)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        parameters = [torch.nn.Parameter(torch.tensor(w, dtype=dtype)) for w in weights]
        found = trajectory(LARS(parameters, lr=0.1, **options, **kernel), parameters, gradients)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gradients_stay_as_they_are(kernel: dict[str, bool]) -> None:
    parameter = torch.nn.Parameter(torch.randn(30, 20))
    parameter.grad = torch.randn(30, 20)
    kept = parameter.grad.clone()
    LARS([parameter], lr=3.0, weight_decay=0.1, **kernel).step()
    assert torch.equal(parameter.grad, kept)


def test_a_channels_last_weight_with_a_contiguous_gradient_is_paired_right() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Parameter(torch.randn(8, 4, 3, 3))
    channels_last = torch.nn.Parameter(plain.detach().clone(memory_format=torch.channels_last))
    for parameter in (plain, channels_last):
        parameter.grad = torch.arange(288.0).reshape(8, 4, 3, 3)
        LARS([parameter], lr=1.0, coefficient=0.5).step()
    torch.testing.assert_close(channels_last.detach(), plain.detach())


def test_the_step_that_a_large_tensor_takes_is_exact_to_2e_5() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(1024, 1024, generator=generator) for _ in range(2))
    parameter = torch.nn.Parameter(weight.clone())
    parameter.grad = gradient.clone()
    optimizer = LARS([parameter], lr=1.0, momentum=0.9, weight_decay=1e-4)
    optimizer.step()
    exact = [weight.double().numpy()]
    twin = NaiveLARS(lr=1.0, weight_decay=1e-4)
    twin.step(exact, [gradient.double().numpy()])
    buffer = optimizer.state[parameter]["momentum_buffer"].double().numpy()
    np.testing.assert_allclose(buffer, twin.buffers[0], rtol=0, atol=2e-5 * np.abs(twin.buffers[0]).max())


def test_the_trust_ratios_of_the_last_step_are_told_by_name() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = LARS(model.named_parameters(), lr=0.1, coefficient=0.5, weight_decay=0.2)
    assert optimizer.trust_ratios() == {}
    model.weight.grad = torch.full((2, 3), 2.0)
    norm = float(model.weight.detach().norm())
    optimizer.step()
    ratios = optimizer.trust_ratios()
    assert list(ratios) == ["weight"]
    assert float(ratios["weight"]) == pytest.approx(0.5 * norm / (24**0.5 + 0.2 * norm), rel=1e-6)


def test_a_buffer_seeded_with_the_unscaled_gradient_is_not_lars() -> None:
    """Counter-example to a public code: its first step is far longer than the paper's, which is lr * r * ||d||."""
    rng = np.random.default_rng(0)
    weight, gradient = rng.normal(size=(64, 64)), rng.normal(size=(64, 64))
    lengths = {}
    for name, twin in (("right", NaiveLARS(lr=1.0)), ("seeded", SeededLARS(lr=1.0))):
        moved = [weight.copy()]
        twin.step(moved, [gradient])
        lengths[name] = np.linalg.norm(moved[0] - weight)
    parameter = torch.nn.Parameter(torch.tensor(weight))
    parameter.grad = torch.tensor(gradient)
    LARS([parameter], lr=1.0).step()
    ours = np.linalg.norm(parameter.detach().numpy() - weight)
    assert ours == pytest.approx(lengths["right"], rel=1e-9)
    assert ours == pytest.approx(0.001 * np.linalg.norm(weight), rel=1e-9)
    assert lengths["seeded"] > 800 * ours


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_trajectory_does_not_see_the_scale_of_the_loss(scale: float) -> None:
    """Without weight decay and with the LR in the buffer, LARS normalizes each gradient."""
    ends = []
    for factor in (1.0, scale):
        weights, gradients = problem(steps=5)
        parameters = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
        optimizer = LARS(parameters, lr=0.1, coefficient=0.1, exclude="nothing")
        ends.append(trajectory(optimizer, parameters, [[factor * g for g in given] for given in gradients]))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("lr_in_buffer", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_a_scaled_start_gives_a_scaled_trajectory_on_a_scale_invariant_loss(
    lr_in_buffer: bool, weight_decay: float
) -> None:
    """w -> c w gives g -> g / c where only the direction of w matters (a weight before a norm): w_t -> c w_t follows.

    With the LR in the buffer because every update is lr * ||w|| long; outside it, because ratio and buffer scale as
    c^2 and 1/c. Weight decay enters as weight_decay / c^2, as the theory of scale-invariant weights says.
    """
    torch.manual_seed(0)
    start, data, target = torch.randn(6, 6).double(), torch.randn(9, 6).double(), torch.randn(9, 6).double()
    ends = []
    for scale in (1.0, 8.0):
        weight = torch.nn.Parameter(scale * start)
        optimizer = LARS(
            [weight], lr=1.0, coefficient=0.05, weight_decay=weight_decay / scale**2, lr_in_buffer=lr_in_buffer
        )
        for _ in range(6):
            optimizer.zero_grad()
            (data @ (weight / weight.norm()) - target).square().sum().backward()
            optimizer.step()
        ends.append(weight.detach() / scale)
    assert not torch.allclose(ends[0], start, rtol=1e-2)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"decay": "neither"}, "decay"),
        ({"exclude": "biases"}, "exclude"),
        ({"momentum": -1.0}, "momentum"),
        ({"lr": -0.1}, "lr"),
        ({"upper": 0.1, "lower": 0.2}, "upper"),
        ({"momentum": 5}, "momentum = 5 for the solver 'lars'. Valid: from 0 to below 1."),
        ({"momentum": 1.0}, "momentum = 1.0 "),
        ({"momentum": math.nan}, "momentum = nan"),
        ({"upper": 0}, "upper = 0 for the solver 'lars'. Valid: above 0, or none."),
        ({"upper": -1.0}, "upper"),
        ({"lower": -0.1}, "lower"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        LARS([torch.nn.Parameter(torch.ones(2))], **options)
    with pytest.raises(InputError, match=named):
        LARS([{"params": [torch.nn.Parameter(torch.ones(2))], **options}])
    optimizer = LARS([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(InputError, match=named):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], **options})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("default", {"lr_in_buffer": True, "decay": "both", "exclude": "1d"}),
        ("paper-author", {"lr_in_buffer": False, "decay": "ratio", "exclude": "nothing"}),
        ("mlperf", {"lr_in_buffer": True, "decay": "both", "exclude": "1d"}),
    ],
)
def test_presets(preset: str, expected: dict[str, Any]) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = solvers.get("lars")(model.named_parameters(), lr=1.0, weight_decay=1e-4, preset=preset, momentum=0.8)
    for group in optimizer.param_groups:
        assert {key: group[key] for key in expected} == expected
        assert (group["momentum"], group["coefficient"]) == (0.8, 0.001)
    decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {2: 1e-4, 1: 0.0 if preset == "mlperf" else 1e-4}


def test_a_sparse_gradient_is_refused_in_words() -> None:
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="'lars' takes no sparse gradients"):
        LARS(embedding.parameters()).step()
