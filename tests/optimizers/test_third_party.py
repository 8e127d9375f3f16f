"""LARS, LAMB, Lion and Muon against `pytorch-optimizer` (kozistr), step by step.

Both codes train a copy of one float64 model, each on its own gradients. Where they differ, by a mistake or a choice, a
test says in what exactly: ours with that one thing changed by hand walks their path.
"""

from __future__ import annotations

from functools import partial

import pytest
import pytorch_optimizer as others
import pytorch_optimizer.optimizer.muon.base as others_muon
import torch
from paired_training import Training, apart, assert_same, length, tensors, trainings, vectors

from batchlimit.optimizers.lamb import LAMB
from batchlimit.optimizers.lars import LARS, lars
from batchlimit.optimizers.lion import lion
from batchlimit.optimizers.muon import muon

STEPS = 20
WARMUP = [0.1 * (step + 1) for step in range(10)] + [1.0 - 0.08 * step for step in range(10)]


def _lars(decay: float = 0.05, *, nesterov: bool = False) -> tuple[Training, Training]:
    """Return ours and theirs. Theirs never decays a vector: our 'mlperf'."""
    return trainings(
        lambda model: lars(
            model.named_parameters(),
            lr=0.5,
            weight_decay=decay,
            preset="mlperf",
            coefficient=0.05,
            nesterov=nesterov,
        ),
        lambda model: others.LARS(
            model.parameters(), lr=0.5, weight_decay=decay, trust_coefficient=0.05, nesterov=nesterov
        ),
    )


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_lars_at_a_constant_learning_rate(decay: float, nesterov: bool) -> None:
    ours, theirs = _lars(decay, nesterov=nesterov)
    for _ in range(STEPS):
        ours.step()
        theirs.step()
        assert_same(ours, theirs, 1e-12)


def test_lars_learning_rate_of_the_past_is_in_our_buffer_and_not_in_theirs() -> None:
    """You, Gitman and Ginsburg, 2017, algorithm 1: v <- m v + lr_t r (g + wd w); w <- w - v.

    So an update of the past counts with the LR it was taken at. Theirs leaves the LR out of the buffer and the ratio
    in it: its whole past moves with today's LR, which is ours with the buffer rescaled whenever the LR changes.
    """
    ours, theirs = _lars()
    rescaled, _ = _lars()
    past = WARMUP[0]
    for lr in WARMUP:
        for state in rescaled.optimizer.state.values():
            state["momentum_buffer"].mul_(lr / past)
        for training in (ours, theirs, rescaled):
            training.step(lr)
        assert_same(rescaled, theirs, 1e-12)
        past = lr
    assert apart(ours, theirs) > 0.02 * length(theirs)


