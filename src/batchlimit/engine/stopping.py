"""Reasons to end a training before its last step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from batchlimit.config import StopRule
from batchlimit.records import Scores


class FiniteWatch:
    """Detects a non-finite loss or gradient within one step.

    On the CPU the step is judged before its update is applied. On an accelerator it is judged one step later, so that
    the host never waits for the step it has just launched.
    """

    def __init__(self, device: torch.device) -> None:
        self._late = device.type != "cpu"
        self._last: tuple[int, Tensor, Tensor] | None = None

    def verdict(self, step: int, loss: Tensor, gradient_norm: Tensor) -> str:
        """Return why training has diverged ('' if not) given the loss and gradient norm of weight update `step`."""
        current = (step, loss, gradient_norm)
        judged, self._last = (self._last, current) if self._late else (current, None)
        return self._judge(judged) if judged else ""

    def final(self) -> str:
        """Return the verdict on the last step, if it has not been judged yet."""
        return self._judge(self._last) if self._last else ""

    @staticmethod
    def _judge(seen: tuple[int, Tensor, Tensor]) -> str:
        step, loss, norm = seen
        for name, value in (("loss", loss.item()), ("gradient norm", norm.item())):
            if not math.isfinite(value):
                return f"the {name} was {value} at step {step + 1}"
        return ""


def hopeless(rule: StopRule | None, step: int, total_steps: int, scores: Scores, direction: str) -> str:
    """Return why the trial is hopeless ('' if it is not): past the rule's fraction and worse than its metric."""
    if rule is None or step < rule.fraction * total_steps or step == total_steps:
        return ""
    if scores.metric is None:
        return f"the selection metric was not finite at step {step}"
    worse = scores.metric < rule.metric if direction == "up" else scores.metric > rule.metric
    if not worse:
        return ""
    return f"the selection metric was {scores.metric:.4g} at step {step} of {total_steps}, the bar {rule.metric:.4g}"
