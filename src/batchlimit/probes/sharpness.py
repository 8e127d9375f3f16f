"""Sharpness: the largest eigenvalue of the training loss's Hessian."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from batchlimit.errors import InputError
from batchlimit.probes import probes
from batchlimit.probes.probe import Probe, Setting, rounded

EXAMPLES = 512
_LOOKS = 4
_TOLERANCE = 1e-3
_RESTARTS = 50
# Few, as the top eigenvalue mostly stands apart: 9 to 13 products find it, where ARPACK's own 20 take 21.
_VECTORS = 8

Vector = npt.NDArray[np.float32]


@probes.register("sharpness")
class Sharpness(Probe):
    """The top eigenvalue of the Hessian of the mean training loss, on up to 512 training examples.

    The examples are drawn once from the trial's seed. The loss is the trial's (with its label smoothing and
    precision), in eval mode: without dropout and noise, batch norm with its running statistics. Attention is computed
    by torch's plain kernel, as the fast ones have no second derivatives. Lanczos iterations of Hessian-vector products
    find the eigenvalue to about 1e-3. Fewer examples than the data set has make it larger than that of the whole loss:
    compare values of equally many.

    The result: {"updates": [...], "top_eigenvalue": [...], "examples": n}. `updates` counts the updates made before
    the look, the first 0, four more log-spaced to the end; an eigenvalue is None where the weights were not finite or
    the iterations did not converge. Each look costs about as much as 20 to 30 gradients of its examples, in one
    pass, and memory for a dozen copies of the parameters.

    Raises:
        InputError: the model has an operation without second derivatives.

    Source: Keskar et al., 2017 (arXiv 1609.04836), section 2.2; Lanczos through ARPACK, `scipy.sparse.linalg.eigsh`.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        total = setting.total_steps
        self._counts = {round(total ** (rung / _LOOKS)) for rung in range(1, _LOOKS + 1)}
        self._steps = frozenset({0, *(count - 1 for count in self._counts)})
        source = torch.Generator().manual_seed(setting.seed)
        order = torch.randperm(setting.dataset_size, generator=source)
        self._indices = order[:EXAMPLES].to(setting.device)
        self._seen: dict[int, float | None] = {}

    def before_step(self, step: int) -> None:
        """Look at the weights that training begins with."""
        if step == 0:
            self._look(0)

    def after_step(self, step: int) -> None:
        """Look at the weights after `step` + 1 updates."""
        if step + 1 in self._counts:
            self._look(step + 1)

    def result(self) -> dict[str, Any]:
        """Return the eigenvalues that the class describes."""
        return {
            "updates": list(self._seen),
            "top_eigenvalue": list(self._seen.values()),
            "examples": len(self._indices),
        }

    @classmethod
    def line(cls, result: dict[str, Any]) -> str:
        """Return where the eigenvalue began and ended."""
        known = [value for value in result["top_eigenvalue"] if value is not None]
        return f"a top Hessian eigenvalue of {known[0]:.4g} first, {known[-1]:.4g} last" if known else ""

    def _look(self, updates: int) -> None:
        parameters = list(self.setting.parameters.values())
        with evaluating(self.setting.model):
            value = top_eigenvalue(lambda: self.setting.loss_on(self._indices), parameters, seed=self.setting.seed)
        self._seen[updates] = None if value is None else rounded(value)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have all modules of `model` in eval mode within the block, each in its own mode again after it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


# Around all of it, not the loss alone: checkpointed activations are computed again while derivatives are taken.
@sdpa_kernel(SDPBackend.MATH)
def top_eigenvalue(loss: Any, parameters: list[nn.Parameter], *, seed: int = 0) -> float | None:
    """Return the largest (not the largest in size) eigenvalue of the Hessian of `loss()` by `parameters`.

    None where the gradient is not finite, or Lanczos does not converge or begin (a Hessian of zeros).

    Raises:
        InputError: an operation without second derivatives.
    """
    with torch.enable_grad():
        slopes = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True)
    pairs = [(p, s) for p, s in zip(parameters, slopes, strict=True) if s is not None and s.requires_grad]
    if not pairs:
        return 0.0  # the loss is linear in all parameters
    moved, gradients = [p for p, _ in pairs], [s for _, s in pairs]
    if not math.isfinite(sum(slope.detach().abs().sum().item() for slope in gradients)):
        return None
    sizes = [parameter.numel() for parameter in moved]

    def product(vector: Vector) -> Vector:
        parts = torch.split(torch.from_numpy(vector.reshape(-1).astype(np.float32)).to(moved[0]), sizes)
        directions = [part.view(p.shape) for part, p in zip(parts, moved, strict=True)]
        rows = _second(gradients, moved, directions)
        flat = [torch.zeros_like(p) if row is None else row for row, p in zip(rows, moved, strict=True)]
        result: Vector = torch.cat([row.reshape(-1) for row in flat]).float().cpu().numpy()
        return result

    start = np.random.default_rng(seed).normal(size=sum(sizes)).astype(np.float32)
    if len(start) == 1:
        return float(product(np.ones(1, dtype=np.float32))[0])
    operator = LinearOperator((len(start), len(start)), matvec=product, dtype=np.float32)
    options = {"ncv": min(_VECTORS, len(start)), "tol": _TOLERANCE, "maxiter": _RESTARTS}
    try:
        values = eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False, **options)
    except ArpackError:
        return None
    value = float(values[0])
    return value if math.isfinite(value) else None


def _second(gradients: list[Tensor], parameters: list[nn.Parameter], directions: list[Tensor]) -> Any:
    try:
        return torch.autograd.grad(gradients, parameters, grad_outputs=directions, retain_graph=True, allow_unused=True)
    except (RuntimeError, NotImplementedError) as error:
        if "not implemented" not in str(error):
            raise
        said = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"The probe 'sharpness' needs second derivatives, which this model has not: {said}. "
            "Valid: a model that can be differentiated twice, or a training without this probe."
        ) from None
