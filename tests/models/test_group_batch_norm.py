"""Group batch norm on 1, 2 and 4 gloo ranks: equal to one process with the union, and to its float64 twin."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from naive_group_batch_norm import naive_group_batch_norm
from spawned_ranks import run_ranks
from torch import Tensor, nn

from batchlimit.engine.distributed import ReplicaGroup, group_of
from batchlimit.errors import InputError
from batchlimit.models.batch_norm_spans import convert_replica_batch_norm
from batchlimit.models.digits_cnn import DigitsCNN
from batchlimit.models.ghost_batch_norm import GhostBatchNorm2d, convert_ghost_batch_norm
from batchlimit.models.group_batch_norm import GroupBatchNorm1d, GroupBatchNorm2d, convert_group_batch_norm

FEATURES = 3
SHAPES = {"1d": (), "1d sequence": (5,), "2d": (4, 3), "3d": (2, 3, 2)}
NORMS = {"1d": nn.BatchNorm1d, "1d sequence": nn.BatchNorm1d, "2d": nn.BatchNorm2d, "3d": nn.BatchNorm3d}
EXAMPLES = 24
# How the 24 examples lie on the ranks: evenly, and unevenly, with none or one on a rank.
EVEN = {1: (24,), 2: (12, 12), 4: (6, 6, 6, 6)}
UNEVEN = {1: (24,), 2: (17, 7), 4: (11, 0, 12, 1)}
ALONE = ReplicaGroup((0,), 0, None)


def examples(kind: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return inputs whose mean is large against their deviation, and a gradient for the outputs."""
    generator = torch.Generator().manual_seed(len(kind))
    shape = (EXAMPLES, FEATURES, *SHAPES[kind])
    inputs, slopes = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return (inputs * 2 + 30).to(dtype), slopes.to(dtype)


def norm_of(kind: str, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Module:
    norm = NORMS[kind](FEATURES, **options).to(dtype)
    with torch.no_grad():
        if norm.affine:
            norm.weight.copy_(torch.linspace(0.5, 2, FEATURES))
            norm.bias.copy_(torch.linspace(-1, 1, FEATURES))
    return norm


def trained(norm: nn.Module, inputs: Tensor, slopes: Tensor) -> dict[str, Tensor]:
    """Return outputs, gradients and buffers of one pass with the given gradient of the outputs."""
    inputs = inputs.clone().requires_grad_()
    outputs = norm(inputs)
    outputs.backward(slopes)
    assert inputs.grad is not None
    found = {"outputs": outputs.detach(), "inputs": inputs.grad}
    found |= {name: parameter.grad for name, parameter in norm.named_parameters() if parameter.grad is not None}
    found |= {f"running {name}": buffer.clone() for name, buffer in norm.named_buffers()}
    return found


CASES: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind} for kind in SHAPES},
    "single precision": {"kind": "2d", "dtype": torch.float32},
    "cumulative average": {"kind": "2d", "momentum": None},
    "not affine": {"kind": "2d", "affine": False},
    "not tracking": {"kind": "2d", "track_running_stats": False},
}


def case(name: str) -> tuple[str, torch.dtype, dict[str, Any]]:
    options = dict(CASES[name])
    return options.pop("kind"), options.pop("dtype", torch.float64), options


def work(rank: int, world: int) -> dict[str, Any]:
    """What every rank does: each case on even and uneven shards, ghosts over all, groups of two, and a whole model."""
    found: dict[str, Any] = {}
    everyone = group_of()
    for split, shards in (("even", EVEN[world]), ("uneven", UNEVEN[world])):
        own = slice(sum(shards[:rank]), sum(shards[: rank + 1]))
        for name in CASES:
            kind, dtype, options = case(name)
            inputs, slopes = examples(kind, dtype)
            norm = convert_group_batch_norm(norm_of(kind, dtype, **options), everyone)
            trained(norm, inputs.flip(0)[own], slopes[own])  # the running statistics move twice
            norm.zero_grad()
            found[f"{split} {name}"] = trained(norm, inputs[own], slopes[own])
    found["ghosts"] = ghosts(rank, world, everyone)
    if world == 4:
        inputs, slopes = examples("2d")
        own = slice(6 * rank, 6 * rank + 6)
        pair = group_of(2)
        found["pair"] = trained(convert_group_batch_norm(norm_of("2d"), pair), inputs[own], slopes[own])
        found["ranks"] = [pair.place, *pair.ranks]
        single = group_of(1)
        found["single"] = trained(convert_group_batch_norm(norm_of("2d"), single), inputs[own], slopes[own])
    found["model"] = model_step(everyone, *(part[rank::world] for part in pictures()))
    return found


def ghosts(rank: int, world: int, group: ReplicaGroup) -> dict[str, Tensor]:
    """Two ghost batches of 12 examples, of which each rank holds 12 / world: it can hold no whole one."""
    inputs, slopes = examples("2d")
    part = 12 // world
    own = torch.cat([torch.arange(12 * ghost + part * rank, 12 * ghost + part * (rank + 1)) for ghost in (0, 1)])
    return trained(convert_group_batch_norm(norm_of("2d"), group, ghost_batch_size=12), inputs[own], slopes[own])