def test_lars_without_a_gradient_only_decays() -> None:
    """The paper's equation 6 by the letter gives such a layer the ratio coefficient / wd, and that is theirs.

    Ours is 1 where either norm is 0, and the layer decays as any other: the choice of MLPerf's reference.
    """
    weights = [torch.nn.Parameter(torch.full((4, 3), 2.0, dtype=torch.float64)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    LARS([weights[0]], lr=0.5, weight_decay=0.1, coefficient=0.05).step()
    others.LARS([weights[1]], lr=0.5, weight_decay=0.1, trust_coefficient=0.05).step()
    torch.testing.assert_close(weights[0].detach(), torch.full((4, 3), 2.0 * (1 - 0.5 * 0.1)).double())
    torch.testing.assert_close(weights[1].detach(), torch.full((4, 3), 2.0 * (1 - 0.5 * 0.05)).double())


def test_lars_leaves_the_gradients_and_theirs_writes_into_them() -> None:
    """Why ours may be followed by whatever else reads the gradients of a step: probes, AdaScale, logging."""
    ours, theirs = _lars()
    for training, kept in ((ours, True), (theirs, False)):
        training.backward()
        before = [parameter.grad.clone() for parameter in training.parameters]
        training.optimizer.step()
        same = [torch.equal(a, p.grad) for a, p in zip(before, training.parameters, strict=True) if p.ndim > 1]
        assert same == [kept] * len(same)


def _lamb(ours: dict[str, object], theirs: dict[str, object]) -> tuple[Training, Training]:
    """Return ours and theirs, without what sets them apart: theirs has a ratio for vectors too, and adds eps to ||u||.

    `weight_decouple=False` is the decay of the paper's algorithm 2, inside the ratio; `adam_debias=True` keeps theirs
    from dividing the LR by 1 - beta1^t.
    """
    mine = {"exclude": "nothing", "bias_correction": False, "eps": 0.0, **ours}
    other = {"weight_decouple": False, "adam_debias": True, "eps": 0.0, **theirs}
    return trainings(
        lambda model: LAMB(model.parameters(), lr=0.02, **mine),  # type: ignore[arg-type]
        lambda model: others.Lamb(model.parameters(), lr=0.02, **other),
    )


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lamb_without_bias_correction(decay: float) -> None:
    ours, theirs = _lamb({"weight_decay": decay}, {"weight_decay": decay})
    for lr in WARMUP:
        ours.step(0.05 * lr)
        theirs.step(0.05 * lr)
        assert_same(ours, theirs, 1e-12)
    assert max(float(parameter.detach().norm()) for parameter in ours.parameters) < others.Lamb.clamp


def test_lamb_with_gradients_clipped_to_a_global_norm() -> None:
    """Release 3.8.0 of theirs divides by the factor instead, which is the counter-example of test_lamb; 4.1 is right.

    To 1e-5 only: theirs takes the norm in fp32, and adds eps to it.
    """
    decay = {"weight_decay": 0.3}
    ours, theirs = _lamb({"clip_norm": 0.05, **decay}, {"pre_norm": True, "max_grad_norm": 0.05, **decay})
    unclipped, _ = _lamb(decay, {})
    for _ in range(STEPS):
        for training in (ours, theirs, unclipped):
            training.step()
        assert_same(ours, theirs, 1e-5)
    assert apart(ours, unclipped) > 1e-3 * length(ours)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lamb_bias_correction_of_both_moments_is_ours_alone(decay: float) -> None:
    """You et al., 2020, algorithm 2, divides m by 1 - beta1^t and v by 1 - beta2^t before the ratio; theirs never v.

    Without weight decay the ratio takes any common factor out again, so the two agree; with it only ours is the paper.
    """
    ours, theirs = _lamb({"weight_decay": decay, "bias_correction": True}, {"weight_decay": decay})
    for _ in range(STEPS):
        ours.step()
        theirs.step()
        if not decay:
            assert_same(ours, theirs, 1e-12)
    assert decay == 0.0 or apart(ours, theirs) > 0.001 * length(theirs)


def test_lamb_first_steps_of_theirs_are_too_long_by_1_over_1_minus_beta1_to_the_t() -> None:
    """Algorithm 2: the step is lr * phi(||w||) long. Theirs by default divides the LR, after the ratio: ten times that.

    Its docstring says 'without bias correction'. Ours with that LR walks its path exactly.
    """
    ours, theirs = _lamb({"weight_decay": 0.1}, {"weight_decay": 0.1, "adam_debias": False})
    paper, _ = _lamb({"weight_decay": 0.1, "bias_correction": True}, {})
    begin = [parameter.detach().clone() for parameter in theirs.parameters]
    for step in range(1, STEPS + 1):
        theirs.step(0.02)
        ours.step(0.02 / (1 - 0.9**step))
        assert_same(ours, theirs, 1e-12)
        if step == 1:
            paper.step(0.02)
            for training, expected in ((paper, 0.02), (theirs, 0.2)):
                for old, parameter in zip(begin, training.parameters, strict=True):
                    assert float((parameter - old).detach().norm() / old.norm()) == pytest.approx(expected, rel=1e-9)


def test_lamb_weight_norm_is_capped_at_10_by_theirs_and_not_by_ours() -> None:
    """Algorithm 2 leaves the function phi of ||w|| open. Ours is the identity; theirs min(||w||, 10), not an option."""
    ours, theirs = _lamb({}, {})
    for training, expected in ((ours, 50.0), (theirs, 10.0)):
        weight = training.parameters[0]
        with torch.no_grad():
            weight.mul_(50.0 / weight.norm())
        begin = weight.detach().clone()
        training.step(0.02)
        assert float((weight.detach() - begin).norm()) == pytest.approx(0.02 * expected, rel=1e-9)


def test_lamb_decay_is_outside_the_ratio_by_their_default() -> None:
    """Algorithm 2 takes the norm of r + wd w, decay included. Theirs, if not told otherwise, shrinks the weights first.

    Ours, with the weights shrunk by hand and no decay of its own, then walks its path.
    """
    ours, theirs = _lamb({}, {"weight_decay": 0.3, "weight_decouple": True})
    paper, _ = _lamb({"weight_decay": 0.3}, {})
    for _ in range(STEPS):
        ours.backward()
        with torch.no_grad():
            for parameter in ours.parameters:
                parameter.mul_(1 - 0.02 * 0.3)
        ours.optimizer.step()
        theirs.step()
        paper.step()
        assert_same(ours, theirs, 1e-12)
    assert apart(paper, theirs) > 0.01 * length(theirs)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lion(decay: float) -> None:
    ours, theirs = trainings(
        lambda model: lion(model.named_parameters(), lr=0.01, weight_decay=decay, decay_exclude="nothing"),
        lambda model: others.Lion(model.parameters(), lr=0.01, weight_decay=decay),
    )
    for lr in WARMUP:
        ours.step(0.02 * lr)
        theirs.step(0.02 * lr)
        assert_same(ours, theirs, 1e-12)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scale", ["spectral", "rms"])
def test_muon_and_its_companion(scale: str, nesterov: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their Newton-Schulz takes a dtype, which their Muon leaves at bf16: given ours, the two agree beyond fp32."""
    in_float64 = partial(others_muon.zero_power_via_newton_schulz_5, dtype=torch.float64)
    monkeypatch.setattr(others_muon, "zero_power_via_newton_schulz_5", in_float64)
    ours, theirs = trainings(
        lambda model: muon(
            model.named_parameters(), lr=0.02, weight_decay=0.1, scale=scale, nesterov=nesterov, decay_exclude="nothing"
        ),
        lambda model: others.Muon(
            [{"params": tensors(model), "use_muon": True}, {"params": vectors(model), "use_muon": False}],
            lr=0.02,
            weight_decay=0.1,
            nesterov=nesterov,
            use_adjusted_lr=scale == "rms",
            adamw_lr=0.1 * 0.02,
            adamw_betas=(0.9, 0.999),
            adamw_wd=0.1,
            adamw_eps=1e-8,
        ),
    )
    for _ in range(STEPS):
        ours.step()
        theirs.step()
        assert_same(ours, theirs, 1e-10)
