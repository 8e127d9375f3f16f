"""Trainings on an accelerator, a pretended one: the CPU's numbers, no mixture of devices, and no step that waits.

See `pretend_accelerator` for what this shows and what it does not.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import pretend_accelerator
import pytest
import torch
from accelerator_trainings import MOMENTUM, RECIPES, prepared
from pretend_accelerator import DEVICE, Accelerator, Event
from torch import nn

from batchlimit.data.splits import sent
from batchlimit.engine import trial
from batchlimit.optimizers import solvers
from batchlimit.optimizers.layerwise import LayerWise
from batchlimit.probes import probes


class Trained(NamedTuple):
    """What a training came to, our functions, innermost first, of each wait for the device, and the ages of events."""

    losses: list[float]
    measured: dict[str, Any]
    waits: list[tuple[str, ...]]
    ages: list[int]


def train(
    device: str, model: str, recipe: dict[str, Any], probed: tuple[str, ...] = (), protocol: str = "paper"
) -> Trained:
    """What `prepared` makes, trained."""
    Event.ages.clear()
    with Accelerator() as accelerator:
        training = prepared(device, model, recipe, probed, protocol)
        trial.train(training)
        _, test = trial.final_scores(training)
    assert test is not None, training.reason
    measured = training.probing.results() if training.probing else {}
    losses = [*(point.train_loss for point in training.history), test.loss]
    return Trained(losses, json.loads(json.dumps(measured)), accelerator.waits, list(Event.ages))


def capturable_steps(solver: str, **options: Any) -> tuple[set[str], list[tuple[str, ...]]]:
    """The devices of a solver's state after three steps, its LR on the device if it can be, and its waits."""
    with Accelerator() as accelerator:
        params = [nn.Parameter(torch.randn(shape, device=DEVICE)) for shape in ((6, 5), (3, 2, 3, 3), (5,))]
        lr: torch.Tensor | float = torch.full((), 0.1, device=DEVICE)
        if solver == "layerwise adamw":
            optimizer: torch.optim.Optimizer = LayerWise(torch.optim.AdamW(params, 0.1, capturable=True), upper=2.0)
        elif solver == "layerwise sgd":
            optimizer, lr = LayerWise(torch.optim.SGD(params, momentum=0.9)), 0.1
        else:
            named = [(f"layer{place}.weight", parameter) for place, parameter in enumerate(params)]
            optimizer = solvers.get(solver)(named, lr=0.1, weight_decay=0.1, **options)
        for _ in range(3):
            for group in optimizer.param_groups:
                group["lr"] = lr
            for parameter in params:
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        states = [value for state in optimizer.state.values() for value in state.values()]
    return {value.device.type for value in states if isinstance(value, torch.Tensor)}, accelerator.waits


def misuse() -> tuple[str, list[tuple[str, ...]]]:
    """What is said to a mixture of devices, and the waits of a value read, two copies and a mask."""
    with Accelerator() as accelerator:
        there = torch.ones(3, device=DEVICE)
        float(there.sum() + torch.tensor(1.0))
        there.cpu()
        there.to(torch.float64)
        there[there > 0]
        torch.ones(3).to(DEVICE)
        sent(torch.ones(3), torch.device(DEVICE))
        try:
            there + torch.ones(3)
        except RuntimeError as error:
            return str(error), accelerator.waits
    return "", accelerator.waits


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, initializer=pretend_accelerator.register) as pool:
        yield pool


def test_the_pretended_accelerator_refuses_mixtures_and_notes_waits(process: ProcessPoolExecutor) -> None:
    said, waits = process.submit(misuse).result()
    assert "pretend:0 and cpu" in said
    assert len(waits) == 4


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_is_the_cpus_and_no_step_waits(name: str, process: ProcessPoolExecutor) -> None:
    model, recipe = RECIPES[name]
    there, here = (process.submit(train, device, model, recipe).result() for device in (DEVICE, "cpu"))
    assert there.losses == pytest.approx(here.losses, rel=1e-4)
    assert not here.waits
    adascale = name == "adascale"  # its rate is a number of the host's
    assert [wait for wait in there.waits if "take_step" in wait and not (adascale and "factor" in wait)] == []
    # The watch for losses that are not finite waits for the step before, and at an epoch's end for the last.
    assert there.ages == [1, 1, 1, 0, 1, 1, 1, 1, 0, 0]


def test_examples_that_are_read_each_time_wait_for_no_step(process: ProcessPoolExecutor) -> None:
    there, here = (process.submit(train, d, "perceptron", MOMENTUM, (), "validation").result() for d in (DEVICE, "cpu"))
    assert there.losses == pytest.approx(here.losses, rel=1e-4)
    assert [wait for wait in there.waits if "take_step" in wait] == []


@pytest.mark.parametrize(
    ("solver", "options"),
    [
        ("lars", {}),
        ("lars", {"preset": "mlperf"}),
        ("lamb", {"capturable": True}),
        ("lamb", {"capturable": True, "clip_norm": 1.0, "upper": 10.0}),
        ("muon", {"capturable": True}),
        ("lion", {}),
        ("adam", {"capturable": True}),
        ("adamw", {"capturable": True}),
        ("rmsprop", {"capturable": True}),
        ("layerwise adamw", {}),
        ("layerwise sgd", {}),
    ],
    ids=str,
)
def test_a_step_that_a_graph_can_record_waits_for_nothing(
    solver: str, options: dict[str, Any], process: ProcessPoolExecutor
) -> None:
    devices, waits = process.submit(capturable_steps, solver, **options).result()
    assert devices == {"pretend"}
    assert waits == []


@pytest.mark.parametrize("name", probes.names())
def test_a_probe_measures_the_same(name: str, process: ProcessPoolExecutor) -> None:
    recipe = {"solver": "lars", "lr": 0.1, "weight_decay": 0.01}
    there, here = (process.submit(train, device, "perceptron", recipe, (name,)).result() for device in (DEVICE, "cpu"))
    assert there.losses == pytest.approx(here.losses, rel=1e-4)
    assert numbers(there.measured) == pytest.approx(numbers(here.measured), rel=1e-2, abs=1e-5)


def numbers(measured: Any) -> list[float]:
    if isinstance(measured, dict):
        measured = list(measured.values())
    if isinstance(measured, list):
        return [number for inner in measured for number in numbers(inner)]
    return [float(measured)] if isinstance(measured, (int, float)) else []
