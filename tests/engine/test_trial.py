"""A trial as a whole: one record for one seed, its history, its protocol, and solvers that need more than `step`."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from small_training import (
    CPU,
    TEST,
    TRAIN,
    VALIDATION,
    config,
    convolutional,
    distance,
    dropping,
    normed,
    prepared,
    weights,
    workload,
)
from torch import Tensor, nn

from batchlimit.config import LayerWise, Recipe
from batchlimit.data.splits import DataSet
from batchlimit.engine import Execution, run
from batchlimit.engine.check import check_names
from batchlimit.engine.evaluate import evaluate
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.engine.trial import (
    answering,
    final_scores,
    is_hopeless,
    measure,
    scores,
    set_lr,
    settle,
    take_step,
    train,
)
from batchlimit.errors import InputError
from batchlimit.records import HistoryPoint, TrialRecord
from batchlimit.workloads.workload import LOSS, Workload, squared_error

ON_CPU = Execution(device="cpu", microbatch_size=10)
GHOST = Recipe(lr=0.1, ghost_batch_size=10)


def measured(record: TrialRecord) -> dict[str, Any]:
    """What a record says of the training, without the clock."""
    return record.model_dump(exclude={"seconds", "started"})


@pytest.mark.parametrize(("make_model", "recipe"), [(dropping, Recipe(lr=0.1)), (convolutional, GHOST)])
def test_one_seed_is_one_record_bit_for_bit(make_model: Any, recipe: Recipe) -> None:
    work = workload(make_model)
    records = [run(config(recipe, seed=4), workload=work, execution=ON_CPU) for _ in range(2)]
    assert measured(records[0]) == measured(records[1])
    other = run(config(recipe, seed=5), workload=work, execution=ON_CPU)
    assert other.history[-1].train_loss != records[0].history[-1].train_loss


def test_auto_is_one_record_too_once_its_choice_is_remembered() -> None:
    records = [run(config(batch_size=TRAIN), workload=workload(), execution=Execution(device="cpu")) for _ in range(2)]
    assert measured(records[0]) == measured(records[1])


def test_plain_dropout_repeats_too() -> None:
    """What draws from the global generator finds there the trial's while it runs."""
    work = workload(lambda: nn.Sequential(nn.Linear(6, 32), nn.AlphaDropout(0.5), nn.Linear(32, 4)))
    torch.manual_seed(1)
    first = run(config(), workload=work, execution=ON_CPU)
    torch.manual_seed(2)
    assert measured(run(config(), workload=work, execution=ON_CPU)) == measured(first)


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(8)
    state = torch.random.get_rng_state()
    run(config(), workload=workload(dropping), execution=ON_CPU)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_seeds_decide_weights_order_and_masks() -> None:
    starts = [prepared(config(seed=seed), workload()) for seed in (0, 0, 1)]
    assert torch.equal(weights(starts[0]), weights(starts[1]))
    assert distance(weights(starts[2]), weights(starts[0])) > 0.1
    assert not torch.equal(starts[2].stream.batch(0), starts[0].stream.batch(0))


@pytest.mark.parametrize(
    ("batch_size", "budget", "steps", "points"),
    [
        (30, "3 epochs", 12, [4, 8, 12]),
        (TRAIN, "3 epochs", 3, [1, 2, 3]),
        (50, "3 epochs", 8, [3, 5, 8]),
        (50, "2.5 epochs", 6, [3, 5, 6]),
        (30, "1 step", 1, [1]),
        (7, "100 examples", 15, [15]),
    ],
)
def test_history_has_one_point_an_epoch_and_one_at_the_end(
    batch_size: int, budget: str, steps: int, points: list[int]
) -> None:
    called: list[tuple[HistoryPoint, int]] = []
    trial = config(batch_size=batch_size, budget=budget)
    record = run(trial, workload=workload(), execution=ON_CPU, on_point=lambda *seen: called.append(seen))
    assert record.status == "complete"
    assert record.reason == ""
    assert (record.steps, record.samples) == (steps, steps * batch_size)
    assert [point.step for point in record.history] == points
    assert record.history[-1].epoch == pytest.approx(steps * batch_size / TRAIN)
    assert called == [(point, steps) for point in record.history]


def test_training_learns_and_the_record_says_what_was_measured() -> None:
    trial = config(Recipe(lr=0.2), budget="20 epochs")
    record = run(trial, workload=workload(), execution=ON_CPU)
    losses = [point.selection.loss for point in record.history if point.selection is not None]
    assert losses[-1] < 0.7 * losses[0]
    assert record.config == trial
    assert record.hash == trial.hash
    assert record.selection == record.test == record.history[-1].selection
    assert record.selection is not None
    assert record.selection.metric > 0.6
    assert record.seconds > 0
    assert record.environment["microbatch_size"] == 10
    assert record.environment["device"] == "cpu"


