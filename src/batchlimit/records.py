"""What a trial leaves behind: the only thing that crosses from computing to analysis."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from batchlimit.config import TrialConfig

Status = Literal["complete", "diverged", "pruned", "failed"]


def _finite_or_none(value: Any) -> Any:
    """Map NaN and infinities to None: they are not JSON."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


FiniteOrNone = Annotated[float | None, BeforeValidator(_finite_or_none)]


class Scores(BaseModel):
    """The mean unsmoothed loss and the metric of a model on one split; None where not finite.

    `others` holds the workload's further metrics by name, such as 'top-5'.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: FiniteOrNone = None
    metric: FiniteOrNone = None
    others: dict[str, FiniteOrNone] = Field(default_factory=dict)


class HistoryPoint(BaseModel):
    """The state of a training after `step` weight updates; points lie an epoch apart, and one at the end.

    `train_loss` is the mean training loss (with label smoothing, as optimized) since the last point; `selection` are
    the scores on the split that tuning selects by; `train` (on as many training examples as the test split has) and
    `test` are there where the configuration watches them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    epoch: float
    lr: FiniteOrNone = None
    train_loss: FiniteOrNone = None
    selection: Scores | None = None
    train: Scores | None = None
    test: Scores | None = None


class TrialRecord(BaseModel):
    """One trial: what was asked, how it ended, what was measured, where and at what cost.

    `selection` and `test` are the scores at the end of training on the split used for selection (validation, or test
    under the paper's protocol) and on the test split; both None unless `status` is 'complete'. `samples` counts
    training examples processed. `environment` names software and hardware. `reason` says why a trial did not complete.
    `measurements` holds what probes measured, by probe name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: TrialConfig
    status: Status
    reason: str = ""
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    history: tuple[HistoryPoint, ...] = ()
    selection: Scores | None = None
    test: Scores | None = None
    started: str = ""
    environment: dict[str, str | int | float | None] = Field(default_factory=dict)
    measurements: dict[str, Any] = Field(default_factory=dict)

    @property
    def hash(self) -> str:
        """The identity of the trial: the hash of its configuration."""
        return self.config.hash
