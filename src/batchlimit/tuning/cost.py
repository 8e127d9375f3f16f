"""What trials will cost on this machine: a model fitted to trials that were timed here, never guessed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

from batchlimit.config import TrialConfig
from batchlimit.records import TrialRecord


class CostModel:
    """Seconds of a trial as a sum of costs per step, per training example and per evaluation; none is negative.

    Fitted by non-negative least squares to relative errors of timed trials, so that short trials count as much as long
    ones.
    """

    def __init__(self, timed: Sequence[TrialRecord], dataset_size: int) -> None:
        assert timed, "a cost model needs timed trials"
        self._size = dataset_size
        rows = np.array([self._features(r.steps, r.samples) for r in timed])
        seconds = np.array([max(r.seconds, 1e-4) for r in timed])
        self._costs, _ = nnls(rows / seconds[:, None], np.ones(len(timed)))
        self.timed = len(timed)

    def seconds(self, config: TrialConfig) -> float:
        """Return the expected seconds of a trial that takes all its steps."""
        steps = config.total_steps(self._size)
        return float(np.dot(self._costs, self._features(steps, steps * config.batch_size)))

    def _features(self, steps: int, samples: int) -> list[float]:
        evaluations = math.ceil(samples / self._size) + 1
        return [float(steps), float(samples), float(evaluations)]


def timed_here(
    records: Iterable[TrialRecord], config: TrialConfig, environment: Mapping[str, object]
) -> list[TrialRecord]:
    """Return the complete trials of the workload and precision of `config` that ran on a machine like this one."""
    same = ("cpu", "device", "accelerator")
    return [
        record
        for record in records
        if record.config.workload == config.workload
        and record.config.recipe.precision == config.recipe.precision
        and record.status == "complete"
        and all(record.environment.get(name) == environment.get(name) for name in same)
    ]
