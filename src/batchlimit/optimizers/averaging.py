"""Averages of the weights along a training: exponential, and over its tail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from batchlimit.errors import InputError, unknown_name


def decay_of_half_life(updates: float) -> float:
    """Return the decay with which a weight counts half after `updates` more updates; use this across batch sizes.

    Raises:
        InputError: `updates` is not positive.
    """
    if not updates > 0:
        raise InputError(f"A half-life of {updates:g} updates. Valid: above 0.")
    return float(0.5 ** (1.0 / updates))


class WeightAverage:
    """A running average of a model's weights, kept beside it and swapped in for evaluation.

    Call `update()` after every weight update. 'ema': the mean with weights decay^age, without the bias of a zero start
    (after one update it is the weights themselves, so thirty full-batch steps are averaged rightly too). 'tail': the
    plain mean. The first `start` updates are left out. Floating-point buffers (batch-norm statistics) are averaged
    alike, others are copied as they are. Averages of bf16 and fp16 weights are kept in fp32. Make it once the model is
    on its device.

    The engine's part: one object per trial, `update()` after the optimizer's step, evaluation under `applied()`, and
    `state_dict()` in the checkpoint.

    Raises:
        InputError: an unknown kind, a decay outside (0, 1), or a negative start.

    Source: Polyak and Juditsky, 1992 (tail average; its start as in Jain et al., 2018, arXiv 1610.03774); exponential
    average with the bias correction of Kingma and Ba, 2015, section 3; for weights, Morales-Brotons et al., 2024
    (arXiv 2411.18704), section 2.
    """

    def __init__(
        self, model: nn.Module, kind: Literal["ema", "tail"] = "ema", *, decay: float = 0.99, start: int = 0
    ) -> None:
        if kind not in ("ema", "tail"):
            raise unknown_name("kind of average", str(kind), ("ema", "tail"))
        if not 0.0 < decay < 1.0:
            raise InputError(f"The average's decay is {decay:g}. Valid: between 0 and 1, both excluded.")
        if start < 0:
            raise InputError(f"The average's start is {start}. Valid: 0 updates or more.")
        self.kind = kind
        self.decay = decay
        self.start = start
        self.updates = 0
        self._live: list[Tensor] = [*model.parameters(), *model.buffers()]
        self._averages = [_wide(tensor.detach()).clone() for tensor in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights into the average."""
        self.updates += 1
        count = max(1, self.updates - self.start)
        share = 1.0 / count if self.kind == "tail" else (1.0 - self.decay) / (1.0 - self.decay**count)
        for average, live in zip(self._averages, self._live, strict=True):
            if count == 1 or not average.is_floating_point():
                average.copy_(live)
            else:
                average.lerp_(live.to(average.dtype), share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Evaluate with the average: it is in the model inside the `with` block, and the weights are back after it.

        Up to the first update past `start` the average is the last weights it saw.
        """
        with torch.no_grad():
            kept = [live.clone() for live in self._live]
            for live, average in zip(self._live, self._averages, strict=True):
                live.copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for live, before in zip(self._live, kept, strict=True):
                    live.copy_(before)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and how many updates they hold, for a checkpoint."""
        return {"updates": self.updates, "averages": [average.clone() for average in self._averages]}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned, of a model of the same shape.

        Raises:
            InputError: another number of tensors, or other shapes.
        """
        averages: list[Tensor] = state["averages"]
        if [tensor.shape for tensor in averages] != [tensor.shape for tensor in self._averages]:
            raise InputError("The saved weight average is of another model. Valid: one of the same tensors.")
        self.updates = int(state["updates"])
        for mine, saved in zip(self._averages, averages, strict=True):
            mine.copy_(saved)


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor in which a small share of a difference does not round away."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