def test_a_record_survives_json_which_has_no_nan() -> None:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    runaway = run(config(Recipe(lr=1e38), batch_size=TRAIN), workload=workload(), execution=ON_CPU)
    fine = run(config(), workload=workload(), execution=ON_CPU)
    assert runaway.status == "diverged"
    for record in (runaway, fine):
        text = record.model_dump_json()
        json.loads(text, parse_constant=refuse)
        assert TrialRecord.model_validate_json(text) == record


def test_validation_is_held_out_of_training_and_the_paper_trains_on_all() -> None:
    work = workload()
    held = prepared(config(protocol="validation"), work)
    paper = prepared(config(protocol="paper"), work)
    assert [len(part) for part in (held.examples.train, held.examples.selection)] == [TRAIN - VALIDATION, VALIDATION]
    assert len(paper.examples.train) == TRAIN
    assert paper.examples.selection is paper.examples.test
    assert held.examples.selection is not held.examples.test
    for training in (held, paper):
        last = training.stream.batch(training.total_steps - 1)
        assert last.max() < len(training.examples.train)
    train(held)
    selection, test = final_scores(held)
    assert selection == held.history[-1].selection
    assert test == scores(held, held.examples.test)
    assert test != selection


def test_a_metric_that_goes_down_is_the_mean_unsmoothed_loss() -> None:
    trial = config(Recipe(lr=0.1, label_smoothing=0.3))
    record = run(trial, workload=workload(metric=LOSS), execution=ON_CPU)
    assert record.test is not None
    assert record.test.metric == record.test.loss
    last = record.history[-1]
    assert last.selection is not None
    assert last.train_loss != pytest.approx(last.selection.loss, rel=1e-3)  # the one is smoothed, the other is not


def test_evaluation_is_the_same_in_any_chunks_and_puts_the_mode_back() -> None:
    training = prepared(config(GHOST), workload(normed), 10)
    train(training)
    test = training.examples.test
    inputs, targets = test.gather(torch.arange(TEST))
    with torch.no_grad():
        logits = training.model.eval()(inputs)
    expected = nn.functional.cross_entropy(logits, targets).item()
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    for mode in (True, False):
        for chunk in (1, 7, TEST, 1000):
            training.model.train(mode)
            found = evaluate(training.model, training.workload, test, training.layout, chunk=chunk, device=CPU)
            assert found.loss == pytest.approx(expected, rel=1e-5)
            assert found.metric == (logits.argmax(1) == targets).sum().item() / TEST
            assert training.model.training is mode
    assert all(torch.equal(value, before[name]) for name, value in training.model.state_dict().items())


def test_evaluation_passes_hold_at_least_256_examples() -> None:
    assert prepared(config(), workload(), 30).chunk == 256
    training = prepared(config(), workload(), 30)
    training.accumulate.microbatch_size = 512
    assert training.chunk == 512


def test_a_regression_trains_and_is_judged_by_its_loss() -> None:
    def load() -> Any:
        data = base.load()
        flat = [type(part)(part.inputs, part.inputs[:, :2] * 2.0) for part in (data.train, data.test)]
        return type(data)(flat[0], flat[1], validation_size=VALIDATION)

    base = workload()
    work = workload(lambda: nn.Linear(6, 2), load=load, loss=squared_error, metric=LOSS)
    record = run(config(Recipe(lr=0.05), budget="20 epochs"), workload=work, execution=ON_CPU)
    assert record.test is not None
    assert record.test.metric < 0.05


def test_schedule_free_is_evaluated_at_its_average_and_trained_at_its_iterate() -> None:
    recipe = Recipe(solver="schedule-free", lr=0.05)
    training = prepared(config(recipe, budget="3 epochs", protocol="validation"), workload())
    train(training)
    iterate = weights(training)
    while_training = scores(training, training.examples.selection)
    selection, test = final_scores(training)
    torch.testing.assert_close(weights(training), iterate)
    with answering(training):
        assert distance(weights(training), iterate) > 1e-3  # the average
        assert selection == scores(training, training.examples.selection) != while_training
        assert test == scores(training, training.examples.test)
    torch.testing.assert_close(weights(training), iterate)


def test_schedule_free_is_not_rescaled_since_its_average_would_not_be() -> None:
    recipe = Recipe(solver="schedule-free", lr=0.05, layerwise=LayerWise(upper=10.0))
    for refused in (
        lambda: check_names(workload(), recipe, (10,), ON_CPU),
        lambda: run(config(recipe), workload=workload(), execution=ON_CPU),
    ):
        with pytest.raises(
            InputError, match=r"'schedule-free' evaluates at other weights .*Valid: no recipe.layerwise"
        ):
            refused()


