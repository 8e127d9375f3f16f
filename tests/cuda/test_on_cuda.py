"""What a GPU alone can show: CUDA graphs, the CPU's losses, and steps for which the host does not wait.

    BATCHLIMIT_TEST_CUDA=1 pytest tests/cuda

Without the variable no test sees a GPU: all others train on the CPU, whose numbers are the same each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerator_trainings import RECIPES, prepared
from torch import nn

from batchlimit.engine import trial
from batchlimit.engine.step import full_fp32
from batchlimit.engine.stopping import FiniteWatch
from batchlimit.optimizers.lamb import LAMB
from batchlimit.optimizers.lars import LARS
from batchlimit.optimizers.layerwise import LayerWise
from batchlimit.optimizers.lion import Lion
from batchlimit.optimizers.muon import Muon

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device, and BATCHLIMIT_TEST_CUDA=1 to see it"
)

DEVICE = torch.device("cuda")
# A name -> an optimizer of parameters, given the learning rate on the device.
CAPTURABLE: dict[str, Callable[[list[nn.Parameter], Any], torch.optim.Optimizer]] = {
    "lars": lambda params, lr: LARS(params, lr, weight_decay=0.1, coefficient=0.1),
    "lamb": lambda params, lr: LAMB(params, lr, weight_decay=0.1, clip_norm=1.0, capturable=True),
    "muon": lambda params, lr: Muon(params[:1], lr, weight_decay=0.1, capturable=True),
    "lion": lambda params, lr: Lion(params, lr, weight_decay=0.1),
    # torch's SGD takes a number only.
    "layerwise sgd": lambda params, lr: LayerWise(torch.optim.SGD(params, 0.1, momentum=0.9)),
    "layerwise adamw": lambda params, lr: LayerWise(torch.optim.AdamW(params, lr, capturable=True), upper=10.0),
}


@pytest.mark.parametrize("name", CAPTURABLE)
def test_a_step_recorded_in_a_graph_replays(name: str) -> None:
    ends = []
    for recorded in (False, True):
        torch.manual_seed(0)
        params = [nn.Parameter(torch.randn(shape, device=DEVICE)) for shape in ((6, 5), (5,))]
        for parameter in params:
            parameter.grad = torch.randn_like(parameter)
        optimizer = CAPTURABLE[name](params, torch.tensor(0.1, device=DEVICE))
        optimizer.step()
        if recorded:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                optimizer.step()
        for _ in range(3):
            graph.replay() if recorded else optimizer.step()
        ends.append([parameter.detach().clone() for parameter in params])
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


# Noise on these is from the device's own generator.
@pytest.mark.parametrize("name", sorted(RECIPES.keys() - {"noise on weights", "noise on gradients"}))
def test_a_training_has_the_cpus_losses(name: str) -> None:
    losses = []
    for device in ("cuda", "cpu"):
        training = prepared(device, *RECIPES[name])
        with full_fp32(training.device):
            trial.train(training)
        losses.append([point.train_loss for point in training.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - {"adascale"}))  # whose rate is a number of the host's
def test_the_host_waits_for_no_step(name: str) -> None:
    training = prepared("cuda", *RECIPES[name])
    watch = FiniteWatch(training.device)
    if hasattr(training.optimizer, "attach"):
        training.optimizer.attach(training.model)
    trial.take_step(training, watch)  # in the first, memory is asked for and SOAP finds its bases
    trial.take_step(training, watch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert trial.take_step(training, watch) is not None
    finally:
        torch.cuda.set_sync_debug_mode("default")
