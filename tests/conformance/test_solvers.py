"""What every registered solver must do; a solver added in one file is tested here at once."""

from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from odd_network import OddNetwork
from torch import Tensor, nn

import batchlimit.optimizers
from batchlimit.config import LayerWise, Recipe
from batchlimit.errors import InputError
from batchlimit.optimizers import solvers
from batchlimit.optimizers.build import build_optimizer, option_names
from batchlimit.optimizers.layerwise import LayerWise as Rescaled

NAMES = solvers.names()
WRAPS = {
    "bare": None,
    "layer-wise": LayerWise(),
    "bounded": LayerWise(lower=0.1, upper=2.0, exclude="nothing"),
}
EXAMPLE = Path(__file__).parents[2] / "examples" / "solver_signsgd.py"


def model() -> nn.Module:
    """A net with matrices, biases, a convolution and a norm: every kind of parameter."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)
    )


def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        inputs = torch.randn(32, 1, 4, 4, generator=generator)
        yield inputs, inputs.flatten(1)[:, :3]


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    losses = []
    for inputs, targets in batches(steps):
        optimizer.zero_grad()
        loss = (net(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def make(name: str, net: nn.Module, wrap: LayerWise | None = None, lr: float = 0.01) -> torch.optim.Optimizer:
    optimizer = build_optimizer(Recipe(solver=name, lr=lr, weight_decay=1e-4, layerwise=wrap), net.named_parameters())
    if hasattr(optimizer, "attach"):  # a solver that watches the model's passes
        optimizer.attach(net)
    return optimizer


AVERAGING = [name for name in NAMES if hasattr(make(name, model()), "eval")]
"""Solvers that evaluate at other weights than they train, which layer-wise scaling does not go with."""


def pairs(*wraps: str) -> Any:
    """A mark that tries every solver in each of `wraps` that it may be in."""
    return pytest.mark.parametrize(
        ("name", "wrap"),
        [
            pytest.param(name, WRAPS[wrap], id=f"{name}-{wrap}")
            for name in NAMES
            for wrap in wraps
            if wrap == "bare" or name not in AVERAGING
        ],
    )


def test_the_built_in_solvers_are_registered() -> None:
    assert {"momentum", "adagrad", "rmsprop", "adam", "adamw", "lars", "lamb"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_scalar_keyword_options_with_defaults_only(name: str) -> None:
    factory = solvers.get(name)
    first, *others = inspect.signature(factory).parameters.values()
    assert first.name == "named_parameters"
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in others)
    assert {"lr", "weight_decay"} <= {p.name for p in others}
    for option in others:
        if option.kind is option.KEYWORD_ONLY and option.name not in ("lr", "weight_decay"):
            assert option.default is None or isinstance(option.default, bool | int | float | str), option.name
    assert (inspect.getdoc(factory) or "").startswith("Return ")


@pairs("bare", "layer-wise", "bounded")
def test_a_step_moves_every_parameter_that_has_a_gradient(name: str, wrap: LayerWise | None) -> None:
    net = model()
    optimizer = make(name, net, wrap)
    before = {key: parameter.detach().clone() for key, parameter in net.named_parameters()}
    train(net, optimizer, 2)
    for key, parameter in net.named_parameters():
        assert torch.isfinite(parameter).all(), key
        if float(parameter.grad.norm()) > 1e-6:  # a bias before a norm has none
            assert not torch.equal(parameter, before[key]), key


@pairs("bare", "layer-wise")
def test_an_odd_network_is_trained(name: str, wrap: LayerWise | None) -> None:
    net = OddNetwork()
    optimizer = make(name, net, wrap)
    before = {key: parameter.detach().clone() for key, parameter in net.named_parameters()}
    losses = net.train_with(optimizer, 5)
    assert all(math.isfinite(loss) for loss in losses)
    for key, parameter in net.named_parameters():
        assert torch.equal(parameter, before[key]) == (key in ("last.bias", "empty")), key


@pytest.mark.parametrize("name", NAMES)
def test_bf16_weights_move_as_those_of_fp32_do_or_are_refused(name: str) -> None:
    """Of layers larger than a vector register: torch's fused SGD has left whole registers of bf16 as they were."""

    def moved(lr: float, dtype: torch.dtype) -> Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 3)).bfloat16().to(dtype)
        before = nn.utils.parameters_to_vector(net.parameters()).detach().float()
        optimizer = make(name, net, lr=lr)
        for inputs, targets in batches(3):
            optimizer.zero_grad()
            (net(inputs.to(dtype)) - targets.to(dtype)).square().mean().backward()
            optimizer.step()
        return nn.utils.parameters_to_vector(net.parameters()).detach().float() - before

    lr = 1e-3
    while moved(lr, torch.float32).norm() < 0.5:  # else the weights' own resolution is what is compared
        lr *= 2
    exact = moved(lr, torch.float32)
    if name in ("kfac", "soap"):
        with pytest.raises(InputError, match=r"Valid: parameters in fp32 or fp64\."):
            moved(lr, torch.bfloat16)
        return
    assert (moved(lr, torch.bfloat16) - exact).norm() < 0.1 * exact.norm()


