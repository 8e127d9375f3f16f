"""SOAP against `pytorch-optimizer` (kozistr), schedule-free against its authors' package, step by step.

Both codes train a copy of one float64 model, each on its own gradients.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_optimizer as others
import schedulefree as authors
import torch
from paired_training import Training, apart, assert_same, length, tensors, trainings, vectors
from torch import Tensor

from batchlimit.optimizers.schedule_free import schedule_free
from batchlimit.optimizers.soap import Soap

STEPS = 20
LR = 0.01


def _soap(*, every: int, decay: float = 0.0, theirs_decay: float = 0.0) -> tuple[Training, Training]:
    """Return ours and theirs, after two calls of theirs, with its weights and state put into ours.

    Two, because its first call forms the bases and moves nothing, where ours does an update: from there on the paths
    differ. With `merge_dims` and these shapes it flattens a convolution as we do; of a vector that would be an error.
    """
    ours, theirs = trainings(
        lambda model: Soap(
            model.parameters(), LR, eps=0.0, weight_decay=decay, precondition_every=every, max_preconditioner_dim=8
        ),
        lambda model: others.SOAP(
            [{"params": tensors(model), "merge_dims": True}, {"params": vectors(model)}],
            LR,
            eps=0.0,
            weight_decay=theirs_decay,
            precondition_frequency=every,
            max_precondition_dim=8,
        ),
    )
    for _ in range(2):
        theirs.step()
        ours.backward()  # passes over the same examples
    for mine, other in zip(ours.parameters, theirs.parameters, strict=True):
        mine.data.copy_(other.detach())
        ours.optimizer.state[mine].update(_our_state(theirs.optimizer.state[other]))
    return ours, theirs


def _our_state(theirs: dict[str, Any]) -> dict[str, Any]:
    """Return the state of our SOAP after one update, from that of theirs for the same tensor."""
    rows = len(theirs["exp_avg"])
    state = {name: theirs[name].clone().reshape(rows, -1) for name in ("exp_avg", "exp_avg_sq")}
    for side, (factor, basis) in enumerate(zip(theirs["GG"], theirs["Q"], strict=True)):
        if len(factor):
            state |= {f"factor{side}": factor.clone(), f"basis{side}": basis.clone()}
    return {**state, "steps": 1}


def _sort_bases(training: Training) -> None:
    """Put the vectors of our bases in falling order of the eigenvalues that the present gradient leaves them with."""
    for parameter in tensors(training.model):
        state = training.optimizer.state[parameter]
        matrix = parameter.grad.reshape(len(parameter), -1)
        for side, outer in enumerate((matrix @ matrix.mT, matrix.mT @ matrix)):
            basis: Tensor = state[f"basis{side}"]
            factor = state[f"factor{side}"].lerp(outer, 0.05)
            order = (basis * (factor @ basis)).sum(0).argsort(descending=True)
            state[f"basis{side}"] = basis[:, order]
            state["exp_avg_sq"] = state["exp_avg_sq"].index_select(side, order)


def test_soap_first_update_is_ours_alone() -> None:
    """Vyas et al., 2024, algorithm 3, moves the weights at every step; theirs, as the authors' code, not at the first.

    Ours is Adam's update there: in the unrotated basis, as no gradient has yet said which.
    """
    ours, theirs = trainings(
        lambda model: Soap(model.parameters(), LR), lambda model: others.SOAP(model.parameters(), LR)
    )
    adam = Training(lambda model: torch.optim.Adam(model.parameters(), LR, betas=(0.95, 0.95)))
    for training in (ours, theirs, adam):
        training.step()
    assert length(theirs) == 0.0
    assert_same(ours, adam, 1e-12)


def test_soap_sees_a_convolution_as_a_matrix_and_theirs_as_a_tensor_of_four_dimensions() -> None:
    """Algorithm 3 is for matrices. Their merging goes from the front by size, and fails for what ends as a vector.

    It does so at its first update, the second step.
    """
    weight, bias = (torch.nn.Parameter(torch.ones(shape, dtype=torch.float64)) for shape in ((8, 6, 3, 3), (8,)))
    generator = torch.Generator().manual_seed(0)
    weight.grad, bias.grad = (torch.randn(p.shape, generator=generator).double() for p in (weight, bias))
    sides = {}
    for name, options in (("apart", {}), ("merged", {"merge_dims": True, "max_precondition_dim": 54})):
        theirs = others.SOAP([weight], **options)
        theirs.step()
        sides[name] = [len(factor) for factor in theirs.state[weight]["GG"]]
    assert sides == {"apart": [8, 6, 3, 3], "merged": [48, 9]}
    theirs = others.SOAP([bias], merge_dims=True)
    theirs.step()
    with pytest.raises(RuntimeError, match="invalid for input of size 8"):
        theirs.step()
    ours = Soap([weight, bias])
    ours.step()
    assert [len(ours.state[weight][f"factor{side}"]) for side in (0, 1)] == [8, 54]


def test_soap_in_bases_that_stay() -> None:
    ours, theirs = _soap(every=100)
    for _ in range(STEPS):
        ours.step()
        theirs.step()
        assert_same(ours, theirs, 1e-11)


def test_soap_in_bases_that_turn() -> None:
    """Algorithm 4 is Q <- QR(P Q). Theirs, as the authors' code, first sorts Q by its estimates of the eigenvalues.

    It also decomposes in fp32. Ours, its bases sorted by hand before each refresh, agrees to fp32; left alone it is the
    paper's, and another path.
    """
    ours, theirs = _soap(every=5)
    paper, _ = _soap(every=5)
    for step in range(2, STEPS + 2):
        ours.backward()
        if step % 5 == 0:
            _sort_bases(ours)
        ours.optimizer.step()
        theirs.step()
        paper.step()
        assert_same(ours, theirs, 1e-5)
    assert apart(paper, theirs) > 0.01 * length(theirs)


def test_soap_decays_the_weights_before_the_update_and_theirs_after() -> None:
    """Loshchilov and Hutter, 2019, algorithm 2, line 12: decay is of the weights as they were, w - lr (d + wd w).

    Ours, without its own decay and the weights shrunk by hand after the update, walks their path.
    """
    ours, theirs = _soap(every=100, theirs_decay=0.3)
    paper, _ = _soap(every=100, decay=0.3, theirs_decay=0.3)
    for _ in range(STEPS):
        ours.step()
        with torch.no_grad():
            for parameter in ours.parameters:
                parameter.mul_(1 - LR * 0.3)
        theirs.step()
        paper.step()
        assert_same(ours, theirs, 1e-11)
    assert 1e-6 < apart(paper, theirs) < 0.01 * length(theirs)


@pytest.mark.parametrize("base", ["sgd", "adamw"])
@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("power", [0.0, 2.0])
def test_schedule_free_in_both_modes(base: str, decay: float, power: float) -> None:
    """Its warmup is an option of theirs and our recipe's schedule; a step at an LR of 0 comes first, as ours may."""
    beta = {"sgd": {"momentum": 0.9}, "adamw": {"betas": (0.9, 0.999)}}[base]
    make = {"sgd": authors.SGDScheduleFree, "adamw": authors.AdamWScheduleFree}[base]
    lr = {"sgd": 0.5, "adamw": 0.02}[base]
    ours, theirs = trainings(
        lambda model: schedule_free(
            model.named_parameters(),
            lr=lr,
            weight_decay=decay,
            base=base,
            weight_lr_power=power,
            decay_exclude="nothing",
        ),
        lambda model: make(
            model.parameters(), lr=lr, weight_decay=decay, warmup_steps=8, weight_lr_power=power, **beta
        ),
    )
    theirs.optimizer.train()
    for step in range(STEPS):
        rate = 0.0 if step == 0 else lr
        ours.step(rate * min(1.0, (step + 1) / 8))
        theirs.step(rate)
        if step == 0:
            continue  # at an LR of 0 nothing moves
        assert_same(ours, theirs, 1e-12)
        for training in (ours, theirs):
            training.optimizer.eval()
        assert_same(ours, theirs, 1e-12)
        for training in (ours, theirs):
            training.optimizer.train()
