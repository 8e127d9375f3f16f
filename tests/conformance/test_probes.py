"""What every registered probe must do; a probe added in one file is tested here at once."""

from __future__ import annotations

import json

import pytest
import torch
from small_training import config as of_the_engine
from small_training import convolutional, dropping, perceptron, prepared, weights, workload
from torch import nn

from batchlimit.config import Averaging, LayerWise, Noise, Recipe, TrialConfig
from batchlimit.engine import Execution, run
from batchlimit.engine.trial import train
from batchlimit.errors import InputError
from batchlimit.optimizers import solvers
from batchlimit.probes import Probe, finite, probes
from batchlimit.probes.probe import log_spaced

NAMES = probes.names()
# With 3 examples a pass and 24 a step, a probe that compares eight parts of a batch cuts where passes end anyway.
ON_CPU = Execution(device="cpu", microbatch_size=3)
RECIPES = {
    "plain": Recipe(lr=0.1),
    "layerwise": Recipe(lr=0.1, layerwise=LayerWise()),
    "ema": Recipe(lr=0.1, averaging=Averaging(kind="ema", decay=0.8)),
    "tail": Recipe(lr=0.1, averaging=Averaging(kind="tail", start="50%")),
    "clipped": Recipe(lr=0.1, clip_norm=0.1, label_smoothing=0.1),
    "noise on gradients": Recipe(lr=0.1, noise=Noise(where="gradients", std=0.1)),
    "noise on weights": Recipe(lr=0.1, noise=Noise(where="weights", std=0.1)),
    "noise on activations": Recipe(lr=0.1, noise=Noise(where="activations", std=0.1)),
    "bf16": Recipe(lr=0.1, precision="bf16"),
}


def config(*arguments, **changes):
    return of_the_engine(*arguments, **{"batch_size": 24, **changes})


def plain(value):
    """Check that `value` is JSON as it is, and return it as it comes back."""
    again = json.loads(json.dumps(value, allow_nan=False))
    assert again == value
    return again


def trained(trial, work):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        training = prepared(trial, work, 3)
        train(training)
        after = torch.rand(4)
    return training, after


def test_the_built_in_probes_are_registered():
    assert {"weight-distance", "trust-ratios"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name):
    assert probes.get(name).__doc__.split("\n\n")[0].endswith(".")


@pytest.mark.parametrize("model", ["perceptron", "dropping", "normed", "convolutional"])
@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_change_the_training(name, model):
    make = {"perceptron": perceptron, "dropping": dropping, "normed": ghostly, "convolutional": convolutional}[model]
    ghost = 3 if model in ("normed", "convolutional") else None
    work, recipe = workload(make), Recipe(lr=0.1, ghost_batch_size=ghost, solver_options={"momentum": 0.9})
    on, random_on = trained(config(recipe, probes=(name,)), work)
    off, random_off = trained(config(recipe), work)
    assert off.probing is None
    assert torch.equal(weights(on), weights(off))
    for one, other in zip(on.model.buffers(), off.model.buffers(), strict=True):
        assert torch.equal(one, other)
    assert on.history == off.history
    assert on.status == off.status == "complete"
    assert torch.equal(random_on, random_off)
    assert [p.grad is None for p in on.model.parameters()] == [p.grad is None for p in off.model.parameters()]
    assert on.model.training == off.model.training
    plain(on.probing.results())


def ghostly():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 4))


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_rounding_at_most_where_passes_are_large(name):
    work = workload(perceptron)
    both = []
    for chosen in ((name,), ()):
        training = prepared(config(probes=chosen), work, 24)
        train(training)
        both.append(weights(training))
    if probes.get(name).passes == 1:
        assert torch.equal(*both)
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", NAMES)
def test_it_works_with_every_part_of_a_recipe(name, recipe):
    on = run(config(RECIPES[recipe], probes=(name,)), workload=workload(), execution=ON_CPU)
    off = run(config(RECIPES[recipe]), workload=workload(), execution=ON_CPU)
    assert (on.status, on.history, on.test) == (off.status, off.history, off.test)
    assert plain(on.measurements)[name]
    assert off.measurements == {}
    assert "\n" not in probes.get(name).line(plain(on.measurements)[name])


