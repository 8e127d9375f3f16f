"""Ghost batch norm against its float64 twin, its independence of the micro-batch, and the conversion of models."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from naive_ghost_batch_norm import naive_ghost_batch_norm
from torch import Tensor, nn

from batchlimit.errors import InputError
from batchlimit.models.batch_norm_spans import convert_replica_batch_norm
from batchlimit.models.digits_cnn import DigitsCNN
from batchlimit.models.ghost_batch_norm import GhostBatchNorm1d, GhostBatchNorm2d, convert_ghost_batch_norm


def inputs_of(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, generator=generator, dtype=dtype) * 3 + 1


def norm_of(features: int, size: int, dtype: torch.dtype = torch.float64) -> GhostBatchNorm2d:
    norm = GhostBatchNorm2d(features, size).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, features))
        norm.bias.copy_(torch.linspace(-1, 1, features))
        norm.running_mean.copy_(torch.linspace(0, 1, features))
    return norm


@pytest.mark.parametrize(("count", "size"), [(12, 4), (12, 12), (12, 1), (6, 2)])
def test_agrees_with_the_float64_twin(count: int, size: int) -> None:
    norm, inputs = norm_of(3, size), inputs_of(count, 3, 4, 5)
    before = [t.detach().numpy().copy() for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    outputs = norm(inputs)
    expected, mean, var = naive_ghost_batch_norm(inputs.numpy(), *before, size=size, eps=norm.eps, momentum=0.1)
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-10)
    np.testing.assert_allclose(norm.running_var.numpy(), var, rtol=1e-10)
    assert int(norm.num_batches_tracked) == count // size


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 7)])
def test_one_dimension(shape: tuple[int, ...]) -> None:
    norm, inputs = GhostBatchNorm1d(3, 4).double(), inputs_of(*shape)
    expected, _, _ = naive_ghost_batch_norm(
        inputs.numpy(), np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), size=4, eps=1e-5, momentum=0.1
    )
    np.testing.assert_allclose(norm(inputs).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_gradients_are_those_of_the_formula() -> None:
    norm = norm_of(2, 3)
    assert torch.autograd.gradcheck(lambda x: norm(x), inputs_of(6, 2, 2, 2).requires_grad_())


@pytest.mark.parametrize("momentum", [0.1, None])
def test_micro_batches_change_nothing(momentum: float | None) -> None:
    whole = norm_of(3, 4)
    whole.momentum = momentum
    parts = copy.deepcopy(whole)
    inputs = inputs_of(24, 3, 4, 4)
    out_whole = whole(inputs)
    out_parts = torch.cat([parts(inputs[:4]), parts(inputs[4:12]), parts(inputs[12:])])
    out_whole.square().sum().backward()
    out_parts.square().sum().backward()
    torch.testing.assert_close(out_parts, out_whole)
    torch.testing.assert_close(parts.weight.grad, whole.weight.grad)
    for name, buffer in whole.named_buffers():
        torch.testing.assert_close(parts.get_buffer(name), buffer)


def test_running_statistics_average_all_groups_without_momentum() -> None:
    norm = GhostBatchNorm2d(2, 3, momentum=None).double()
    inputs = inputs_of(12, 2, 2, 2)
    norm(inputs[:6])
    norm(inputs[6:])
    expected = torch.stack([inputs[start : start + 3].mean((0, 2, 3)) for start in range(0, 12, 3)]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected)


def test_one_group_is_ordinary_batch_norm() -> None:
    ghost, plain = norm_of(3, 8), nn.BatchNorm2d(3).double()
    plain.load_state_dict(ghost.state_dict())
    inputs = inputs_of(8, 3, 4, 4)
    torch.testing.assert_close(ghost(inputs), plain(inputs))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(ghost.get_buffer(name), buffer)


def test_evaluation_is_ordinary_batch_norm_at_any_size() -> None:
    ghost, plain = norm_of(3, 8).eval(), nn.BatchNorm2d(3).double().eval()
    plain.load_state_dict(ghost.state_dict())
    inputs = inputs_of(5, 3, 4, 4)
    assert torch.equal(ghost(inputs), plain(inputs))


def test_single_precision_and_channels_last() -> None:
    norm = norm_of(3, 4, torch.float32)
    inputs = inputs_of(8, 3, 4, 4, dtype=torch.float32)
    torch.testing.assert_close(norm(inputs.contiguous(memory_format=torch.channels_last)), norm(inputs))


def test_bfloat16_under_autocast_keeps_statistics_in_single_precision() -> None:
    norm = norm_of(3, 4, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = norm(inputs_of(8, 3, 4, 4, dtype=torch.bfloat16))
    assert outputs.dtype == torch.bfloat16
    assert norm.running_mean.dtype == torch.float32


def test_a_size_that_does_not_divide_is_an_error() -> None:
    with pytest.raises(InputError, match="ghost_batch_size 5 does not divide the micro-batch of 12 examples"):
        norm_of(3, 5)(inputs_of(12, 3, 2, 2))
    with pytest.raises(InputError, match="Valid: a whole number of 1 or more"):
        GhostBatchNorm2d(3, 0)
    with pytest.raises(InputError, match="one value has no variance"):
        GhostBatchNorm1d(3, 1)(torch.randn(4, 3))


def test_conversion_keeps_everything_and_changes_the_statistics() -> None:
    model = nn.Sequential(DigitsCNN(norm=True), nn.BatchNorm1d(10))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = dict(model.named_parameters())
    converted = convert_ghost_batch_norm(model, 4)
    assert converted is model
    assert list(converted.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in converted.state_dict().items())
    assert all(dict(converted.named_parameters())[name] is parameter for name, parameter in parameters.items())
    ghosts = [module for module in converted.modules() if isinstance(module, GhostBatchNorm1d | GhostBatchNorm2d)]
    assert [ghost.ghost_batch_size for ghost in ghosts] == [4, 4]
    images = torch.rand(8, 1, 8, 8)
    torch.testing.assert_close(converted(images)[:4], converted(images[:4]))
    nn.Sequential(DigitsCNN(norm=True), nn.BatchNorm1d(10)).load_state_dict(converted.state_dict())


def test_conversion_of_roots_shared_modules_and_modes() -> None:
    root = convert_ghost_batch_norm(nn.BatchNorm2d(3).eval(), 2)
    assert isinstance(root, GhostBatchNorm2d)
    assert not root.training
    shared = nn.BatchNorm1d(4, affine=False, track_running_stats=False)
    model = convert_ghost_batch_norm(nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), shared), 2)
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[1], GhostBatchNorm1d)
    assert model[1] is model[3]
    assert model[1].running_mean is None
    assert model(torch.randn(4, 4)).shape == (4, 4)
    again = convert_ghost_batch_norm(model, 4)
    assert again is model
    assert model[1].ghost_batch_size == 4


def test_a_converted_norm_is_the_same_module_with_its_hooks() -> None:
    root, calls = nn.BatchNorm1d(3), []
    root.register_forward_hook(lambda *call: calls.append("after"))
    root.register_forward_pre_hook(lambda *call: calls.append("before"))
    for converted, kind in (
        (lambda: convert_ghost_batch_norm(root, 2), GhostBatchNorm1d),
        (lambda: convert_replica_batch_norm(root), nn.BatchNorm1d),
    ):
        assert converted() is root
        assert type(root) is kind
        root(torch.randn(4, 3))
    assert calls == ["before", "after"] * 2
    assert not hasattr(root, "ghost_batch_size")


def test_conversion_refuses_what_it_cannot_replace_and_leaves_the_rest() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.SyncBatchNorm(3))
    with pytest.raises(InputError, match=r"cannot replace a SyncBatchNorm\. Valid: BatchNorm1d"):
        convert_ghost_batch_norm(model, 4)
    assert type(model[0]) is nn.BatchNorm1d


@pytest.mark.parametrize("size", [0, -2, "3", None, 2.5, True, math.nan])
def test_a_size_that_is_no_count_is_refused(size: Any) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    message = re.escape(f"ghost_batch_size is {size!r}. Valid: a whole number of 1 or more.")
    with pytest.raises(InputError, match=message):
        convert_ghost_batch_norm(model, size)
    assert type(model[0]) is nn.BatchNorm1d
    with pytest.raises(InputError, match=message):
        GhostBatchNorm1d(3, size)


def test_a_model_without_batch_norm_is_left_alone() -> None:
    model = DigitsCNN()
    assert convert_ghost_batch_norm(model, 4) is model


def test_a_norm_without_a_bias_stays_without() -> None:
    norm, inputs = nn.BatchNorm2d(3).double(), inputs_of(8, 3, 2, 2)
    norm.register_parameter("bias", None)
    expected = torch.cat([copy.deepcopy(norm)(part) for part in inputs.split(4)])
    converted = convert_ghost_batch_norm(norm, 4)
    torch.testing.assert_close(converted(inputs), expected)
    assert list(dict(converted.named_parameters())) == ["weight"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("affine", [True, False])
def test_without_running_statistics_any_type_goes(dtype: torch.dtype, affine: bool) -> None:
    norm, inputs = nn.BatchNorm2d(3, affine=affine, track_running_stats=False).to(dtype), inputs_of(8, 3, 2, 2)
    inputs = inputs.to(dtype)
    expected = torch.cat([norm(part) for part in inputs.split(4)])
    rounding = 1e-2 if dtype == torch.bfloat16 else 1e-9
    torch.testing.assert_close(convert_ghost_batch_norm(norm, 4)(inputs), expected, rtol=rounding, atol=rounding)
