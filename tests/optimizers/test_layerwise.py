"""`LayerWise`: the rule, its identities with LARS and LAMB, and that all else is the base's."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from naive_trust_ratio import naive_layerwise
from torch import nn

from batchlimit.errors import InputError
from batchlimit.optimizers import kernels
from batchlimit.optimizers.lamb import LAMB
from batchlimit.optimizers.lars import LARS
from batchlimit.optimizers.layerwise import LayerWise

BASES = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.2, momentum=0.9, weight_decay=0.1),
    "sgd fused": lambda params: torch.optim.SGD(params, lr=0.2, momentum=0.9, weight_decay=0.1, fused=True),
    "sgd nesterov": lambda params: torch.optim.SGD(params, lr=0.2, momentum=0.9, nesterov=True, fused=True),
    "adam": lambda params: torch.optim.Adam(params, lr=0.2, weight_decay=0.1),
    "adam fused": lambda params: torch.optim.Adam(params, lr=0.2, weight_decay=0.1, fused=True),
    "adam amsgrad": lambda params: torch.optim.Adam(params, lr=0.2, amsgrad=True, fused=True),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.2, weight_decay=0.1, fused=True),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.2, momentum=0.5, weight_decay=0.1),
    "adagrad": lambda params: torch.optim.Adagrad(params, lr=0.2, weight_decay=0.1, fused=True),
    "adadelta": lambda params: torch.optim.Adadelta(params, lr=0.2, weight_decay=0.1),
    "lars": lambda params: LARS(params, lr=0.2, weight_decay=0.1, coefficient=0.1),
    "lamb": lambda params: LAMB(params, lr=0.2, weight_decay=0.1, clip_norm=1.0),
}


def parameters(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(6, 5), (5,), (4, 3, 2, 2)]
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def give_gradients(params: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(100 + seed)
    for parameter in params:
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)


@pytest.mark.parametrize("exclude", ["1d", "nothing"])
@pytest.mark.parametrize("bounds", [{}, {"lower": 0.2, "upper": 0.9, "coefficient": 0.5}])
@pytest.mark.parametrize("base", BASES)
def test_the_base_s_own_update_is_rescaled_tensor_by_tensor(base: str, bounds: dict[str, float], exclude: str) -> None:
    ours, theirs = parameters(), parameters()
    wrapped, bare = LayerWise(BASES[base](ours), exclude=exclude, **bounds), BASES[base](theirs)
    for step in range(4):
        # The twin sees the same weights before each step, for the base's update may depend on them.
        for own, other in zip(ours, theirs, strict=True):
            other.data.copy_(own.detach())
        before = [parameter.detach().numpy().copy() for parameter in theirs]
        for params in (ours, theirs):
            give_gradients(params, step)
        gradients = [parameter.grad.clone() for parameter in ours]
        wrapped.step()
        bare.step()
        for w, own, other, gradient in zip(before, ours, theirs, gradients, strict=True):
            expected = other.detach().numpy()
            if exclude == "nothing" or w.ndim > 1:
                expected = naive_layerwise(w, expected, 0.2, **bounds)
            np.testing.assert_allclose(own.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
            assert torch.equal(own.grad, gradient)


def test_layer_wise_sgd_without_momentum_is_lars() -> None:
    """r = coefficient * ||w|| / ||g||, the same in both: with weight decay only where LARS's is ||g + decay * w||."""
    ours, theirs = parameters(), parameters()
    pair = (
        LayerWise(torch.optim.SGD(ours, lr=0.3), coefficient=0.01),
        LARS(theirs, lr=0.3, momentum=0, coefficient=0.01),
    )
    for step in range(5):
        for params, optimizer in zip((ours, theirs), pair, strict=True):
            give_gradients(params, step)
            optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_layer_wise_sgd_with_weight_decay_is_not_lars() -> None:
    """LARS bounds the denominator by ||g|| + decay * ||w||, layer-wise takes ||g + decay * w||: the longer step."""
    ours, theirs = parameters(), parameters()
    options = {"lr": 0.3, "momentum": 0.0, "weight_decay": 0.5}
    for params in (ours, theirs):
        give_gradients(params, 0)
    start = ours[0].detach().clone()
    LayerWise(torch.optim.SGD(ours, **options), coefficient=0.01).step()
    LARS(theirs, coefficient=0.01, **options).step()
    assert float((ours[0].detach() - start).norm()) > 1.05 * float((theirs[0].detach() - start).norm()) > 0


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_layer_wise_adamw_is_lamb(weight_decay: float) -> None:
    """Both take Adam's direction plus decoupled decay and give it the length of the weights."""
    ours, theirs = parameters(), parameters()
    options: dict[str, Any] = {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": weight_decay}
    pair = LayerWise(torch.optim.AdamW(ours, **options), upper=2.0), LAMB(theirs, upper=2.0, **options)
    for step in range(5):
        for params, optimizer in zip((ours, theirs), pair, strict=True):
            give_gradients(params, step)
            optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("base", ["sgd fused", "adam", "rmsprop", "adagrad"])
def test_each_tensor_moves_by_its_own_length_times_the_learning_rate(base: str) -> None:
    params = parameters()
    optimizer = LayerWise(BASES[base](params), coefficient=0.25, exclude="nothing")
    for step in range(3):
        give_gradients(params, step)
        before = [parameter.detach().clone() for parameter in params]
        optimizer.step()
        for old, new in zip(before, params, strict=True):
            assert float((new.detach() - old).norm()) == pytest.approx(0.25 * 0.2 * float(old.norm()), rel=1e-9)


@pytest.mark.parametrize("base", BASES)
def test_groups_state_and_checkpoints_are_the_base_s(base: str) -> None:
    params = parameters()
    wrapped = LayerWise(BASES[base](params))
    give_gradients(params, 0)
    wrapped.step()
    assert wrapped.param_groups is wrapped.base.param_groups
    assert wrapped.state is wrapped.base.state
    others = parameters(seed=1)
    for own, other in zip(params, others, strict=True):
        other.data.copy_(own.detach())
    loaded = LayerWise(BASES[base](others))
    loaded.load_state_dict(copy.deepcopy(wrapped.base.state_dict()))
    assert loaded.param_groups is loaded.base.param_groups
    for optimizer, own in ((wrapped, params), (loaded, others)):
        optimizer.param_groups[0]["lr"] = 0.01
        give_gradients(own, 1)
        optimizer.step()
    for one, other in zip(params, others, strict=True):
        assert torch.equal(one, other)


def test_a_group_can_be_added() -> None:
    params = parameters()
    optimizer = LayerWise(torch.optim.SGD(params[:1], lr=0.1))
    optimizer.add_param_group({"params": params[1:], "lr": 0.5})
    assert [group["lr"] for group in optimizer.base.param_groups] == [0.1, 0.5]
    give_gradients(params, 0)
    before = params[2].detach().clone()
    optimizer.step()
    assert float((params[2].detach() - before).norm()) == pytest.approx(0.5 * float(before.norm()), rel=1e-9)


def test_a_base_with_hooks_calls_them_once_a_step() -> None:
    params = parameters()
    base = torch.optim.SGD(params, lr=0.1)
    calls = []
    base.register_step_post_hook(lambda *_: calls.append("base"))
    optimizer = LayerWise(base)
    optimizer.register_step_pre_hook(lambda *_: calls.append("wrapper"))
    give_gradients(params, 0)
    optimizer.step()
    assert calls == ["wrapper", "base"]


def test_the_trust_ratios_of_the_last_step_are_told_by_name() -> None:
    net = nn.Linear(3, 2)
    optimizer = LayerWise(torch.optim.SGD(net.named_parameters(), lr=0.1))
    net.weight.grad, net.bias.grad = torch.full((2, 3), 2.0), torch.ones(2)
    norm = float(net.weight.detach().norm())
    optimizer.step()
    assert {name: float(ratio) for name, ratio in optimizer.trust_ratios().items() if name != "bias"} == pytest.approx(
        {"weight": norm / 24**0.5}, rel=1e-5
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"maximize": True, "weight_decay": 0.0}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
    ids=str,
)
def test_an_update_far_below_the_weights_resolution_keeps_its_direction(options: dict[str, Any]) -> None:
    """The direction of SGD does not come from w' - w, in which updates a ten-millionth of the weights are lost."""
    ends = []
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(0)
        parameter = nn.Parameter((0.05 * torch.randn(40, 30, generator=generator)).to(dtype))
        optimizer = LayerWise(torch.optim.SGD([parameter], 0.01, **options))
        for step in range(5):
            gradient = (1.0 if step == 0 else 1e-7) * torch.randn(40, 30, generator=generator)
            parameter.grad = gradient.to(dtype)
            if step == 1:  # the momentum of an ordinary first step would hide what is tested
                for buffer in (state.get("momentum_buffer") for state in optimizer.state.values()):
                    if buffer is not None:
                        buffer.mul_(1e-7)
                start = parameter.detach().clone()
            optimizer.step()
        ends.append((parameter.detach() - start).double())
    assert (ends[0] - ends[1]).norm() < 1e-4 * ends[1].norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_fused_base_that_leaves_weights_as_they_are_is_refused(dtype: torch.dtype) -> None:
    parameter = nn.Parameter(torch.ones(64, 4, dtype=dtype))
    if kernels.fused_sgd_works(dtype):
        LayerWise(torch.optim.SGD([parameter], 0.1, fused=True))
    else:
        with pytest.raises(InputError, match=r"SGD with fused=True leaves weights of .* Valid: fused=False\."):
            LayerWise(torch.optim.SGD([parameter], 0.1, fused=True))


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_a_scaled_start_gives_a_scaled_trajectory(scale: float) -> None:
    """On a loss that sees only the direction of w, every step has the length of w: the trajectory scales with it."""
    torch.manual_seed(0)
    start, data, target = torch.randn(6, 6).double(), torch.randn(9, 6).double(), torch.randn(9, 6).double()
    ends = []
    for factor in (1.0, scale):
        weight = nn.Parameter(factor * start)
        optimizer = LayerWise(torch.optim.SGD([weight], lr=0.1))
        for _ in range(6):
            optimizer.zero_grad()
            (data @ (weight / weight.norm()) - target).square().sum().backward()
            optimizer.step()
        ends.append(weight.detach() / factor)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("lower", "upper"), [(2.0, 1.0), (0.0, 0.0), (0.0, -1.0)])