@pytest.mark.parametrize("solver", solvers.names())
def test_all_together_work_with_every_solver(solver):
    recipe = Recipe(solver=solver, lr=0.01)
    on = run(config(recipe, probes=tuple(NAMES)), workload=workload(), execution=ON_CPU)
    off = run(config(recipe), workload=workload(), execution=ON_CPU)
    assert (on.status, on.history, on.test) == (off.status, off.history, off.test)
    assert list(plain(on.measurements)) == NAMES


class Fragile(nn.Module):
    """Gives outputs that are not finite from the pass `bad` on: training diverges there."""

    bad = 0

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 4)
        self.passes = 0

    def forward(self, inputs):
        if self.training:
            self.passes += 1
        return self.inner(inputs) * (float("nan") if self.passes > self.bad and self.training else 1.0)


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_it_survives_a_training_that_diverges(name, steps):
    made = type("FragileAt", (Fragile,), {"bad": 8 * steps})
    record = run(config(probes=(name,)), workload=workload(made), execution=ON_CPU)
    assert record.status == "diverged"
    result = plain(record.measurements)[name]
    probes.get(name).line(result)
    assert plain(record.model_dump(mode="json"))["measurements"] == {name: result}


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_weights_that_are_not_finite(name):
    record = run(config(Recipe(lr=1e38), budget="2 steps", probes=(name,)), workload=workload(), execution=ON_CPU)
    assert record.status == "diverged"
    probes.get(name).line(plain(record.measurements)[name])


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_a_single_update_of_the_full_batch(name):
    record = run(config(batch_size=120, budget="1 step", probes=(name,)), workload=workload(), execution=ON_CPU)
    assert record.status == "complete"
    assert plain(record.measurements)[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_again(name):
    first, second = (
        run(config(probes=(name,)), workload=workload(), execution=ON_CPU).measurements[name] for _ in range(2)
    )
    assert first == second


def test_an_unknown_probe_is_refused_before_any_data_is_read():
    def load():
        raise AssertionError("read the data")

    with pytest.raises(InputError, match=r"Unknown probe 'weight-distanse'\. Did you mean 'weight-distance'\?"):
        run(config(probes=("weight-distanse",)), workload=workload(load=load), execution=ON_CPU)


def test_names_of_probes_are_taken_in_any_form_and_give_one_trial():
    forms = ["trust-ratios,weight-distance", ["weight-distance", "trust-ratios", "weight-distance"]]
    found = {TrialConfig(workload="w", batch_size=1, budget="1 epoch", probes=form).hash for form in forms}
    assert len(found) == 1
    bare = TrialConfig(workload="w", batch_size=1, budget="1 epoch")
    assert bare.hash not in found
    assert TrialConfig(workload="w", batch_size=1, budget="1 epoch", probes="").hash == bare.hash


def test_what_is_not_finite_becomes_none():
    inf = float("inf")
    assert finite({"a": [1.0, inf, (2, float("nan"))], "b": "text", "c": None, "d": -inf}) == {
        "a": [1.0, None, [2, None]],
        "b": "text",
        "c": None,
        "d": None,
    }


@pytest.mark.parametrize("total", [1, 2, 3, 8, 30, 141, 6446, 100_000])
def test_log_spaced_steps_have_both_ends_and_few_between(total):
    steps = log_spaced(total)
    assert steps[0] == 0
    assert steps[-1] == total - 1
    assert steps == sorted(set(steps))
    assert len(steps) <= 8 * 5 + 1


def test_a_probe_looks_at_log_spaced_steps_unless_it_says_otherwise():
    class Counting(Probe):
        def __init__(self, setting):
            super().__init__(setting)
            self.calls = []

        def before_step(self, step):
            self.calls.append(("before", step))

        def after_microbatch(self, step, start, stop):
            self.calls.append(("pass", step, start, stop))

        def after_gradient(self, step):
            self.calls.append(("gradient", step))

        def after_step(self, step):
            self.calls.append(("after", step))

        def result(self):
            return {"calls": self.calls, "odd": float("nan")}

    probes._entries["counting"] = Counting
    try:
        record = run(
            config(probes=("counting",)), workload=workload(), execution=Execution(device="cpu", microbatch_size=15)
        )
    finally:
        del probes._entries["counting"]
    expected = []
    for step in log_spaced(10):
        expected += [
            ["before", step],
            ["pass", step, 0, 15],
            ["pass", step, 15, 24],
            ["gradient", step],
            ["after", step],
        ]
    assert plain(record.measurements["counting"]) == {"calls": expected, "odd": None}
