"""Trainings that are killed at a step, having been saved after each before, and run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from batchlimit.config import TrialConfig
from batchlimit.engine import Execution, checkpoint, run, trial
from batchlimit.records import TrialRecord
from batchlimit.workloads.workload import Workload

KILLED_AT = 5  # of 8 steps, in the middle of the second epoch


class Killed(BaseException):
    """What a test ends a training with."""


def run_here(trial_config: TrialConfig, work: Workload, folder: Path | None, **changes: Any) -> TrialRecord:
    fields = {"device": "cpu", "microbatch_size": 15, "checkpoints": folder, "checkpoint_seconds": 0, **changes}
    return run(trial_config, workload=work, execution=Execution(**fields))


def killed(monkeypatch: pytest.MonkeyPatch, *arguments: Any, at: int = KILLED_AT, **changes: Any) -> None:
    """Run until the step `at`, saved after each before, and be killed in it, once its gradient is there."""
    stepping = trial.limit_gradient
    steps = 0

    def until(*given: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == at + 1:
            raise Killed
        return stepping(*given)

    with monkeypatch.context() as patch:
        patch.setattr(trial, "limit_gradient", until)
        patch.setattr(checkpoint, "_SHARE", float("inf"))
        with pytest.raises(Killed):
            run_here(*arguments, **changes)


def results(record: TrialRecord) -> dict[str, Any]:
    return record.model_dump(exclude={"seconds", "started", "environment"})