def test_an_upper_bound_below_the_lower_or_at_nothing_is_refused(lower: float, upper: float) -> None:
    with pytest.raises(InputError, match="upper"):
        LayerWise(torch.optim.SGD(parameters(), lr=0.1), lower=lower, upper=upper)


class SharpnessAware(torch.optim.Optimizer):
    """As such optimizers are usually written: two evaluations a step, no step without a closure."""

    def __init__(self, params: list[nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is not None
        loss = closure()
        (group,) = self.param_groups
        shifts = [0.05 * parameter.grad for parameter in group["params"]]
        torch._foreach_add_(group["params"], shifts)
        closure()
        for parameter, shift in zip(group["params"], shifts, strict=True):
            parameter.sub_(shift).sub_(parameter.grad, alpha=group["lr"])
        return loss


@pytest.mark.parametrize("base", [SharpnessAware, torch.optim.LBFGS])
def test_a_base_that_evaluates_the_loss_by_itself_is_rescaled(base: type[torch.optim.Optimizer]) -> None:
    params = parameters()
    wrapped = LayerWise(base(params, lr=0.1))  # type: ignore[call-arg]

    def closure() -> torch.Tensor:
        wrapped.zero_grad()
        loss = sum(parameter.square().sum() for parameter in params)
        loss.backward()
        return loss

    before = [parameter.detach().clone() for parameter in params]
    start = float(closure().detach())
    assert float(wrapped.step(closure).detach()) == start
    assert float(closure().detach()) < start
    for parameter, old in zip(params, before, strict=True):
        if parameter.ndim > 1:
            assert float((parameter.detach() - old).norm() / old.norm()) == pytest.approx(0.1)
    assert list(wrapped.trust_ratios()) == ["0.0", "0.2"]


@pytest.mark.parametrize("base", ["sgd", "adadelta", "lars"])
def test_a_scheduler_on_the_base_sees_its_steps(base: str) -> None:
    params = parameters()
    bare = BASES[base](params)
    wrapped = LayerWise(bare)
    scheduler = torch.optim.lr_scheduler.StepLR(bare, 1)
    give_gradients(params, 0)
    wrapped.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()
    assert wrapped.param_groups[0]["lr"] == pytest.approx(0.02)
