"""What a probe is: it looks at chosen steps of a training and leaves plain numbers in the record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Setting:
    """The training that a probe looks at, before its first step.

    `loss_on(indices)` returns the mean training loss (scalar, with graph) of the current weights on the training
    examples `indices` (n,); `seed` is the trial's.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch_size: int
    total_steps: int
    dataset_size: int
    seed: int
    device: torch.device
    loss_on: Callable[[Tensor], Tensor]

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


class Probe:
    """Base of all probes; the engine calls the methods below in this order at the steps that `wants` names.

    A probe never changes what is trained: the same weights come out with and without it. What `result` returns is
    plain JSON (lists, dicts, finite numbers or None) and becomes `TrialRecord.measurements[name]`.
    At the steps it wants, the batch is cut into `passes` parts at fixed places (k * B / passes, rounded up to what its
    batch norm takes), and no micro-batch reaches over the end of a part: the gradient is the same up to rounding.
    """

    passes: int = 1

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._steps = frozenset(log_spaced(setting.total_steps))

    def wants(self, step: int) -> bool:
        """Return whether to look at weight update `step`, counted from 0; by default at log-spaced ones."""
        return step in self._steps

    def before_step(self, step: int) -> None:
        """Look at the weights before the gradient of `step` is computed."""

    def after_microbatch(self, step: int, start: int, stop: int) -> None:
        """Look at `.grad`: the sum over the step's examples up to `stop` so far, divided by the batch size."""

    def after_gradient(self, step: int) -> None:
        """Look at `.grad`: the mean gradient of the whole batch, as the optimizer is about to take it."""

    def after_step(self, step: int) -> None:
        """Look at the weights after the update."""

    def result(self) -> dict[str, Any]:
        """Return what was measured; called once, at the end of training, however it ended."""
        raise NotImplementedError

    @classmethod
    def line(cls, result: dict[str, Any]) -> str:
        """Return in a line what `result`, read from a record, says; '' for nothing to say."""
        return ""


def finite(value: Any) -> Any:
    """Return `value`, of lists, dicts and numbers, with None for every number that is not finite: plain JSON."""
    if isinstance(value, dict):
        return {key: finite(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rounded(value: float, digits: int = 6) -> float:
    """Return `value` rounded to `digits` significant digits."""
    return float(f"{value:.{digits}g}")


def log_spaced(total: int, *, per_decade: int = 8) -> list[int]:
    """Return steps from 0 to total - 1, logarithmically spaced in the number of updates made (step + 1)."""
    if total < 1:
        return []
    rungs = math.ceil(per_decade * math.log10(total)) if total > 1 else 0
    counts = {round(total ** (rung / rungs)) for rung in range(rungs + 1)} if rungs else {1}
    return sorted(count - 1 for count in counts)
