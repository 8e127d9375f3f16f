"""What is found out before any training: names, sizes, devices, versions, and a workload that has changed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from small_training import FEATURES, TEST, TRAIN, VALIDATION, blobs, config, convolutional, dropping, normed, workload
from torch import nn

from batchlimit.config import Recipe
from batchlimit.data.splits import DataSet, TensorSplit
from batchlimit.engine import Execution, run
from batchlimit.engine.check import check_names, constant_score, dataset_size, fingerprint, model_facts
from batchlimit.engine.environment import describe
from batchlimit.errors import InputError
from batchlimit.workloads.workload import ACCURACY, LOSS, Metric, Workload

NO_CUDA = not torch.cuda.is_available()


def test_the_full_batch_is_what_the_protocol_leaves_to_train_on() -> None:
    assert dataset_size(workload().load(), "paper") == TRAIN
    assert dataset_size(workload().load(), "validation") == TRAIN - VALIDATION


def test_the_same_answer_always_scores_the_share_of_the_most_frequent_test_label() -> None:
    def of(labels: list[int], metric: Metric = ACCURACY) -> float | None:
        return constant_score(metric, TensorSplit(torch.zeros(len(labels), 2), torch.tensor(labels)))

    assert of([3, -1, 3, 0, 3, 7, 7, 7]) == 3 / 8
    assert of([1, 1, 0], metric=LOSS) is None
    assert of([]) is None


def test_a_recipe_that_can_be_is_let_pass_and_costs_no_random_numbers() -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    recipe = Recipe(solver="lars", schedule="cosine", lr_rule="sqrt", reference_batch_size=10, ghost_batch_size=10)
    check_names(workload(normed), recipe, (10, 20, 120), Execution(device="cpu", microbatch_size=20))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "sizes", "execution", "message"),
    [
        ({"solver": "momentun"}, (10,), {}, r"Unknown solver 'momentun'\. Did you mean 'momentum'\?"),
        ({"solver_options": {"momentumm": 0.9}}, (10,), {}, "momentumm"),
        ({"schedule": "polynomal"}, (10,), {}, r"Did you mean 'polynomial'\?"),
        ({"schedule_options": {"powr": 1.0}}, (10,), {}, "powr"),
        ({"ghost_batch_size": 7}, (14, 20), {}, "ghost_batch_size 7 does not divide batch_size 20"),
        ({"dropout": 0.2}, (10,), {}, r"recipe\.dropout is 0\.2, and the model Sequential has no dropout layer"),
        ({}, (10, 0), {}, r"The batch size is 0\. Valid: 1 or more"),
        ({}, (10, -5), {}, r"The batch size is -5\. Valid: 1 or more"),
        ({}, (10,), {"device": "tpu"}, r"no device 'tpu' here\. Valid: auto, cpu"),
        ({"ghost_batch_size": 10}, (40,), {"microbatch_size": 25}, "microbatch_size 25 is not a multiple .* 10"),
    ],
)
def test_what_cannot_be_is_one_line_that_says_what_would_do(
    changes: dict[str, Any], sizes: tuple[int, ...], execution: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_names(workload(normed), Recipe().updated(changes), sizes, Execution(**{"device": "cpu", **execution}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ghost_batch_size": 5},
            r"recipe\.ghost_batch_size is 5, and the model Sequential has no batch norm\. Valid:",
        ),
        (
            {"batch_norm_statistics": "estimated"},
            r"recipe\.batch_norm_statistics is 'estimated', and the model Sequential has no batch norm with runn",
        ),
    ],
)
def test_what_is_of_batch_norm_is_refused_for_a_model_without(changes: dict[str, Any], message: str) -> None:
    recipe = Recipe().updated(changes)
    with pytest.raises(InputError, match=message) as caught:
        check_names(workload(), recipe, (10,), Execution(device="cpu"))
    assert "\n" not in str(caught.value)
    check_names(workload(normed), recipe, (10,), Execution(device="cpu"))


def test_statistics_that_are_not_kept_cannot_be_estimated() -> None:
    def make_model() -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 4), nn.BatchNorm1d(4, track_running_stats=False))

    check_names(workload(make_model), Recipe(ghost_batch_size=5), (10,), Execution(device="cpu"))
    with pytest.raises(InputError, match=r"no batch norm with running statistics\. Valid: 'running'"):
        check_names(workload(make_model), Recipe(batch_norm_statistics="estimated"), (10,), Execution(device="cpu"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"batch_size": TRAIN + 1},
            f"batch_size 121 is larger than the {TRAIN} training examples .* Valid: 1 to {TRAIN}",
        ),
        ({"batch_size": 110, "protocol": "validation"}, "Valid: 1 to 100"),
        ({"recipe": Recipe(ghost_batch_size=7)}, r"ghost_batch_size 7 does not divide batch_size 30\. Valid: 1, 2, 3"),
        ({"recipe": Recipe(solver="nosuch")}, "Unknown solver 'nosuch'"),
        ({"recipe": Recipe(schedule="nosuch")}, "nosuch"),
        ({"workload": "nosuch"}, "Unknown workload 'nosuch'"),
    ],
)
def test_run_refuses_before_it_trains(changes: dict[str, Any], message: str) -> None:
    passes: list[int] = []

    def model() -> torch.nn.Module:
        made = normed()
        made.register_forward_hook(lambda *call: passes.append(1))
        return made

    given = None if "workload" in changes else workload(model)
    with pytest.raises(InputError, match=message):
        run(config(**changes), workload=given, execution=Execution(device="cpu", microbatch_size=10**6))
    assert passes == []


def test_the_device_is_found_or_refused() -> None:
    assert Execution(device="cpu").torch_device() == torch.device("cpu")
    assert Execution().torch_device().type == ("cpu" if NO_CUDA else "cuda")
    for name in ("tpu", "cuda:99", "CPU", ""):
        with pytest.raises(InputError, match=r"Valid: auto, cpu"):
            Execution(device=name).torch_device()


@pytest.mark.skipif(not NO_CUDA, reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(InputError, match=rf"There is no device '{name}' here\. Valid: auto, cpu\.$"):
        Execution(device=name).torch_device()


@pytest.mark.parametrize("wrong", [{"microbatch_size": 0}, {"microbatch_size": -1}, {"threads": 0}, {"speed": 3}])
def test_an_execution_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Execution.model_validate(wrong)


def different() -> list[Workload]:
    return [
        workload(dropping),
        workload(metric=LOSS),
        workload(data=DataSet(blobs(TRAIN + 1), blobs(TEST), validation_size=VALIDATION)),
        workload(data=DataSet(blobs(TRAIN), blobs(TEST + 1), validation_size=VALIDATION)),
        workload(data=DataSet(blobs(TRAIN), blobs(TEST), validation_size=VALIDATION + 1)),
        workload(data=DataSet(blobs(TRAIN), blobs(TEST), validation=blobs(9), validation_size=VALIDATION)),
        workload(convolutional),
    ]


def test_a_fingerprint_is_one_line_that_changes_with_the_workload() -> None:
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    mine = fingerprint(workload())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert mine == fingerprint(workload(name="another name", description="and words"))
    assert "\n" not in mine
    facts = json.loads(mine)
    assert facts["parameters"] == 6 * 16 + 16 + 16 * 4 + 4
    assert (facts["train"], facts["validation"], facts["test"]) == (TRAIN, VALIDATION, TEST)
    others = [fingerprint(other) for other in different()]
    assert len({mine, *others}) == 1 + len(others)


def test_the_environment_names_software_and_hardware_in_plain_values() -> None:
    facts = describe(torch.device("cpu"), microbatch_size=64, note=None)
    for name in ("batchlimit", "python", "torch", "numpy", "platform", "cpu", "cores", "device", "threads"):
        assert facts[name], name
    assert facts["torch"] == torch.__version__
    assert facts["device"] == "cpu"
    assert facts["microbatch_size"] == 64
    assert facts["note"] is None
    assert all(isinstance(value, str | int | float | None) for value in facts.values())
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in facts.values())
    assert "accelerator" not in facts
    facts["torch"] = "changed"
    assert describe(torch.device("cpu"))["torch"] == torch.__version__  # no caller can spoil the next one's


def unfactored() -> torch.nn.Module:
    layers = torch.nn.Conv1d(1, 4, 3), torch.nn.Flatten(), torch.nn.utils.parametrizations.weight_norm
    return torch.nn.Sequential(torch.nn.Unflatten(1, (1, -1)), *layers[:2], layers[2](torch.nn.Linear(16, 4)))


def test_a_solver_that_cannot_see_the_model_s_layers_is_found_before_any_training() -> None:
    with pytest.raises(InputError, match="kfac found no layer to factor"):
        check_names(workload(unfactored), Recipe(solver="kfac"), (10,), Execution(device="cpu"))
    recipe = Recipe(solver="kfac", solver_options={"max_factor_dim": 7})
    with pytest.raises(InputError, match=r"at most 7 inputs and outputs \(max_factor_dim\)"):
        check_names(workload(dropping), recipe, (10,), Execution(device="cpu"))


def test_what_studies_know_of_a_model() -> None:
    facts = model_facts(workload(unfactored), Recipe())
    assert facts["refused"] == {"kfac": "kfac found no layer to factor."}
    assert "kfac" not in facts["solvers"]
    assert "muon" in facts["solvers"]
    assert model_facts(workload(dropping), Recipe())["refused"] == {}
    with pytest.raises(InputError, match="Unknown solver"):
        model_facts(workload(), Recipe(solver="nosuch"))
