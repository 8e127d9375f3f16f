"""What a rehearsal finds wrong with a workload before any training, and what it lets pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_training import CLASSES, blobs, normed, workload
from torch import nn

from batchlimit.api import find_limit, tune
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine.rehearsal import rehearse
from batchlimit.errors import InputError
from batchlimit.workloads.resolve import resolve
from batchlimit.workloads.workload import Metric, Workload

CPU = torch.device("cpu")


def fails(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("division\nby zero")


def always_the_same() -> Callable[[], nn.Module]:
    model = workload().make_model()
    return lambda: model


def one_too_few() -> DataSet:
    data = workload().load()
    return DataSet(train=TensorSplit(torch.zeros(5, 2), torch.zeros(4)), test=data.test)


@pytest.mark.parametrize("name", ["digits", "small", "normed"])
def test_a_workload_that_works_is_let_pass_and_costs_no_random_numbers(name: str) -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    rehearse({"digits": lambda: resolve("digits"), "small": workload, "normed": lambda: workload(normed)}[name](), CPU)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load": fails}, r"failed in its load\(\): ZeroDivisionError: division$"),
        ({"load": one_too_few}, r"failed in its load\(\): .*5 inputs but 4 targets"),
        ({"make_model": fails}, r"failed in its make_model\(\): ZeroDivisionError"),
        ({"make_model": always_the_same()}, r"make_model\(\) of .* returned the same parameters twice"),
        ({"make_model": lambda: nn.Linear(999, 3)}, r"failed in its model's forward pass: RuntimeError: mat1"),
        ({"prepare": fails}, r"failed in its prepare\(\): ZeroDivisionError"),
        ({"loss": fails}, r"failed in its loss: ZeroDivisionError"),
        ({"loss": lambda outputs, targets: outputs.sum()}, r"failed in its loss: TypeError: .*label_smoothing"),
        ({"loss": F.cross_entropy}, r"The loss of .* averages over its examples; it must sum"),
        (
            {"metric": Metric(total=lambda outputs, targets: outputs.square().mean())},
            r"The metric of .* averages over its examples",
        ),
    ],
)
def test_what_does_not_work_is_one_line_that_names_the_part(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rehearse(replace(workload(), **changes), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ask", [find_limit, tune])
def test_it_comes_before_any_search(ask: Callable[[Workload], object]) -> None:
    with pytest.raises(InputError, match="averages"):
        ask(replace(workload(), loss=F.cross_entropy))


def labelled(label: int, *, split: str) -> Callable[[], DataSet]:
    """Data of which one example in `split` has the class `label`."""
    parts = {name: blobs(30, seed=seed) for seed, name in enumerate(("train", "test", "validation"))}
    parts[split].targets[17] = label
    return lambda: DataSet(parts["train"], parts["test"], parts["validation"])


@pytest.mark.parametrize("split", ["train", "test", "validation"])
@pytest.mark.parametrize("label", [CLASSES, -1])
def test_a_class_that_the_model_does_not_have_is_found_wherever_it_is(split: str, label: int) -> None:
    name = "training" if split == "train" else split
    valid = f"Valid: 0 to {CLASSES - 1}"
    with pytest.raises(InputError, match=rf"^The {name} targets .* have the class {label}, .*{valid}\.$"):
        rehearse(replace(workload(), load=labelled(label, split=split)), CPU)


def test_targets_that_are_left_out_and_bytes_are_let_pass() -> None:
    rehearse(replace(workload(), load=labelled(-100, split="train")), CPU)
    train, test = (TensorSplit(part.inputs, part.targets.byte()) for part in (blobs(30), blobs(30, seed=1)))
    data = DataSet(train, test)
    rehearse(replace(workload(), load=lambda: data), CPU)


def test_lazy_layers_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"make_model\(\) of 'small' returned a model with lazy layers"):
        rehearse(workload(lambda: nn.Sequential(nn.LazyLinear(CLASSES))), CPU)


def test_data_of_one_example_is_enough() -> None:
    one = blobs(1, seed=0) if callable(blobs) else None
    assert one is not None
    data = workload().load()
    rehearse(replace(workload(), load=lambda: DataSet(train=one, test=data.test)), CPU)
