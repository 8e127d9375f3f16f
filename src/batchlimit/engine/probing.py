"""Carries a trial's probes through its steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from batchlimit.config import TrialConfig
from batchlimit.engine.step import GradientAccumulator
from batchlimit.probes import Probe, Setting, finite, probes


class Probing:
    """The probes of one training; between the steps they want, nothing is done."""

    def __init__(self, named: dict[str, Probe], accumulate: GradientAccumulator) -> None:
        self._named, self._accumulate = named, accumulate
        self._divisions = accumulate.divisions
        self._looking: list[Probe] = []
        accumulate.observers.append(self._after_microbatch)

    def before_step(self, step: int) -> None:
        """Wake the probes that want `step`, before its gradient is computed."""
        self._looking = [probe for probe in self._named.values() if probe.wants(step)]
        for probe in self._looking:
            probe.before_step(step)
        asked = tuple(probe.passes for probe in self._looking if probe.passes > 1)
        self._accumulate.divisions = self._divisions + asked

    def after_gradient(self, step: int) -> None:
        """Show the mean gradient, as the optimizer will take it."""
        for probe in self._looking:
            probe.after_gradient(step)

    def after_step(self, step: int) -> None:
        """Show the updated weights."""
        for probe in self._looking:
            probe.after_step(step)

    def results(self) -> dict[str, Any]:
        """Return what was measured, by probe name: plain JSON, None for what is not finite."""
        return {name: finite(probe.result()) for name, probe in self._named.items()}

    def _after_microbatch(self, step: int, start: int, stop: int) -> None:
        for probe in self._looking:
            probe.after_microbatch(step, start, stop)


def check_probes(names: Iterable[str]) -> None:
    """Check that `names` are probes.

    Raises:
        InputError: one is not; the message gives the nearest.
    """
    for name in names:
        probes.get(name)


def probing_of(
    config: TrialConfig,
    accumulate: GradientAccumulator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    total_steps: int,
    dataset_size: int,
) -> Probing | None:
    """Return the probes that `config` names, at step 0; None where it names none.

    Raises:
        InputError: there is no such probe.
    """
    if not config.probes:
        return None
    makers = {name: probes.get(name) for name in config.probes}
    setting = Setting(
        model=model,
        optimizer=optimizer,
        batch_size=config.batch_size,
        total_steps=total_steps,
        dataset_size=dataset_size,
        seed=config.seed,
        device=accumulate.device,
        loss_on=accumulate.loss_on,
    )
    return Probing({name: make(setting) for name, make in makers.items()}, accumulate)
