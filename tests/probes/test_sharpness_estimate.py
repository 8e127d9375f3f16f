"""The top Hessian eigenvalue against the whole Hessian."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from batchlimit.errors import InputError
from batchlimit.probes.sharpness import evaluating, top_eigenvalue


def whole_hessian(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    names, values = zip(*model.named_parameters(), strict=True)
    sizes = [value.numel() for value in values]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = [part.view(v.shape) for part, v in zip(flat.split(sizes), values, strict=True)]
        outputs = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), (inputs,))
        return F.cross_entropy(outputs, targets)

    return torch.autograd.functional.hessian(loss, torch.cat([v.detach().flatten() for v in values]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_top_eigenvalue_of_the_whole_hessian(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    inputs, targets = 2 * torch.randn(30, 4), torch.randint(3, (30,))
    values = torch.linalg.eigvalsh(whole_hessian(model.double(), inputs.double(), targets))
    model.float()
    found = top_eigenvalue(lambda: F.cross_entropy(model(inputs), targets), list(model.parameters()), seed=seed)
    assert found == pytest.approx(values[-1].item(), rel=2e-3)
    assert all(parameter.grad is None for parameter in model.parameters())


class Attending(nn.Module):
    """One encoder layer over three tokens of four features, their mean classified."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, dim_feedforward=5, dropout=0.1, batch_first=True)
        self.classifier = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.encoder(inputs).mean(1))


@pytest.mark.parametrize("recomputed", [False, True])
def test_attention_has_the_top_eigenvalue_of_its_whole_hessian(recomputed: bool) -> None:
    torch.manual_seed(0)
    model, inputs, targets = Attending().eval(), 2 * torch.randn(12, 3, 4), torch.randint(3, (12,))
    with sdpa_kernel(SDPBackend.MATH):
        values = torch.linalg.eigvalsh(whole_hessian(model.double(), inputs.double(), targets))
    model.float()

    def loss() -> torch.Tensor:
        outputs = checkpoint(model, inputs, use_reentrant=False) if recomputed else model(inputs)
        return F.cross_entropy(outputs, targets)

    flash = torch.backends.cuda.flash_sdp_enabled()
    assert top_eigenvalue(loss, list(model.parameters())) == pytest.approx(values[-1].item(), rel=2e-3)
    assert torch.backends.cuda.flash_sdp_enabled() == flash, "training goes on with the kernels that it had"


def test_a_frozen_encoder_may_take_its_fast_path() -> None:
    torch.manual_seed(0)
    model, inputs, targets = Attending().eval(), torch.randn(12, 3, 4), torch.randint(3, (12,))
    model.encoder.requires_grad_(False)
    features = model.encoder(inputs).mean(1).detach()
    head = list(model.classifier.parameters())
    whole = top_eigenvalue(lambda: F.cross_entropy(model(inputs), targets), head)
    assert whole == pytest.approx(top_eigenvalue(lambda: F.cross_entropy(model.classifier(features), targets), head))


def test_the_largest_not_the_largest_in_size() -> None:
    point = nn.Parameter(torch.tensor([0.3, -0.2, 0.1, 0.5]))
    curvature = torch.tensor([1.0, -9.0, 4.0, 2.0])
    assert top_eigenvalue(lambda: 0.5 * (curvature * point**2).sum(), [point]) == pytest.approx(4.0, rel=1e-3)


def test_ends_of_the_range() -> None:
    point = nn.Parameter(torch.ones(3))
    assert top_eigenvalue(lambda: point.sum(), [point]) == 0.0
    assert top_eigenvalue(lambda: (point * float("nan")).square().sum(), [point]) is None
    single = nn.Parameter(torch.ones(1))
    assert top_eigenvalue(lambda: 3.5 * (single**2).sum(), [single]) == pytest.approx(7.0)


def test_a_model_without_second_derivatives_is_named() -> None:
    point = nn.Parameter(torch.ones(1, 1, 2, 2))

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(context, above):
            class Never(torch.autograd.Function):
                @staticmethod
                def forward(context, x):
                    return 2 * x

                @staticmethod
                def backward(context, above):
                    raise NotImplementedError("derivative for Once is not implemented")

            return above * Never.apply(context.saved_tensors[0])

    with pytest.raises(InputError, match=r"needs second derivatives.*is not implemented\. Valid: ") as refused:
        top_eigenvalue(lambda: Once.apply(point).sum(), [point])
    assert "\n" not in str(refused.value)


def test_every_module_gets_its_own_mode_back() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2))
    model[1].eval()
    with evaluating(model):
        assert not model.training
        assert not model[0].training
    assert model.training
    assert model[0].training
    assert not model[1].training
