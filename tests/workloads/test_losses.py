"""The built-in losses and metrics: one example counts as one, whatever the shapes, and wrong shapes are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from batchlimit.errors import InputError
from batchlimit.workloads.workload import among_five, correct, cross_entropy, squared_error


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def classes(*shape: int, below: int, seed: int = 1) -> Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(seed))


def naive_cross_entropy(logits: list[Any], target: int, smoothing: float) -> float:
    """Return the cross entropy of one position in float64, with the target mixed with the uniform distribution."""
    norm = math.log(sum(math.exp(logit) for logit in logits))
    losses = [norm - logit for logit in logits]
    return (1 - smoothing) * losses[target] + smoothing * sum(losses) / len(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_class_an_example_is_torch_bit_for_bit(smoothing: float) -> None:
    logits, targets = drawn(37, 10).requires_grad_(), classes(37, below=10)
    twin = logits.detach().clone().requires_grad_()
    loss = cross_entropy(logits, targets, label_smoothing=smoothing)
    expected = F.cross_entropy(twin, targets, reduction="sum", label_smoothing=smoothing)
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected)
    assert logits.grad is not None
    assert twin.grad is not None
    assert torch.equal(logits.grad, twin.grad)
    assert torch.equal(correct(logits, targets), (logits.argmax(-1) == targets).sum())
    assert torch.equal(among_five(logits, targets), (logits.topk(5).indices == targets.unsqueeze(-1)).sum())
    rows = F.one_hot(targets, 10).float()
    assert torch.equal(
        cross_entropy(logits, rows, label_smoothing=smoothing),
        F.cross_entropy(logits, rows, reduction="sum", label_smoothing=smoothing),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("positions", [(3,), (7,), (2, 3)])
def test_cross_entropy_of_an_example_is_the_mean_over_its_positions(
    positions: tuple[int, ...], smoothing: float
) -> None:
    """Seven positions and seven classes leave the order open: then the classes are last."""
    logits, targets = drawn(4, *positions, 7), classes(4, *positions, below=7)
    rows, wanted = logits.double().reshape(4, -1, 7).tolist(), targets.reshape(4, -1).tolist()
    each = [
        [naive_cross_entropy(row, target, smoothing) for row, target in zip(*example, strict=True)]
        for example in zip(rows, wanted, strict=True)
    ]
    expected = sum(sum(losses) / len(losses) for losses in each)
    assert cross_entropy(logits, targets, label_smoothing=smoothing).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_in_dimension_one_where_only_they_fit(smoothing: float) -> None:
    logits, targets = drawn(4, 3, 5, 6), classes(4, 5, 6, below=3)
    moved = logits.movedim(1, -1)
    assert torch.equal(
        cross_entropy(logits, targets, label_smoothing=smoothing),
        cross_entropy(moved, targets, label_smoothing=smoothing),
    )
    rows = F.one_hot(targets, 3).movedim(-1, 1).float()
    torch.testing.assert_close(
        cross_entropy(logits, rows, label_smoothing=smoothing),
        cross_entropy(logits, targets, label_smoothing=smoothing),
    )
    assert torch.equal(correct(logits, targets), correct(moved, targets))


def test_metrics_of_several_positions_are_shares() -> None:
    targets = classes(8, 12, below=50)
    right = F.one_hot(targets, 50).float()
    assert correct(right, targets) == among_five(right, targets) == 8
    half = right.clone()
    half[:, ::2] = -half[:, ::2]
    assert correct(half, targets) == 4
    assert 4 <= among_five(half, targets) <= 8


def test_positions_that_are_left_out_count_neither_way() -> None:
    logits, targets = drawn(2, 6, 9), classes(2, 6, below=9)
    short = torch.cat([targets[:1], targets[1:].masked_fill(torch.arange(6) >= 4, -100)])
    for score in (cross_entropy, correct, among_five):
        expected = score(logits[:1], targets[:1]) + score(logits[1:, :4], targets[1:, :4])
        torch.testing.assert_close(score(logits, short), expected)
    certain = F.one_hot(short.clamp(min=0), 9).float().masked_fill((short == -100).unsqueeze(-1), -100.0)
    for smoothing in (0.0, 0.3):
        as_rows = cross_entropy(logits.movedim(-1, 1), certain.movedim(-1, 1), label_smoothing=smoothing)
        torch.testing.assert_close(as_rows, cross_entropy(logits, short, label_smoothing=smoothing))
        one = cross_entropy(logits[1], certain[1], label_smoothing=smoothing)
        torch.testing.assert_close(one, cross_entropy(logits[1], short[1], label_smoothing=smoothing))
    nothing = torch.full((2, 6), -100)
    assert cross_entropy(logits, nothing) == correct(logits, nothing) == 0


def test_class_156_as_a_byte_is_no_padding() -> None:
    targets = torch.tensor([[156, 156], [156, 3]], dtype=torch.uint8)
    assert correct(F.one_hot(targets.long(), 200).float(), targets) == 2


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [((6, 1), (6,)), ((6,), (6, 1)), ((6,), (6,)), ((6, 1, 4), (6, 4)), ((6, 12), (6, 1, 3, 4)), ((1, 1), (1,))],
)
def test_squared_error_takes_targets_in_the_outputs_shape(outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    given, wanted = drawn(*outputs), drawn(*targets, seed=1)
    pairs = zip(given.reshape(len(given), -1).tolist(), wanted.reshape(len(given), -1).tolist(), strict=True)
    expected = sum(sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) / len(pair[0]) for pair in pairs)
    assert squared_error(given, wanted).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(9, 1), (9, 4), (9, 2, 3)])
def test_squared_error_of_equal_shapes_is_what_it_was_bit_for_bit(shape: tuple[int, ...]) -> None:
    outputs, targets = drawn(*shape), drawn(*shape, seed=1)
    expected = F.mse_loss(outputs, targets, reduction="none").flatten(1).mean(1).sum()
    assert torch.equal(squared_error(outputs, targets), expected)


@pytest.mark.parametrize(
    ("score", "outputs", "targets"),
    [
        (squared_error, (6, 2), (6,)),
        (squared_error, (6,), (1, 6)),
        (squared_error, (6, 2), (12,)),
        (squared_error, (6, 3, 4), (6, 4, 3)),
        (cross_entropy, (6, 4), (6, 1)),
        (cross_entropy, (6, 4), (6, 4)),
        (cross_entropy, (12, 4), (6, 2)),
        (cross_entropy, (6, 5, 4), (6,)),
        (cross_entropy, (6,), (6,)),
        (correct, (6, 4), (6, 1)),
        (correct, (12, 4), (6, 2)),
        (correct, (6, 5, 4), (6,)),
        (correct, (6,), (6,)),
        (among_five, (6, 4), (6, 1)),
        (among_five, (6, 5, 4), (6, 3)),
    ],
)
def test_other_shapes_are_refused_in_one_line(
    score: Callable[..., Tensor], outputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match="Valid: ") as raised:
        score(drawn(*outputs), classes(*targets, below=3))
    text = str(raised.value)
    assert str(outputs) in text
    assert str(targets) in text
    assert "\n" not in text


def test_shapes_are_checked_without_reading_a_number() -> None:
    """Tensors without contents go through: nothing waits for a device."""
    for shape in ((6,), (6, 3)):
        logits, targets = torch.empty(*shape, 9, device="meta"), torch.empty(shape, dtype=torch.long, device="meta")
        for score in (cross_entropy, correct, among_five):
            assert score(logits, targets).shape == ()
    assert squared_error(torch.empty(6, 1, device="meta"), torch.empty(6, device="meta")).shape == ()
