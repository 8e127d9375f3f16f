"""Reasons to end a training before its last step."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from batchlimit.config import StopRule
from batchlimit.records import Scores


class FiniteWatch:
    """Detects a non-finite loss or gradient within one step.

    On the CPU the step is judged before its update is applied. On an accelerator it is judged one step later, so that
    the host never waits for the step it has just launched: values come by a copy that was asked for in their own step,
    since one that is asked for now comes after all that was launched before it.
    """

    def __init__(self, device: torch.device) -> None:
        self._late = device.type != "cpu"
        self._last: _Seen | None = None

    def verdict(self, step: int, loss: Tensor, gradient_norm: Tensor) -> str:
        """Return why training has diverged ('' if not) given the loss and gradient norm of weight update `step`."""
        current = _seen(step, loss, gradient_norm)
        judged, self._last = (self._last, current) if self._late else (current, None)
        return _judge(judged) if judged else ""

    def final(self) -> str:
        """Return the verdict on the last step, if it has not been judged yet."""
        return _judge(self._last) if self._last else ""


class _Seen(NamedTuple):
    """A step's loss and gradient norm, on the host once they have arrived."""

    step: int
    values: tuple[Tensor, Tensor] | Tensor
    arrived: torch.Event | None


def _seen(step: int, loss: Tensor, gradient_norm: Tensor) -> _Seen:
    values = loss, gradient_norm
    if loss.device.type == "cpu":
        return _Seen(step, values, None)
    here = torch.stack(values).to("cpu", non_blocking=True)
    arrived = torch.Event(loss.device)
    arrived.record()
    return _Seen(step, here, arrived)


def _judge(seen: _Seen) -> str:
    if seen.arrived is not None:
        seen.arrived.synchronize()
    for name, value in zip(("loss", "gradient norm"), map(float, seen.values), strict=True):
        if not math.isfinite(value):
            return f"the {name} was {value} at step {seen.step + 1}"
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
