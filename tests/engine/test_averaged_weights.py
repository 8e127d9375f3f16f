"""Averaging as a field of the recipe: evaluated with the average, trained as if there were none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_training import CPU, TRAIN, config, convolutional, distance, normed, perceptron, prepared, weights, workload
from torch import Tensor

from batchlimit.config import Averaging, Recipe
from batchlimit.engine import Execution, run
from batchlimit.engine.check import check_names
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.engine.trial import Training, final_scores, scores, take_step, train
from batchlimit.errors import InputError

ON_CPU = Execution(device="cpu", microbatch_size=10)


def averaged(**fields: Any) -> Recipe:
    return Recipe(lr=0.3, averaging=Averaging(**fields))


def trajectory(training: Training) -> list[Tensor]:
    """The weights after every step, from a training of the same recipe without averaging."""
    plain = prepared(training.config.updated({"recipe.averaging": None}), training.workload)
    watch, seen = FiniteWatch(CPU), []
    for _ in range(plain.total_steps):
        take_step(plain, watch)
        seen.append(weights(plain))
    return seen


def evaluated(training: Training) -> Tensor:
    assert training.average is not None
    with training.average.applied():
        return weights(training)


def test_the_tail_average_is_the_mean_of_the_weights_from_its_start_on() -> None:
    for start, first in (("0 epochs", 0), ("50%", 4), ("3 steps", 3), ("1 epoch", 4)):
        training = prepared(config(averaged(kind="tail", start=start)), workload())
        train(training)
        seen = trajectory(training)
        assert len(seen) == 8
        torch.testing.assert_close(evaluated(training), torch.stack(seen[first:]).mean(0), rtol=1e-5, atol=1e-6)
        assert torch.equal(weights(training), seen[-1])


@pytest.mark.parametrize(
    ("fields", "decay"),
    [
        ({"decay": 0.8}, 0.8),
        ({}, 0.99),
        ({"half_life": "2 steps"}, 0.5**0.5),
        ({"half_life": "1 epoch"}, 0.5**0.25),
        ({"half_life": "25%"}, 0.5**0.5),
        ({"half_life": f"{TRAIN} examples"}, 0.5**0.25),
    ],
)
def test_the_exponential_average_weighs_by_age(fields: dict[str, Any], decay: float) -> None:
    training = prepared(config(averaged(**fields)), workload())
    train(training)
    seen = torch.stack(trajectory(training)).double()
    shares = decay ** torch.arange(len(seen) - 1, -1, -1, dtype=torch.float64)
    expected = (shares[:, None] * seen).sum(0) / shares.sum()
    torch.testing.assert_close(evaluated(training).double(), expected, rtol=1e-5, atol=1e-6)


def test_scores_are_the_averages_and_training_goes_on_as_if_there_were_none() -> None:
    trial = config(averaged(decay=0.9), protocol="validation", budget="4 epochs")
    plain = prepared(trial.updated({"recipe.averaging": None}), workload())
    training = prepared(trial, workload())
    for each in (training, plain):
        train(each)
    assert torch.equal(weights(training), weights(plain))
    last = weights(training)
    assert [point.train_loss for point in training.history] == [point.train_loss for point in plain.history]
    assert all(a.selection != b.selection for a, b in zip(training.history, plain.history, strict=True))
    selection, test = final_scores(training)
    assert torch.equal(weights(training), last)
    torch.nn.utils.vector_to_parameters(evaluated(training), training.model.parameters())
    training.average = None
    assert distance(weights(training), last) > 1e-3
    assert selection == scores(training, training.examples.selection)
    assert test == scores(training, training.examples.test)


def test_batch_norm_statistics_are_averaged_and_come_back() -> None:
    recipe = averaged(kind="tail").updated({"ghost_batch_size": 10})
    training = prepared(config(recipe), workload(normed), 10)
    train(training)
    live = {name: value.clone() for name, value in training.model.named_buffers()}
    assert training.average is not None
    with training.average.applied():
        means = {name: value.clone() for name, value in training.model.named_buffers()}
    assert any(not torch.equal(means[name], live[name]) for name in live if name.endswith("running_mean"))
    for name, value in training.model.named_buffers():
        assert torch.equal(value, live[name])


def test_micro_batches_do_not_change_the_average() -> None:
    recipe = averaged(decay=0.5).updated({"ghost_batch_size": 10, "lr": 0.1})
    ends = []
    for size in (10, 30):
        training = prepared(config(recipe), workload(convolutional), size)
        train(training)
        ends.append(evaluated(training))
    assert distance(ends[0], ends[1]) < 1e-5


def test_an_average_over_the_tail_of_a_noisy_training_is_better_than_its_end() -> None:
    """What it is for: at a learning rate that keeps the weights bouncing, their mean has the lower loss."""
    noise = {"noise.where": "gradients", "noise.std": 0.3}
    losses = {}
    for name, changes in (("end", {}), ("tail", {"averaging.kind": "tail", "averaging.start": "25%"})):
        recipe = Recipe(lr=0.3).updated({**noise, **changes})
        record = run(config(recipe, budget="20 epochs"), workload=workload(), execution=ON_CPU)
        assert record.test is not None
        losses[name] = record.test.loss
    assert losses["tail"] < 0.9 * losses["end"]


@pytest.mark.parametrize("start", ["100%", "2 epochs", "8 steps", "100 epochs"])
def test_a_start_at_the_end_or_past_it_is_refused(start: str) -> None:
    with pytest.raises(InputError, match=f"averaging.start is {start}, but training ends after 8 step.*Valid: "):
        run(config(averaged(start=start)), workload=workload(), execution=ON_CPU)


def test_a_start_within_the_last_step_evaluates_the_last_weights() -> None:
    for start, trial in (("7 steps", config()), ("50%", config(batch_size=TRAIN, budget="1 epoch"))):
        late = run(trial.updated({"recipe": averaged(start=start).model_dump()}), workload=workload(), execution=ON_CPU)
        plain = run(trial.updated({"recipe.lr": 0.3}), workload=workload(), execution=ON_CPU)
        assert late.history == plain.history


def test_a_recipe_without_averaging_keeps_no_copy() -> None:
    assert prepared(config(), workload()).average is None


def test_schedule_free_is_refused_since_it_averages_itself() -> None:
    recipe = averaged().updated({"solver": "schedule-free"})
    for refused in (
        lambda: check_names(workload(perceptron), recipe, (10,), Execution(device="cpu")),
        lambda: run(config(recipe), workload=workload(), execution=ON_CPU),
    ):
        with pytest.raises(InputError, match="'schedule-free' averages its weights by itself"):
            refused()
    check_names(workload(), averaged(), (10,), Execution(device="cpu"))
