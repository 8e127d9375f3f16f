"""The shipped workloads: models that take their data, baselines that the registries know."""

from __future__ import annotations

import inspect

import pytest
import torch

from batchlimit.config import TrialConfig
from batchlimit.data import datasets
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.optimizers import solvers
from batchlimit.schedules import schedules
from batchlimit.workloads import workloads
from batchlimit.workloads.resolve import resolve
from batchlimit.workloads.scaling import to_unit_interval
from batchlimit.workloads.workload import Workload

SIDE = {"digits": 8, "mnist": 28, "mnist-lenet5": 28, "fashion-mnist": 28}


def test_names() -> None:
    assert set(workloads.names()) >= set(SIDE)


@pytest.mark.parametrize("name", sorted(SIDE))
def test_one_gradient_of_made_examples(name: str) -> None:
    workload = resolve(name)
    assert workload.name == name
    side, top = SIDE[name], 16 if name == "digits" else 255
    stored = torch.randint(0, top + 1, (6, 1, side, side), dtype=torch.uint8)
    assert workload.prepare is not None
    inputs = workload.prepare(stored)
    assert inputs.dtype == torch.float32
    assert 0 <= inputs.min() <= inputs.max() <= 1
    model = workload.make_model()
    loss = workload.loss(model(inputs), torch.arange(6), label_smoothing=0.0)
    loss.backward()
    assert loss.ndim == 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", sorted(SIDE))
def test_baseline_is_one_that_can_run(name: str) -> None:
    workload = resolve(name)
    recipe = workload.baseline
    assert recipe.solver in solvers
    options = inspect.signature(schedules.get(recipe.schedule)).parameters
    assert set(recipe.schedule_options) <= set(options)
    config = TrialConfig(workload=name, batch_size=workload.batch_size, budget=workload.budget, recipe=recipe)
    assert config.total_steps(1000) > 0
    assert workload.metric.direction == "up"


@pytest.mark.parametrize(
    ("name", "data", "batch_size", "budget"),
    [
        ("mnist", "mnist", 256, "30 epochs"),
        ("mnist-lenet5", "mnist", 256, "30 epochs"),
        ("fashion-mnist", "fashion_mnist", 256, "30 epochs"),
        ("digits", "digits", 16, "30 epochs"),
    ],
)
def test_each_loads_its_own_data(
    name: str, data: str, batch_size: int, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    empty = DataSet(*[TensorSplit(torch.zeros(1, 1), torch.zeros(1))] * 2)

    class Source:
        def load(self) -> DataSet:
            return empty

    def get(self: object, wanted: str) -> Source:
        asked.append(wanted)
        return Source()

    workload: Workload = resolve(name)
    monkeypatch.setattr(type(datasets), "get", get)
    assert workload.load() is empty
    assert asked == [data]
    assert (workload.batch_size, workload.budget) == (batch_size, budget)


def test_digits_learn_in_a_few_steps() -> None:
    """Forty steps of the baseline's solver at batch 100 take the training loss well below chance."""
    workload = resolve("digits")
    data = workload.load()
    torch.manual_seed(0)
    model = workload.make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.baseline.lr, momentum=0.9)
    assert workload.prepare is not None
    order = torch.randperm(len(data.train))
    for step in range(40):
        inputs, targets = data.train.gather(order[step % 13 * 100 :][:100])
        loss = workload.loss(model(workload.prepare(inputs)), targets, label_smoothing=0.0) / 100
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        inputs, targets = data.test.gather(torch.arange(len(data.test)))
        outputs = model(workload.prepare(inputs))
    assert workload.metric.total is not None
    assert workload.metric.total(outputs, targets) / len(targets) > 0.7


def test_bytes_to_the_unit_interval() -> None:
    stored = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(to_unit_interval(stored), torch.tensor([0.0, 0.2, 1.0]))
    assert stored.tolist() == [0, 51, 255]
