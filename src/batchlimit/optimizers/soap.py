"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

torch 2.13 has no SOAP. `pytorch-optimizer`'s (4.1) was considered and not taken: its first step moves nothing, and it
gives a convolution a basis for each dimension, or dimensions merged by their size, which fails for any tensor that
merges to a single one, as biases do. Put into its state, ours walks its path; the tests say up to what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from batchlimit.errors import InputError
from batchlimit.optimizers import solvers
from batchlimit.optimizers.checks import check_counts, check_numbers
from batchlimit.optimizers.param_groups import decay_groups


@solvers.register("soap")
def soap(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.95,
    beta2: float = 0.95,
    eps: float = 1e-8,
    precondition_every: int = 10,
    max_preconditioner_dim: int = 1024,
    decay_exclude: str = "1d",
) -> torch.optim.Optimizer:
    """Return a `Soap`: Adam in the eigenbasis of Shampoo's factors (Vyas et al., 2024).

    Of matrices and flattened convolutions; vectors get plain Adam with the same betas.

    Raises:
        InputError: no parameters, parameters in less than fp32, or an option out of its range.

    Source: Vyas et al., 2024 (arXiv 2409.11321), Algorithm 3.
    """
    return Soap(
        decay_groups(named_parameters, weight_decay, decay_exclude),
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        precondition_every=precondition_every,
        max_preconditioner_dim=max_preconditioner_dim,
    )


class Soap(torch.optim.Optimizer):
    """M <- beta1 M + (1 - beta1) G; V <- beta2 V + (1 - beta2) (QL^T G QR)^2; W <- W - lr (QL N QR^T + wd W).

    N is QL^T M QR over sqrt(V) + eps, both bias-corrected as in Adam; QL and QR are the eigenvectors of the averages L
    of G G^T and R of G^T G, refreshed by one step of power iteration and a QR decomposition every `precondition_every`
    updates. A side longer than `max_preconditioner_dim` is not rotated: L and R cost its square in memory and its cube
    in time. Tensors of more than two dimensions are flattened to (first, the rest).

    The authors' code uses the first gradient for the basis only and does not move; here that first update is Adam's in
    the unrotated basis, because a full-batch training has few updates to give away.

    Raises:
        InputError: parameters in less than fp32, or an option out of its range.

    Source: Vyas et al., 2024 (arXiv 2409.11321), Algorithms 3 and 4.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 3e-3,
        *,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        precondition_every: int = 10,
        max_preconditioner_dim: int = 1024,
    ) -> None:
        check_numbers("soap", lr=lr, eps=eps, weight_decay=weight_decay)
        for index, beta in enumerate(betas, 1):
            if not 0.0 <= beta < 1.0:
                raise InputError(f"soap's beta{index} is {beta:g}. Valid: 0 to 1, 1 excluded.")
        if precondition_every < 1:
            raise InputError(f"soap's precondition_every is {precondition_every}. Valid: 1 update or more.")
        check_counts("soap", max_preconditioner_dim=max_preconditioner_dim)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "precondition_every": precondition_every,
            "max_preconditioner_dim": max_preconditioner_dim,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            if any(parameter.dtype not in (torch.float32, torch.float64) for parameter in group["params"]):
                raise InputError("soap decomposes matrices. Valid: parameters in fp32 or fp64.")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one weight update from the parameters' gradients; parameters without one stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.numel() > 0:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        matrix = gradient.reshape(len(gradient), -1) if gradient.ndim > 1 else gradient.reshape(-1, 1)
        state = self.state[parameter]
        if not state:
            state["steps"] = 0
            state["exp_avg"] = torch.zeros_like(matrix)
            state["exp_avg_sq"] = torch.zeros_like(matrix)
            for side, size in enumerate(matrix.shape):
                if gradient.ndim > 1 and 1 < size <= group["max_preconditioner_dim"]:
                    state[f"factor{side}"] = matrix.new_zeros(size, size)
        state["steps"] += 1
        average = state["exp_avg"].lerp_(matrix, 1.0 - beta1)
        rotated = _rotate(matrix, state)
        state["exp_avg_sq"].mul_(beta2).addcmul_(rotated, rotated, value=1.0 - beta2)
        spread = (state["exp_avg_sq"] / (1.0 - beta2 ** state["steps"])).sqrt_().add_(group["eps"])
        direction = _rotate(average, state) / (1.0 - beta1 ** state["steps"]) / spread
        direction = _rotate(direction, state, back=True).reshape(parameter.shape)
        parameter.mul_(1.0 - lr * group["weight_decay"])
        if isinstance(lr, Tensor):
            parameter.sub_(direction * lr)
        else:
            parameter.add_(direction, alpha=-lr)
        self._refresh(matrix, state, group)

    def _refresh(self, matrix: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Take the gradient into L and R, and turn the basis: to the eigenvectors at first, then by power iteration."""
        first = state["steps"] == 1
        for side in (0, 1):
            if f"factor{side}" not in state:
                continue
            outer = matrix @ matrix.mT if side == 0 else matrix.mT @ matrix
            factor = state[f"factor{side}"].lerp_(outer, 1.0 - group["betas"][1])
            if first:
                state[f"basis{side}"] = torch.linalg.eigh(factor).eigenvectors.flip(-1).contiguous()
            elif state["steps"] % group["precondition_every"] == 0:
                state[f"basis{side}"] = torch.linalg.qr(factor @ state[f"basis{side}"]).Q
        if first:  # the second moments so far, in the new basis
            state["exp_avg_sq"] = _rotate(matrix, state).square().mul_(1.0 - group["betas"][1])


def _rotate(matrix: Tensor, state: dict[str, Any], *, back: bool = False) -> Tensor:
    """Return QL^T X QR, or QL X QR^T `back`; a side without a basis is left as it is."""
    left, right = state.get("basis0"), state.get("basis1")
    if left is not None:
        matrix = (left if back else left.mT) @ matrix
    if right is not None:
        matrix = matrix @ (right.mT if back else right)
    return matrix