def pictures() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(16, 1, 8, 8, generator=generator), torch.arange(16) % 10


def model_step(group: ReplicaGroup | None, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """One gradient of a whole model in single precision, summed over the ranks as data parallelism does."""
    torch.manual_seed(0)
    model = DigitsCNN(norm=True)
    if group is not None:
        model = convert_group_batch_norm(model, group)
    loss = nn.functional.cross_entropy(model(images), targets, reduction="sum") / 16
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {name: group(gradient) if group is not None else gradient for name, gradient in gradients.items()}


@pytest.fixture(scope="module", params=[1, 2, 4])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_ranks(work, request.param, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("split", ["even", "uneven"])
@pytest.mark.parametrize("name", list(CASES))
def test_ranks_together_are_one_process_with_the_union(ranks: list[dict[str, Any]], name: str, split: str) -> None:
    kind, dtype, options = case(name)
    inputs, slopes = examples(kind, dtype)
    norm = norm_of(kind, dtype, **options)
    trained(norm, inputs.flip(0), slopes)
    norm.zero_grad()
    # The first pass of the ranks saw other shards of the flipped inputs, in all the same union.
    expected = trained(norm, inputs, slopes)
    got = [found[f"{split} {name}"] for found in ranks]
    assert set(got[0]) == set(expected)
    for key, value in expected.items():
        if key in ("outputs", "inputs"):
            whole = torch.cat([part[key] for part in got])
        elif key in ("weight", "bias"):
            whole = torch.stack([part[key] for part in got]).sum(0)
        else:
            whole = got[0][key]
            assert all(torch.equal(part[key], whole) for part in got), f"{key} differs between ranks"
        torch.testing.assert_close(whole, value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))
        if dtype == torch.float64:
            torch.testing.assert_close(whole, value, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["1d", "2d"])
def test_ranks_agree_with_the_float64_twin(ranks: list[dict[str, Any]], name: str) -> None:
    inputs, slopes = examples(name)
    shards, norm = list(UNEVEN[len(ranks)]), norm_of(name)
    weight, bias = (t.detach().numpy() for t in (norm.weight, norm.bias))
    first, second = (
        naive_group_batch_norm(
            [part.numpy() for part in values.split(shards)],
            [part.numpy() for part in slopes.split(shards)],
            weight,
            bias,
            eps=1e-5,
        )
        for values in (inputs.flip(0), inputs)
    )
    for rank, found in enumerate(ranks):
        for key in ("outputs", "inputs", "weight", "bias"):
            got = found[f"uneven {name}"][key].numpy()
            np.testing.assert_allclose(got, second[key][rank], rtol=1e-8, atol=1e-9)
        for place, key, start in ((0, "running running_mean", 0.0), (1, "running running_var", 1.0)):
            once = 0.9 * start + 0.1 * first["running"][place]
            expected = 0.9 * once + 0.1 * second["running"][place]
            np.testing.assert_allclose(found[f"uneven {name}"][key].numpy(), expected, rtol=1e-10)


def test_ghosts_larger_than_a_replica_are_those_of_one_process(ranks: list[dict[str, Any]]) -> None:
    inputs, slopes = examples("2d")
    expected = trained(convert_ghost_batch_norm(norm_of("2d"), 12), inputs, slopes)
    part = 12 // len(ranks)
    for key in ("outputs", "inputs"):
        in_order = [found["ghosts"][key][part * ghost : part * (ghost + 1)] for ghost in (0, 1) for found in ranks]
        torch.testing.assert_close(torch.cat(in_order), expected[key], rtol=1e-9, atol=1e-10)
    for key in ("running running_mean", "running running_var", "running num_batches_tracked"):
        torch.testing.assert_close(ranks[-1]["ghosts"][key], expected[key], rtol=1e-9, atol=0)


def test_the_gradient_of_a_model_is_that_of_one_process(ranks: list[dict[str, Any]]) -> None:
    world = len(ranks)
    order = torch.cat([torch.arange(16)[rank::world] for rank in range(world)])
    expected = model_step(None, *(part[order] for part in pictures()))
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(ranks[0]["model"][name], gradient, rtol=1e-4, atol=1e-5 * largest)


def test_groups_of_some_ranks_are_apart(ranks: list[dict[str, Any]]) -> None:
    if len(ranks) != 4:
        assert "pair" not in ranks[0]  # only four ranks make two pairs
        return
    inputs, slopes = examples("2d")
    for key, members in (("pair", 2), ("single", 1)):
        for start in range(0, 4, members):
            own = slice(6 * start, 6 * (start + members))
            expected = trained(norm_of("2d"), inputs[own], slopes[own])
            got = torch.cat([found[key]["outputs"] for found in ranks[start : start + members]])
            torch.testing.assert_close(got, expected["outputs"], rtol=1e-9, atol=1e-10)
            mean = ranks[start][key]["running running_mean"]
            torch.testing.assert_close(mean, expected["running running_mean"], rtol=1e-12, atol=0)
    assert [found["ranks"] for found in ranks] == [[0, 0, 1], [1, 0, 1], [0, 2, 3], [1, 2, 3]]


def test_evaluation_is_ordinary_batch_norm_and_asks_nobody() -> None:
    def refuse(tensor: Tensor) -> Tensor:
        raise AssertionError("evaluation needs no other replica")

    group = type("Refusing", (), {"members": 2, "__call__": staticmethod(refuse)})()
    plain = norm_of("2d").eval()
    grouped = convert_group_batch_norm(copy.deepcopy(plain), group)
    inputs, _ = examples("2d")
    assert torch.equal(grouped(inputs[:5]), plain(inputs[:5]))
    with pytest.raises(AssertionError, match="no other replica"):
        grouped.train()(inputs)


def test_gradients_of_gradients_are_those_of_the_formula() -> None:
    norm = convert_group_batch_norm(norm_of("2d"), ALONE)
    inputs = examples("2d")[0][:3, :, :2, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(norm, inputs)
    assert torch.autograd.gradgradcheck(norm, inputs)


def test_channels_last_and_half_precision() -> None:
    norm = convert_group_batch_norm(norm_of("2d", torch.float32), ALONE)
    inputs = examples("2d", torch.float32)[0]
    last = inputs.contiguous(memory_format=torch.channels_last)
    outputs = norm(last)
    torch.testing.assert_close(outputs, norm(inputs))
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    half = norm(inputs.bfloat16())
    assert half.dtype == torch.bfloat16
    assert norm.running_mean.dtype == torch.float32
    torch.testing.assert_close(half.float(), norm(inputs.bfloat16().float()), rtol=0.01, atol=0.01)


def test_conversion_between_spans_keeps_the_parameters() -> None:
    model = nn.Sequential(DigitsCNN(norm=True), nn.BatchNorm1d(10))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = dict(model.named_parameters())
    shown = []
    for convert in (
        lambda: convert_ghost_batch_norm(model, 4),
        lambda: convert_group_batch_norm(model, ALONE),
        lambda: convert_ghost_batch_norm(model, 8),
        lambda: convert_group_batch_norm(model, ALONE, 4),
        lambda: convert_replica_batch_norm(model),
    ):
        assert convert() is model
        assert all(dict(model.named_parameters())[name] is parameter for name, parameter in parameters.items())
        assert list(model.state_dict()) == list(state)
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        shown.append([(type(norm).__name__, getattr(norm, "ghost_batch_size", None)) for norm in norms])
    names = [{name for name, _ in row} for row in shown]
    assert names[0] == names[2] == {"GhostBatchNorm1d", "GhostBatchNorm2d"}
    assert names[1] == names[3] == {"GroupBatchNorm1d", "GroupBatchNorm2d"}
    assert names[4] == {"BatchNorm1d", "BatchNorm2d"}
    assert [{size for _, size in row} for row in shown] == [{4}, {None}, {8}, {4}, {None}]


def test_a_copied_model_stays_in_its_group() -> None:
    model = convert_group_batch_norm(nn.Sequential(nn.BatchNorm1d(4)), ALONE)
    copied = copy.deepcopy(model)
    assert isinstance(copied[0], GroupBatchNorm1d)
    assert copied[0].group is ALONE
    assert copied[0].weight is not model[0].weight


def test_what_cannot_be_is_bad_input() -> None:
    pair = ReplicaGroup((0, 1), 0, None)
    with pytest.raises(InputError, match=r"ghost_batch_size 5 cannot be shared by 2 replicas\. Valid: a multiple of 2"):
        convert_group_batch_norm(nn.Sequential(), pair, 5)
    with pytest.raises(InputError, match="is 3 examples on each, which does not divide the micro-batch of 8"):
        GroupBatchNorm2d(3, pair, 6)(torch.randn(8, 3, 2, 2))
    with pytest.raises(InputError, match="one value has no variance"):
        GroupBatchNorm1d(3, ALONE)(torch.randn(1, 3))
    with pytest.raises(InputError, match=r"Group batch norm cannot replace a SyncBatchNorm\. Valid: BatchNorm1d"):
        convert_group_batch_norm(nn.SyncBatchNorm(3), ALONE)
    with pytest.raises(InputError, match="Plain batch norm cannot replace a SyncBatchNorm"):
        convert_replica_batch_norm(nn.SyncBatchNorm(3))


def test_one_member_with_ghosts_is_ghost_batch_norm() -> None:
    inputs, slopes = examples("2d")
    expected = trained(convert_ghost_batch_norm(norm_of("2d"), 4), inputs, slopes)
    got = trained(convert_group_batch_norm(norm_of("2d"), ALONE, 4), inputs, slopes)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=1e-9, atol=1e-10)
    assert isinstance(convert_ghost_batch_norm(nn.BatchNorm2d(3), 2), GhostBatchNorm2d)


def test_a_norm_without_a_bias_stays_without() -> None:
    norm, (inputs, _) = norm_of("2d"), examples("2d")
    norm.register_parameter("bias", None)
    expected = norm(inputs)
    torch.testing.assert_close(convert_group_batch_norm(norm, ALONE)(inputs), expected)
