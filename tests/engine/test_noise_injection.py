"""Noise as a field of the recipe: in its place, of its size, the same in micro-batches, none where none is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_training import (
    CPU,
    FEATURES,
    TRAIN,
    config,
    convolutional,
    distance,
    dropping,
    gradient,
    perceptron,
    prepared,
    weights,
    workload,
)
from torch import Tensor, nn

from batchlimit.config import Noise, Recipe
from batchlimit.engine import Execution, run
from batchlimit.engine.check import check_names
from batchlimit.engine.seeds import derived_seed
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.engine.trial import Training, scores, take_step, train
from batchlimit.errors import InputError
from batchlimit.models import randomness
from batchlimit.models.noise import noisy_targets, weight_noise
from batchlimit.workloads.workload import LOSS, cross_entropy, squared_error

PLACES = ("activations", "weights", "gradients", "labels")
BATCH = 50


def noisy(where: str, std: float = 0.1, **more: Any) -> Recipe:
    return Recipe(lr=0.1, noise=Noise(where=where, std=std, **more))


def at_step_0(recipe: Recipe, make_model: Callable[[], nn.Module] = perceptron, size: int = BATCH) -> Training:
    return prepared(config(recipe, batch_size=BATCH), workload(make_model), size)


def disturbed(training: Training, step: int = 0) -> Tensor:
    """The gradient of weight update `step` on batch 0, with the noise where it goes."""
    assert training.noise is not None
    with training.noise.during_passes(step):
        gradient(training.accumulate, step, training.stream.batch(0))
    training.noise.on_gradients(step)
    return torch.cat([parameter.grad.flatten() for parameter in training.accumulate.parameters])


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("make_model", "changes", "sizes"),
    [
        pytest.param(dropping, {}, (7, 16, 50), id="keyed dropout"),
        pytest.param(convolutional, {"ghost_batch_size": 10}, (10, 20, 50), id="ghost batch norm"),
    ],
)
def test_a_training_in_micro_batches_ends_where_one_in_one_pass_does(
    where: str, make_model: Callable[[], nn.Module], changes: dict[str, Any], sizes: tuple[int, ...]
) -> None:
    recipe = noisy(where, decay="linear").updated(changes)
    clean = prepared(config(Recipe(lr=0.1).updated(changes), batch_size=BATCH), workload(make_model), BATCH)
    train(clean)
    ends = []
    for size in sizes:
        training = prepared(config(recipe, batch_size=BATCH), workload(make_model), size)
        train(training)
        assert training.status == "complete"
        ends.append(weights(training))
        assert distance(ends[-1], ends[0]) < 2e-5
    assert distance(ends[0], weights(clean)) > 1e-3


@pytest.mark.parametrize("where", PLACES)
def test_noise_is_new_at_every_step_and_for_every_seed_and_repeats(where: str) -> None:
    found = disturbed(at_step_0(noisy(where)))
    assert torch.equal(disturbed(at_step_0(noisy(where))), found)
    clean = gradient(at_step_0(Recipe(lr=0.1)).accumulate, 0, at_step_0(Recipe(lr=0.1)).stream.batch(0))
    assert distance(found, clean) > 1e-3
    assert distance(disturbed(at_step_0(noisy(where)), step=1), found) > 1e-3
    other = prepared(config(noisy(where), batch_size=BATCH, seed=1), workload(), BATCH)
    same = at_step_0(noisy(where))
    other.model.load_state_dict(same.model.state_dict())
    other.stream = same.stream
    assert distance(disturbed(other), found) > 1e-3


@pytest.mark.parametrize("where", PLACES)
def test_records_repeat_and_differ_from_those_without_noise(where: str) -> None:
    execution = Execution(device="cpu", microbatch_size=10)
    first, again, clean = (
        run(config(recipe), workload=workload(), execution=execution)
        for recipe in (noisy(where), noisy(where), Recipe(lr=0.1))
    )
    assert first.history == again.history != clean.history
    assert first.config.recipe.noise == noisy(where).noise


def test_noise_on_gradients_has_its_size_and_comes_after_clipping() -> None:
    recipe = noisy("gradients", std=0.5).updated({"clip_norm": 1e-3})
    training = at_step_0(recipe, lambda: nn.Linear(FEATURES, 400))
    training.optimizer.zero_grad()
    start = weights(training)
    assert take_step(training, FiniteWatch(CPU)) is not None
    step = (start - weights(training)) / training.lr  # momentum's first step is the gradient
    assert step.std().item() == pytest.approx(0.5, rel=0.05)
    assert step.mean().item() == pytest.approx(0.0, abs=0.05)


def test_noise_on_weights_gives_the_gradient_at_the_disturbed_weights_and_is_gone_after() -> None:
    training = at_step_0(noisy("weights"))
    start = weights(training)
    found = disturbed(training, step=3)
    assert torch.equal(weights(training), start)
    clean = at_step_0(Recipe(lr=0.1))
    with weight_noise(clean.model.parameters(), 0.1, seed=derived_seed(0, "noise"), step=3):
        assert distance(weights(clean), start) > 0.05
        assert torch.equal(gradient(clean.accumulate, 3, clean.stream.batch(0)), found)


def test_noise_on_weights_is_gone_after_a_step_that_failed() -> None:
    training = at_step_0(noisy("weights"))
    start = weights(training)
    assert training.noise is not None
    with pytest.raises(KeyError, match="broken"), training.noise.during_passes(0):
        raise KeyError("broken")
    assert torch.equal(weights(training), start)


def test_noise_on_labels_by_hand() -> None:
    training = at_step_0(noisy("labels", std=0.3), size=16)
    found = disturbed(training)
    inputs, targets = training.examples.train.gather(training.stream.batch(0))
    with randomness.at(seed=derived_seed(0, "masks"), step=0, start=0, stop=BATCH):
        rows = noisy_targets(targets, 0.3, classes=4)
    loss = -(rows * training.model(inputs).log_softmax(1)).sum() / BATCH
    byhand = torch.autograd.grad(loss, list(training.model.parameters()))
    assert distance(found, torch.cat([part.flatten() for part in byhand])) < 1e-5


def test_noise_on_labels_of_every_pixel_and_on_real_targets() -> None:
    training = at_step_0(noisy("labels"))
    disturb = training.accumulate.disturb_targets
    assert disturb is not None
    maps, labels = torch.zeros(5, 3, 2, 4), torch.randint(0, 3, (5, 2, 4))
    same, rows = disturb(maps, labels)
    assert torch.equal(same, maps)
    assert rows.shape == maps.shape
    assert torch.equal(rows.argmax(1), labels)
    assert 0.05 < (rows - nn.functional.one_hot(labels, 3).movedim(-1, 1)).std() < 0.2
    real = torch.zeros(200, 3)
    assert disturb(real, real)[0] is real
    assert disturb(real, real)[1].std().item() == pytest.approx(0.1, rel=0.2)
    with pytest.raises(InputError, match=r"noise on labels of outputs \(5,\) with targets \(5,\) is not defined"):
        disturb(torch.zeros(5), torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    ("shape", "labels"),
    [((8, 6), (8,)), ((8, 6, 6), (8, 6)), ((8, 5, 6), (8, 5)), ((8, 6, 5), (8, 5)), ((8, 2, 3, 6), (8, 2, 3))],
)
@pytest.mark.parametrize("padding", [False, True], ids=["all scored", "padding"])
def test_little_noise_on_labels_changes_the_loss_by_little_wherever_the_classes_are(
    shape: tuple[int, ...], labels: tuple[int, ...], padding: bool, smoothing: float
) -> None:
    """As many positions as classes leave the order open: then the classes are last, as they are for the loss."""
    disturb = at_step_0(noisy("labels", std=1e-4)).accumulate.disturb_targets
    assert disturb is not None
    draw = torch.Generator().manual_seed(0)
    outputs = torch.randn(shape, generator=draw).requires_grad_()
    targets = torch.randint(0, 5, labels, generator=draw)
    if padding:
        targets[:2] = -100
        targets.flatten()[-5:] = -100
    clean = cross_entropy(outputs, targets, label_smoothing=smoothing)
    disturbed_loss = cross_entropy(*disturb(outputs, targets), label_smoothing=smoothing)
    assert disturbed_loss.item() == pytest.approx(clean.item(), rel=1e-3)
    slopes = [torch.autograd.grad(loss, outputs)[0] for loss in (clean, disturbed_loss)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=0, atol=1e-3)
    assert torch.equal(slopes[1][slopes[0] == 0], slopes[0][slopes[0] == 0])


@pytest.mark.parametrize("positions", [5, 6])
def test_little_noise_on_labels_trains_a_model_of_several_positions_as_none_does(positions: int) -> None:
    def load() -> Any:
        base = workload().load()
        parts = [
            type(part)(part.inputs, (part.targets.unsqueeze(1) + torch.arange(positions)) % 4)
            for part in (base.train, base.test)
        ]
        return type(base)(*parts, validation_size=20)

    def make_model() -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, positions * 6), nn.Unflatten(1, (positions, 6)))

    slopes = []
    for recipe in (Recipe(lr=0.1), noisy("labels", std=1e-4)):
        training = prepared(config(recipe, batch_size=BATCH), workload(make_model, load=load), 16)
        gradient(training.accumulate, 0, training.stream.batch(0))
        slopes.append(torch.cat([parameter.grad.flatten() for parameter in training.accumulate.parameters]))
    assert distance(slopes[1], slopes[0]) < 1e-3


@pytest.mark.parametrize("positions", [5, 6])
def test_noise_on_labels_asks_for_an_order_that_a_loss_of_ones_own_has_too(positions: int) -> None:
    def own(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="sum")

    training = prepared(config(noisy("labels"), batch_size=BATCH), workload(loss=own), BATCH)
    disturb = training.accumulate.disturb_targets
    assert disturb is not None
    with pytest.raises(InputError, match=r"a loss of the workload's own\. Valid: outputs \(n, classes, \.\.\.\)"):
        disturb(torch.zeros(8, positions, 6), torch.zeros(8, positions, dtype=torch.int64))
    targets = torch.tensor([[0, -100, 2, 1]])
    outputs, rows = disturb(torch.zeros(1, 6, 4), targets)
    assert outputs.shape == rows.shape == (1, 6, 4)
    assert rows[:, :, 1].count_nonzero() == 0


def test_a_regression_can_have_noise_on_its_targets() -> None:
    def load() -> Any:
        data = base.load()
        flat = [type(part)(part.inputs, part.inputs[:, :2] * 2.0) for part in (data.train, data.test)]
        return type(data)(flat[0], flat[1], validation_size=20)

    base = workload()
    work = workload(lambda: nn.Linear(FEATURES, 2), load=load, loss=squared_error, metric=LOSS)
    recipe = noisy("labels").updated({"lr": 0.05})
    record = run(config(recipe, budget="20 epochs"), workload=work, execution=Execution(device="cpu"))
    assert record.test is not None
    assert record.test.metric < 0.05


@pytest.mark.parametrize("where", PLACES)
def test_evaluation_sees_no_noise(where: str) -> None:
    training = at_step_0(noisy(where, std=5.0))
    clean = at_step_0(Recipe(lr=0.1))
    disturbed(training)
    assert scores(training, training.examples.test) == scores(clean, clean.examples.test)


def test_the_size_follows_the_decay() -> None:
    training = prepared(
        config(noisy("activations", 0.8, decay="linear"), batch_size=TRAIN, budget="4 epochs"), workload()
    )
    seen: list[float] = []

    def look(module: nn.Module, inputs: object, output: Tensor) -> None:
        if module.training and training.noise is not None:
            seen.append(training.noise.std(training.step))

    training.model.register_forward_hook(look)
    train(training)
    assert sorted(set(seen), reverse=True) == pytest.approx([0.8, 0.6, 0.4, 0.2])
    power = at_step_0(noisy("activations", 0.8, decay="power", power=2.0)).noise
    assert power is not None
    assert [power.std(step) for step in (0, 1, 3)] == pytest.approx([0.8, 0.4, 0.2])


def test_the_decayed_size_is_what_is_added() -> None:
    training = at_step_0(noisy("activations", 1.0, decay="linear"), lambda: nn.Linear(FEATURES, 500))
    batch = torch.zeros(BATCH, FEATURES)
    clean = training.model.bias.detach()
    assert training.noise is not None
    for step in (0, training.total_steps - 1):
        with training.noise.during_passes(step), randomness.at(seed=1, step=step, start=0, stop=BATCH):
            added = training.model(batch) - clean
        assert added.std().item() == pytest.approx(1.0 - step / training.total_steps, rel=0.03)


def test_a_recipe_without_noise_has_nothing_of_it() -> None:
    training = at_step_0(Recipe(lr=0.1))
    assert training.noise is None
    assert training.accumulate.disturb_targets is None
    assert not any(module._forward_hooks for module in training.model.modules())


def test_a_model_without_layers_for_it_is_refused_before_training() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs[:, :4] * self.scale

    work, recipe = workload(Scale), noisy("activations")
    for refused in (
        lambda: check_names(work, recipe, (10,), Execution(device="cpu")),
        lambda: run(config(recipe), workload=work, execution=Execution(device="cpu", microbatch_size=10)),
    ):
        with pytest.raises(InputError, match=r"no layer for noise on activations\. Valid: linear or convolutional"):
            refused()
    check_names(workload(), recipe, (10,), Execution(device="cpu"))
    check_names(work, noisy("weights"), (10,), Execution(device="cpu"))