@pairs("bare", "layer-wise")
def test_it_reduces_a_quadratic(name: str, wrap: LayerWise | None) -> None:
    """The mean over the last steps is below the first loss; the LR is the best of three, as solvers differ in scale."""
    gains = []
    for lr in (0.003, 0.03, 1.0):
        torch.manual_seed(0)
        net, inputs, target = nn.Linear(6, 8, bias=False), torch.eye(6), torch.randn(6, 8)
        optimizer = make(name, net, wrap, lr)
        losses = []
        for _ in range(40):
            optimizer.zero_grad()
            loss = 0.5 * (net(inputs) - target).square().sum()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        gains.append(sum(losses[-5:]) / 5 / losses[0])
    assert min(gains) < 0.9


@pairs("bare", "layer-wise")
def test_a_saved_state_goes_on_bit_for_bit(name: str, wrap: LayerWise | None) -> None:
    net = model()
    optimizer = make(name, net, wrap)
    train(net, optimizer, 3)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = model()
    other.load_state_dict(saved["net"])
    resumed = make(name, other, wrap, lr=0.5)
    resumed.load_state_dict(saved["optimizer"])
    train(net, optimizer, 3)
    train(other, resumed, 3)
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def unpickled(original: Any) -> Any:
    return pickle.loads(pickle.dumps(original))


@pytest.mark.parametrize("copied", [copy.deepcopy, unpickled])
@pairs("bare", "layer-wise")
def test_a_copy_of_model_and_solver_trains_on_bit_for_bit(
    name: str, wrap: LayerWise | None, copied: Callable[[Any], Any]
) -> None:
    net = model()
    optimizer = make(name, net, wrap)
    train(net, optimizer, 3)
    twin, follower = copied((net, optimizer))
    assert train(twin, follower, 3) == train(net, optimizer, 3)
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("copied", [copy.deepcopy, unpickled])
@pairs("bare", "layer-wise")
def test_a_copy_of_a_solver_alone_takes_the_same_step(
    name: str, wrap: LayerWise | None, copied: Callable[[Any], Any]
) -> None:
    net = model()
    optimizer = make(name, net, wrap)
    train(net, optimizer, 2)
    optimizer.zero_grad()
    inputs, targets = next(batches(1))
    (net(inputs) - targets).square().mean().backward()
    follower = copied(optimizer)
    mine, its = ([p for group in solver.param_groups for p in group["params"]] for solver in (optimizer, follower))
    for parameter, own in zip(its, mine, strict=True):
        assert parameter is not own
        parameter.grad = own.grad.clone()  # torch's copies of parameters have none
    optimizer.step()
    follower.step()
    for parameter, own in zip(its, mine, strict=True):
        assert torch.equal(parameter, own)


@pytest.mark.parametrize("name", AVERAGING)
def test_one_that_evaluates_at_other_weights_is_not_rescaled(name: str) -> None:
    with pytest.raises(InputError, match=rf"'{name}' evaluates at other weights .*Valid: no recipe\.layerwise"):
        make(name, model(), LayerWise())


def test_schedule_free_is_such_a_solver() -> None:
    assert "schedule-free" in AVERAGING
    with pytest.raises(InputError, match="'ScheduleFree' evaluates at other weights"):
        Rescaled(make("schedule-free", model()))


@pairs("bare", "layer-wise")
def test_torch_s_schedulers_set_its_learning_rate(name: str, wrap: LayerWise | None) -> None:
    net = model()
    optimizer = make(name, net, wrap, lr=0.5)
    given = [group["lr"] for group in optimizer.param_groups]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step == 0 else 0.5)
    start = copy.deepcopy(list(net.parameters()))
    train(net, optimizer, 1)
    for one, other in zip(net.parameters(), start, strict=True):
        assert torch.equal(one, other), "a learning rate of 0 moves nothing"
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5 * lr for lr in given]
    train(net, optimizer, 1)
    assert not torch.equal(net[4].weight, start[4])


@pairs("bare", "layer-wise")
def test_parameters_without_a_gradient_stay(name: str, wrap: LayerWise | None) -> None:
    net = model()
    optimizer = make(name, net, wrap)
    frozen = net[4].weight
    kept = frozen.detach().clone()
    for parameter in net.parameters():
        parameter.grad = None if parameter is frozen else torch.ones_like(parameter)
    optimizer.step()
    assert torch.equal(frozen, kept)
    optimizer.zero_grad(set_to_none=True)
    optimizer.step()  # none at all


