"""Trials whose outcome is a formula: what the right verdict is, is known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

from batchlimit.config import Recipe, TrialConfig
from batchlimit.durations import Duration
from batchlimit.findings import Direction, LimitFinding
from batchlimit.ledger import Ledger
from batchlimit.records import HistoryPoint, Scores, TrialRecord
from batchlimit.tuning.driver import drive
from batchlimit.tuning.limit import LimitSearch
from batchlimit.tuning.question import Candidate, FindSettings, Question, ladder
from batchlimit.tuning.runners.inline import InlineRunner

BASELINE = Recipe(solver="momentum", lr=0.1, solver_options={"momentum": 0.9})
CANDIDATES = (
    Candidate(name="lamb", recipe=Recipe(solver="lamb", lr=0.1), anchor="full"),
    Candidate(name="lars", recipe=Recipe(solver="lars", lr=8.0), anchor="full"),
    Candidate(name="adamw", recipe=Recipe(solver="adamw", lr=0.03)),
)
LINEAR = "linear"


@dataclass
class World:
    """A workload on which recipe `kind` keeps the baseline's metric up to `limits[kind]`, then loses `drop` + `slope`
    per doubling; `kind` is 'linear' for the baseline's recipe and a solver's name otherwise.

    A learning rate is right within half a doubling of the best one, which lies `offsets[kind]` doublings from where
    the search first looks; each further doubling costs `lr_cost`, and `diverges_at` doublings above it diverge. The
    noise is normal, drawn from the trial's hash, so that worlds of another `name` have other noise. All of it in units
    of the metric, which a 'down' world turns round; the loss rises by `loss_cost` per unit lost.
    """

    limits: Mapping[str, float]
    offsets: Mapping[str, float] = field(default_factory=dict)
    top: float = 0.97
    drop: float = 0.03
    slope: float = 0.02
    noise: float = 0.0
    lr_cost: float = 0.02
    loss_cost: float = 5.0
    diverges_at: float = 3.0
    name: str = "synthetic"
    direction: Direction = "up"
    dataset_size: int = 1024
    baseline_batch_size: int = 16
    candidates: tuple[Candidate, ...] = CANDIDATES
    diverges: Callable[[TrialConfig], bool] = lambda config: False
    asked: list[TrialConfig] = field(default_factory=list)

    def run(self, config: TrialConfig) -> TrialRecord:
        """Return the record of a trial."""
        self.asked.append(config)
        excess = self._excess(config)
        steps = config.total_steps(self.dataset_size)
        samples = steps * config.batch_size
        if excess > self.diverges_at or self.diverges(config):
            reason = "the loss was nan at step 1"
            return TrialRecord(config=config, status="diverged", reason=reason, steps=1, samples=config.batch_size)
        # Metrics of 9 digits, so that the same sum in another order is the same metric.
        merit = round(self.merit(config), 9)
        selection, test = (round(merit + self._noise(config, split), 9) for split in ("selection", "test"))
        early, late = self._scores(merit - 0.2 * abs(self.top)), self._scores(merit - 0.02 * abs(self.top))
        stop = config.stop
        if stop is not None and self._worse(late.metric, stop.metric):
            done = math.ceil(stop.fraction * steps)
            point = HistoryPoint(step=done, epoch=2.0 * stop.fraction, selection=late)
            return TrialRecord(
                config=config, status="pruned", steps=done, samples=done * config.batch_size, history=(point,)
            )
        return TrialRecord(
            config=config,
            status="complete",
            steps=steps,
            samples=samples,
            seconds=round(samples / 10_000, 3),
            history=(HistoryPoint(step=1, epoch=1.0, selection=early), HistoryPoint(step=steps, epoch=2.0)),
            selection=self._scores(selection),
            test=self._scores(test),
            environment={"machine": "none"},
        )

    def merit(self, config: TrialConfig) -> float:
        """Return the metric without noise of a trial that does not diverge (before a 'down' world turns it round)."""
        limit = self.limits.get(self.kind(config.recipe), float(self.dataset_size))
        beyond = math.log2(config.batch_size / limit)
        lost = self.drop + self.slope * beyond if beyond > 1e-9 else 0.0
        return self.top - lost - self.lr_cost * max(0.0, abs(self._excess(config)) - 0.5001)

    def kind(self, recipe: Recipe) -> str:
        """Return which limit holds for a recipe."""
        return LINEAR if recipe.solver == BASELINE.solver else recipe.solver

    def largest(self, kind: str) -> int:
        """Return the largest batch size of the search, or the baseline's, at which `kind` keeps the metric."""
        sizes = [size for size in self.batch_sizes() if size <= self.limits[kind] * (1 + 1e-9)]
        return max(sizes, default=self.baseline_batch_size)

    def batch_sizes(self) -> tuple[int, ...]:
        """Return the ladder of the search."""
        return ladder(self.baseline_batch_size, self.dataset_size, 2.0)

    def question(self, **settings: object) -> Question:
        """Return the question of this world's limit."""
        chosen = FindSettings.model_validate(settings)
        return Question(
            workload=self.name,
            metric_name="merit",
            metric_direction=self.direction,
            dataset_size=self.dataset_size,
            baseline=BASELINE,
            baseline_batch_size=self.baseline_batch_size,
            budget=Duration(2.0, "epochs"),
            batch_sizes=chosen.batch_sizes or self.batch_sizes(),
            candidates=tuple(c for c in self.candidates if chosen.recipes is None or c.name in chosen.recipes),
            techniques="synthetic",
            settings=chosen,
        )

    def _excess(self, config: TrialConfig) -> float:
        """Return how many doublings a trial's LR lies above the best one."""
        candidate = next((c for c in self.candidates if c.recipe.solver == config.recipe.solver), None)
        if candidate is None:
            return 0.0
        anchor = self.dataset_size if candidate.anchor == "full" else self.baseline_batch_size
        start = candidate.recipe.lr * (config.batch_size / anchor) ** candidate.exponent
        return math.log2(config.recipe.lr / start) - self.offsets.get(config.recipe.solver, 0.0)

    def _noise(self, config: TrialConfig, split: str) -> float:
        if self.noise == 0:
            return 0.0
        digest = hashlib.sha256(f"{config.hash} {split}".encode()).digest()
        uniform = (int.from_bytes(digest[:7], "big") + 0.5) / 2**56
        return NormalDist().inv_cdf(uniform) * self.noise

    def _scores(self, merit: float) -> Scores:
        metric = merit if self.direction == "up" else 2 * self.top - merit
        return Scores(loss=round(1.0 + self.loss_cost * (self.top - merit), 9), metric=metric)

    def _worse(self, left: float | None, right: float) -> bool:
        assert left is not None
        return left < right if self.direction == "up" else left > right


def find(world: World, ledger: Ledger | None = None, **settings: object) -> LimitFinding:
    """Return what a search of `world` finds; its trials go into `ledger`, if given."""
    search = LimitSearch(world.question(**settings))
    drive(search.trials(), Ledger.open(":memory:") if ledger is None else ledger, InlineRunner(world.run))
    return search.finding()