def test_the_watched_training_examples_are_of_all_classes_where_the_data_lie_class_by_class() -> None:
    def load() -> DataSet:
        data = workload().load()
        return DataSet(data.train.subset(data.train.targets.argsort(stable=True)), data.test)

    seen = []
    for seed in (0, 1):
        training = prepared(config(seed=seed, watch=("train", "test")), workload(load=load))
        found = training.watched["train"]
        inputs, targets = found.gather(torch.arange(len(found)))
        assert len(found) == TEST
        assert len(targets.unique()) == 4
        assert torch.equal(targets, targets.sort().values)  # in the data's own order
        seen.append(inputs)
    assert torch.equal(seen[0], seen[1])


def test_a_history_point_puts_schedule_free_back_into_training() -> None:
    training = prepared(config(Recipe(solver="schedule-free", lr=0.05)), workload())
    train(training)
    iterate = weights(training)
    point = measure(training, [])
    assert training.history[-1] is point
    assert (point.lr, point.train_loss, point.step) == (0.05, None, training.step)
    torch.testing.assert_close(weights(training), iterate)
    assert training.model.training


@pytest.mark.parametrize("layerwise", [None, LayerWise(upper=10.0)], ids=["bare", "layer-wise"])
def test_kfac_sees_the_model_it_trains(layerwise: LayerWise | None) -> None:
    recipe = Recipe(solver="kfac", lr=0.1, layerwise=layerwise)
    record = run(config(recipe, budget="5 epochs"), workload=workload(), execution=ON_CPU)
    assert record.status == "complete"  # its step raises where nothing was attached
    first, last = record.history[0].selection, record.history[-1].selection
    assert first is not None
    assert last is not None
    assert last.loss < first.loss


def test_a_solver_with_attach_gets_the_model_before_the_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    training = prepared(config(), workload())
    order: list[object] = []
    monkeypatch.setattr(training.optimizer, "attach", order.append, raising=False)
    training.model.register_forward_hook(lambda *call: order.append("pass"))
    train(training)
    assert order[0] is training.model
    assert order.count(training.model) == 1
    assert order[1] == "pass"


def test_learning_rate_factors_of_parameter_groups_are_kept() -> None:
    training = prepared(config(Recipe(lr=0.5), budget="1 step"), workload())
    training.optimizer.param_groups[0]["lr_factor"] = 0.1
    train(training)
    assert training.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert training.history[-1].lr == pytest.approx(0.5)


def test_a_training_goes_on_from_the_step_it_is_at() -> None:
    whole = prepared(config(), workload())
    train(whole)
    parts = prepared(config(), workload())
    parts.total_steps, rest = 3, parts.total_steps
    train(parts)
    assert parts.step == 3
    parts.total_steps = rest
    train(parts)
    assert torch.equal(weights(parts), weights(whole))


def test_one_step_at_a_time() -> None:
    training = prepared(config(Recipe(lr=0.4, schedule="polynomial"), protocol="validation"), workload())
    start = weights(training)
    watch = FiniteWatch(CPU)
    loss = take_step(training, watch)
    assert loss is not None
    assert loss.item() > 0
    assert training.step == 1
    assert distance(weights(training), start) > 1e-3
    set_lr(training, training.total_steps // 2)
    half = 1 - (training.total_steps // 2) / training.total_steps
    assert training.lr == pytest.approx(0.4 * half)
    assert {group["lr"] for group in training.optimizer.param_groups} == {training.lr}
    point = measure(training, [loss])
    assert point.train_loss == pytest.approx(loss.item())
    assert not is_hopeless(training, point)
    settle(training, watch)
    assert (training.status, training.reason) == ("complete", "")


def test_threads_are_those_asked_for() -> None:
    record = run(config(budget="1 step"), workload=workload(), execution=Execution(device="cpu", threads=1))
    assert record.environment["threads"] == 1
    assert torch.get_num_threads() == 1


def test_a_named_workload_is_resolved() -> None:
    trial = config(Recipe(lr=0.05), workload="digits", batch_size=500, budget="1 step")
    record = run(trial, execution=Execution(device="cpu", microbatch_size=250))
    assert record.status == "complete"
    assert record.samples == 500


def test_the_models_own_buffers_and_frozen_parameters_are_no_trouble() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.still = nn.Linear(6, 6).requires_grad_(False)
            self.last = nn.Linear(6, 4)
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

        def forward(self, inputs: Tensor) -> Tensor:
            self.seen += len(inputs) * self.training
            return self.last(self.still(inputs))

    training = prepared(config(Recipe(lr=0.1, weight_decay=0.1, clip_norm=1.0)), workload(Frozen), 7)
    before = training.model.still.weight.clone()
    train(training)
    assert torch.equal(training.model.still.weight, before)
    assert training.model.seen == 2 * TRAIN


def test_workloads_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """`workload=` replaces the one that the configuration names, which is then never looked for."""
    other: Workload = workload()
    record = run(config(workload="no-such-workload"), workload=other, execution=ON_CPU)
    assert record.config.workload == "no-such-workload"
    assert record.status == "complete"