@pairs("bare", "layer-wise")
def test_gradients_of_zero_do_no_harm(name: str, wrap: LayerWise | None) -> None:
    net = model()
    optimizer = make(name, net, wrap)
    for _ in range(2):
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())


@pairs("bare", "layer-wise")
def test_weights_of_zero_leave_zero(name: str, wrap: LayerWise | None) -> None:
    """A trust ratio of 0 would hold a zero tensor at zero for ever."""
    net = nn.Linear(4, 4, bias=False)
    nn.init.zeros_(net.weight)
    optimizer = make(name, net, wrap, lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (net(torch.eye(4)) - torch.eye(4)).square().sum().backward()
        optimizer.step()
    assert float(net.weight.detach().norm()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_closure_s_loss_comes_back(name: str) -> None:
    net = model()
    optimizer = make(name, net, None if name in AVERAGING else LayerWise())
    inputs, targets = next(batches(1))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (net(inputs) - targets).square().mean()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == pytest.approx(float(closure().detach()), rel=0.9)


@pytest.mark.parametrize("name", NAMES)
def test_a_negative_learning_rate_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        solvers.get(name)(model().named_parameters(), lr=-0.1, weight_decay=0.0)


@pytest.mark.parametrize("name", [name for name in NAMES if "eps" in (option_names(solvers.get(name)) or ())])
def test_a_negative_eps_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        solvers.get(name)(model().named_parameters(), lr=0.1, weight_decay=0.0, eps=-1.0)


@pytest.mark.parametrize("name", [name for name in NAMES if option_names(solvers.get(name)) is not None])
def test_an_unknown_option_names_the_valid_ones(name: str) -> None:
    recipe = Recipe(solver=name, solver_options={"momentun": 0.5})
    with pytest.raises(InputError, match="momentun") as caught:
        build_optimizer(recipe, model().named_parameters())
    assert "\n" not in str(caught.value)
    for option in option_names(solvers.get(name)) or []:
        assert option in str(caught.value)


def test_a_value_that_torch_refuses_is_the_user_s_error() -> None:
    with pytest.raises(InputError, match=r"'momentum'.*Nesterov"):
        build_optimizer(
            Recipe(solver="momentum", solver_options={"momentum": 0.0, "nesterov": True}), model().named_parameters()
        )


@pytest.mark.parametrize(
    "option", [("momentum", "momentum"), ("rmsprop", "momentum"), ("rmsprop", "alpha"), ("lars", "momentum")]
)
def test_averages_that_grow_are_refused(option: tuple[str, str]) -> None:
    solver, name = option
    for value in (1.0, 5.0, -0.1):
        recipe = Recipe(solver=solver, solver_options={name: value})
        with pytest.raises(InputError, match=f"{name} = {value} for the solver '{solver}'. Valid: from 0 to below 1"):
            build_optimizer(recipe, model().named_parameters())


@pytest.mark.parametrize(
    ("solver", "option", "value", "valid"),
    [
        ("muon", "nesterov", "False", "true or false"),
        ("lars", "nesterov", 1, "true or false"),
        ("lamb", "bias_correction", "no", "true or false"),
        ("lars", "momentum", True, "a number"),
        ("lamb", "upper", "high", "a number"),
        ("soap", "precondition_every", 2.5, "a whole number"),
        ("lars", "preset", 1, "text"),
    ],
)
def test_an_option_of_another_kind_is_refused(solver: str, option: str, value: Any, valid: str) -> None:
    recipe = Recipe(solver=solver, solver_options={option: value})
    with pytest.raises(InputError) as caught:
        build_optimizer(recipe, model().named_parameters())
    assert str(caught.value) == f"The option '{option}' of the solver '{solver}' is {value!r}: must be {valid}."


def test_a_whole_number_will_do_for_a_number() -> None:
    build_optimizer(Recipe(solver="lars", solver_options={"momentum": 0, "upper": 10}), model().named_parameters())


def test_a_solver_in_one_new_file_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of CONTRIBUTING.md, put beside the built-in solvers, is found by its name and works."""
    (tmp_path / "signsgd.py").write_text(EXAMPLE.read_text())
    monkeypatch.setattr(batchlimit.optimizers, "__path__", [*batchlimit.optimizers.__path__, str(tmp_path)])
    monkeypatch.setattr(solvers, "_entries", dict(solvers._entries))
    monkeypatch.setattr(solvers, "_complete", False)
    assert "signsgd" in solvers.names()
    monkeypatch.delitem(sys.modules, "batchlimit.optimizers.signsgd")
    monkeypatch.delattr(batchlimit.optimizers, "signsgd")
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([3.0, -0.5])
    recipe = Recipe(solver="signsgd", lr=0.25, solver_options={"momentum": 0.0})
    build_optimizer(recipe, [("weight", weight)]).step()
    assert weight.tolist() == [0.75, 1.25]
    assert len(EXAMPLE.read_text().splitlines()) <= 80
