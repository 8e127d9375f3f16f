"""LARS, LAMB and `LayerWise` as torch's own optimizers: compiled without graph breaks, LR as a tensor, bf16, CUDA."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from batchlimit.errors import InputError
from batchlimit.optimizers import kernels, solvers
from batchlimit.optimizers.lamb import LAMB
from batchlimit.optimizers.lars import LARS
from batchlimit.optimizers.layerwise import LayerWise

Make = Callable[[list[nn.Parameter], Any], torch.optim.Optimizer]
MAKERS: dict[str, Make] = {
    "lars": lambda params, lr: LARS(params, lr, weight_decay=0.1, coefficient=0.1),
    "lamb": lambda params, lr: LAMB(params, lr, weight_decay=0.1, clip_norm=1.0),
    "layerwise": lambda params, lr: LayerWise(torch.optim.SGD(params, lr, momentum=0.9)),
}


def trajectory(make: Make, lr: Any, backend: str | None = None, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in ((24, 20), (20,))]
    optimizer = make(params, lr)
    torch._dynamo.reset()
    step = optimizer.step if backend is None else torch.compile(optimizer.step, fullgraph=True, backend=backend)
    for _ in range(3):
        for parameter in params:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(dtype)
        step()
    return [parameter.detach() for parameter in params]


@pytest.mark.parametrize("maker", MAKERS)
def test_one_graph_compiled_gives_the_same_weights(maker: str) -> None:
    for lr in (0.1, torch.tensor(0.1)):
        compiled = trajectory(MAKERS[maker], lr, backend="aot_eager")
        torch.testing.assert_close(compiled, trajectory(MAKERS[maker], 0.1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("maker", MAKERS)
def test_the_learning_rate_may_be_a_tensor(maker: str) -> None:
    torch.testing.assert_close(trajectory(MAKERS[maker], torch.tensor(0.1)), trajectory(MAKERS[maker], 0.1))


@pytest.mark.parametrize("kernel", [{"fused": True}, {"foreach": True}, {"foreach": False, "fused": False}], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("solver", "lr"), [(LARS, 100.0), (LAMB, 0.1)])
def test_half_precision_weights_move_as_the_fp32_ones(
    solver: type, lr: float, dtype: torch.dtype, kernel: dict[str, bool]
) -> None:
    def make(params: list[nn.Parameter], lr: Any) -> torch.optim.Optimizer:
        return solver(params, lr, weight_decay=0.1, **kernel)

    rough, fine, start = (
        nn.utils.parameters_to_vector(trajectory(make, rate, dtype=kind)).float()
        for rate, kind in ((lr, dtype), (lr, torch.float32), (0.0, dtype))
    )
    assert (fine - start).norm() > 0.1 * start.norm()
    assert (rough - fine).norm() < 0.05 * (fine - start).norm()


LONG: dict[str, tuple[str, dict[str, Any]]] = {
    "lamb fused": ("lamb", {"fused": True}),
    "lamb fused, clipped": ("lamb", {"fused": True, "clip_norm": 100.0}),
    "lamb foreach": ("lamb", {"foreach": True}),
    "lamb loop": ("lamb", {"foreach": False, "fused": False}),
    "schedule-free": ("schedule-free", {}),
    "muon": ("muon", {}),
    "lion": ("lion", {}),
}


def layer(dtype: torch.dtype, solver: str, lr: float = 0.0, **options: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    net = nn.Linear(5, 6)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    net.to(dtype)
    return net, solvers.get(solver)(net.named_parameters(), lr=lr, weight_decay=0.1, **options)


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, sizes: list[float], seed: int = 1) -> None:
    """A step for each of `sizes`, with random gradients as large as that."""
    generator = torch.Generator().manual_seed(seed)
    for size in sizes:
        for parameter in net.parameters():
            parameter.grad = (size * torch.randn(parameter.shape, generator=generator)).to(parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("long", LONG)
def test_moments_of_half_precision_weights_decay_as_those_of_fp32_ones(long: str, dtype: torch.dtype) -> None:
    """1 - 0.999 is below bf16's resolution: after large gradients a moment in bf16 would stay as it is for good."""
    solver, options = LONG[long]
    ends = []
    for kind in (dtype, torch.float32):
        net, optimizer = layer(kind, solver, **options)
        steps(net, optimizer, [1.0] * 50 + [0.05] * 450)
        ends.append([optimizer.state[parameter] for parameter in net.parameters()])
    for rough, fine in zip(*ends, strict=True):
        for name in {"exp_avg", "exp_avg_sq"} & fine.keys():
            assert rough[name].dtype == torch.float32
            torch.testing.assert_close(rough[name], fine[name], rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("long", LONG)
def test_a_checkpoint_of_bf16_weights_keeps_the_moments_as_they_were(long: str) -> None:
    solver, options = LONG[long]
    pairs = [layer(torch.bfloat16, solver, lr=0.01, **options) for _ in range(3)]
    for net, optimizer in pairs[:2]:
        steps(net, optimizer, [1.0] * 20)
    (whole, _), (first, saved), (resumed, loaded) = pairs
    resumed.load_state_dict(first.state_dict())
    loaded.load_state_dict(saved.state_dict())
    for one, other in zip(first.parameters(), resumed.parameters(), strict=True):
        for name, value in saved.state[one].items():
            again = loaded.state[other][name]
            assert again.dtype == value.dtype
            assert torch.equal(again, value)
    for net, optimizer in (pairs[0], pairs[2]):
        steps(net, optimizer, [1.0] * 20, seed=2)
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_checkpoint_is_taken_as_hooks_leave_it_and_older_ones_become_fp32() -> None:
    net, optimizer = layer(torch.bfloat16, "lamb", lr=0.01)
    steps(net, optimizer, [1.0] * 5)
    older = copy.deepcopy(optimizer.state_dict())
    for moments in older["state"].values():
        moments.update({name: moments[name].bfloat16() for name in ("exp_avg", "exp_avg_sq")})

    def halve(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        changed = {number: {**own, "exp_avg": own["exp_avg"] / 2} for number, own in state["state"].items()}
        return {**state, "state": changed}

    other, loaded = layer(torch.bfloat16, "lamb", lr=0.01)
    loaded.register_load_state_dict_pre_hook(halve)
    loaded.load_state_dict(older)
    for number, parameter in enumerate(other.parameters()):
        found = loaded.state[parameter]["exp_avg"]
        assert found.dtype == torch.float32
        assert torch.equal(found, older["state"][number]["exp_avg"].float() / 2)
    steps(other, loaded, [1.0])
    assert len(loaded._optimizer_load_state_dict_pre_hooks) == 1


def test_bf16_weights_of_several_blocks_move_alike_in_all_implementations() -> None:
    ends = []
    for kernel in ({"fused": True}, {"foreach": True}, {"foreach": False, "fused": False}):
        generator = torch.Generator().manual_seed(0)
        weight = nn.Parameter(torch.randn(600, 500, generator=generator).bfloat16())
        assert weight.numel() > kernels.BLOCK
        optimizer = LAMB([weight], 0.5, weight_decay=0.1, clip_norm=10.0, **kernel)
        for _ in range(2):
            weight.grad = torch.randn(weight.shape, generator=generator).bfloat16()
            optimizer.step()
        ends.append(weight.detach())
    for other in ends[1:]:  # but for a few last bits of bf16
        assert (ends[0].float() - other.float()).norm() < 1e-4 * other.float().norm()


def test_one_graph_compiled_gives_the_same_bf16_weights() -> None:
    compiled = trajectory(MAKERS["lamb"], 0.1, backend="aot_eager", dtype=torch.bfloat16)
    plain = trajectory(MAKERS["lamb"], 0.1, dtype=torch.bfloat16)
    torch.testing.assert_close(compiled, plain, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("maker", ["lars", "lamb"])
def test_without_torch_s_private_kernels_the_result_is_the_same(maker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.fused_kernels_work()
    fast = trajectory(MAKERS[maker], 0.1)
    monkeypatch.delattr(torch, "_fused_sgd_")
    monkeypatch.setattr(torch, "_fused_adam_", lambda *args, **kwargs: None)  # there, but not what it was
    kernels.fused_sgd_works.cache_clear()
    kernels.fused_adam_works.cache_clear()
    assert not kernels.fused_kernels_work()
    slow = trajectory(MAKERS[maker], 0.1)
    monkeypatch.undo()
    kernels.fused_sgd_works.cache_clear()
    kernels.fused_adam_works.cache_clear()
    torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("solver", [LARS, LAMB])
def test_fused_is_refused_where_parameters_are_not_on_a_cpu(solver: type) -> None:
    """The device 'meta' stands for an accelerator."""
    here, away = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3, device="meta"))
    words = (
        rf"fused = True for the solver '{solver.__name__.lower()}'.*'meta'\. Valid: on a CPU alone; .*foreach = True"
    )
    for params in ([away], [here, away], iter([("weight", away)])):
        with pytest.raises(InputError, match=words) as refused:
            solver(params, 0.1, fused=True)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=words):
        solver([{"params": here}, {"params": away, "fused": True}], 0.1)
    with pytest.raises(InputError, match=words):
        solver([here], 0.1, fused=True).add_param_group({"params": [away]})
    for options in ({}, {"foreach": True}, {"fused": False}):
        solver([here, away], 0.1, **options)
    moved = solver([away], 0.1)
    moved.param_groups[0]["fused"] = True  # as a state from a CPU has it
    away.grad = torch.ones_like(away)
    with pytest.raises(InputError, match=words):
        moved.step()
