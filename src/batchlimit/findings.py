"""What the search for the limit concludes: plain data, computed by `tuning.limit`, drawn by `reports`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from batchlimit.config import Recipe

Decision = Literal["pass", "fail", "undecided"]
Direction = Literal["up", "down"]


class Finding(BaseModel):
    """Base of all findings: immutable, unknown fields forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Finding):
    """A mean over seeds and its two-sided 95 % confidence interval; None where nothing finite was measured."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0

    def shown(self, *, percent: bool) -> Estimate:
        """Return the estimate as shown: of a share, a percentage, no end of its interval is below 0 or above 1."""
        if not percent or self.mean is None or self.low is None or self.high is None or not 0 <= self.mean <= 1:
            return self
        return self.model_copy(update={"low": max(0.0, self.low), "high": min(1.0, self.high)})


class Measurement(Finding):
    """One recipe at one batch size, trained with several seeds and scored on the test split.

    `name` is the recipe's name in the technique set ('linear scaling', 'lars', ...). `metrics` holds the finite test
    metrics, one a seed; `diverged` counts seeds that did not complete. `decision` says whether the definition's bar is
    met: decided by confidence intervals, 'undecided' when the cap on seeds was reached before. `metric_decision` is of
    the metric alone: linear scaling has to hold the loss as well.
    """

    name: str
    batch_size: int
    recipe: Recipe
    seeds: int
    diverged: int
    metric: Estimate
    loss: Estimate
    metrics: tuple[float, ...] = ()
    decision: Decision = "undecided"
    metric_decision: Decision = "undecided"

    @property
    def decided_by_loss(self) -> bool:
        """Whether the loss, which linear scaling has to hold too, makes the decision another than the metric's own."""
        return self.decision != self.metric_decision

    @property
    def lost_to(self) -> str:
        """How seeds were lost: one that diverges fails its recipe; one whose process died does not."""
        return "diverged" if self.decision == "fail" else "failed"

    @property
    def lost(self) -> str:
        """'2 diverged' or '2 failed', '' where every seed completed."""
        return f"{self.diverged} {self.lost_to}" if self.diverged else ""


class Tuned(Finding):
    """What tuning one recipe at one batch size cost and brought: the best selection metric over `trials` trials."""

    name: str
    trials: int
    best: float | None
    recipe: Recipe | None


class TunedPoint(Finding):
    """One tuning trial, for the LR x warmup maps: its recipe's name, fields and selection metric."""

    name: str
    batch_size: int
    lr: float
    warmup: str
    metric: float | None
    status: str


class BatchSizeFinding(Finding):
    """All that is known of one batch size: plain linear scaling, the best recipe, and what was tried."""

    batch_size: int
    regime: Literal["small", "large", "huge", "unknown"] = "unknown"
    is_full: bool = False
    linear: Measurement | None = None
    best: Measurement | None = None
    tried: tuple[Tuned, ...] = ()
    trials: int = 0
    samples: int = 0


class Boundary(Finding):
    """A largest batch size that passes, with the sizes it is known to lie between.

    `value` is the largest batch size decided 'pass' (None: none did); `next_fail` the smallest decided 'fail' above it
    (None: none failed up to the full batch); `undecided` the sizes between whose intervals straddle the bar.
    """

    value: int | None = None
    next_fail: int | None = None
    undecided: tuple[int, ...] = ()


class BaselineFinding(Finding):
    """The baseline: A (metric) and xi (loss) over seeds, and the bars they set (Definitions 2.1 and 2.2)."""

    batch_size: int
    recipe: Recipe
    metric: Estimate
    loss: Estimate
    target_metric: float | None = None
    target_loss: float | None = None
    metrics: tuple[float, ...] = ()
    diverged: int = 0


class Cost(Finding):
    """What a search spent: trials, training examples processed, compute seconds summed over trials."""

    trials: int = 0
    samples: int = 0
    seconds: float = 0.0
    by_purpose: dict[str, int] = Field(default_factory=dict)


class LimitFinding(Finding):
    """The answer to 'how large can the batch be?' for one workload, with what it rests on.

    `problem` is set when there is no verdict to give (say, every baseline trial diverged) and then says why in a
    sentence. `techniques` names the technique set and `recipes` its members; `budget` is the number of tuning trials
    for each recipe and batch size. `metric_percent` says whether to print the metric times 100 (the workload's
    `Metric.percent`; None: judged by the metric's name). `no_validation` says that recipes were selected on the test
    split for want of another. `refused` are recipes of the set that cannot train the model, with the reason. `changes`
    are the settings of the search that no other field tells and that differ from their defaults.
    """

    workload: str
    metric_name: str
    metric_direction: Direction
    metric_percent: bool | None = None
    dataset_size: int
    training_budget: str
    protocol: str
    search: Literal["adaptive", "exhaustive"]
    tuner: str
    techniques: str
    recipes: tuple[str, ...]
    budget: int
    seeds: tuple[int, int]
    confidence: float = 0.95
    no_validation: bool = False
    refused: dict[str, str] = Field(default_factory=dict)
    baseline: BaselineFinding | None = None
    small_up_to: Boundary = Boundary()
    large_up_to: Boundary = Boundary()
    full: BatchSizeFinding | None = None
    by_batch_size: tuple[BatchSizeFinding, ...] = ()
    tuned_points: tuple[TunedPoint, ...] = ()
    cost: Cost = Cost()
    problem: str = ""
    environment: dict[str, str | int | float | None] = Field(default_factory=dict)
    changes: dict[str, Any] = Field(default_factory=dict)


class Proposed(Finding):
    """One trial of a tuner: the recipe fields it set, and what came of it."""

    fields: dict[str, bool | int | float | str]
    metric: float | None
    status: str


class TuneFinding(Finding):
    """The answer to 'which recipe is best at this batch size?', selected by tuning and measured with fresh seeds.

    `proposals` are the trials in order, each with the fields it changed, its selection metric and its status. `best`
    is measured on the test split with seeds that tuning has not seen; None where no trial completed (see `problem`).
    """

    workload: str
    metric_name: str
    metric_direction: Direction
    metric_percent: bool | None = None
    batch_size: int
    training_budget: str
    protocol: str
    tuner: str
    budget: int
    proposals: tuple[Proposed, ...] = ()
    best: Measurement | None = None
    cost: Cost = Cost()
    problem: str = ""
    environment: dict[str, str | int | float | None] = Field(default_factory=dict)
