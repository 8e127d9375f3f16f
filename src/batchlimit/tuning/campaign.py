"""The trials of a study: every arm tuned with its budget, the best measured with fresh seeds; pure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from batchlimit.config import Recipe, TrialConfig
from batchlimit.findings import Direction
from batchlimit.records import TrialRecord
from batchlimit.studies.arm import Arm
from batchlimit.studies.results import ArmResult, Told
from batchlimit.tuning.batch import Batch
from batchlimit.tuning.search_space import Proposal, SearchSpace
from batchlimit.tuning.tuner import PROPOSALS_AT_ONCE, TUNING_SEED, tuners

_FIRST_REPEAT = 1000  # tuning seeds of repeats, far from those that measure


class ArmProgress:
    """What is known of one arm: its tuning trials in order, then its final trainings."""

    def __init__(self, workload: str, direction: Direction, arm: Arm) -> None:
        self.arm = arm
        self._workload, self._sign, self._direction = workload, 1.0 if direction == "up" else -1.0, direction
        self._space = SearchSpace.parse(arm.space)
        self._space.check(arm.recipe)
        self._propose = tuners.get(arm.tuner)
        self._told: list[Told] = []
        self._proposed: list[tuple[Proposal, TrialConfig]] = []
        self._final: list[TrialConfig] | None = None
        self._records: dict[str, TrialRecord] = {}
        self._advance()

    @property
    def wanted(self) -> list[TrialConfig]:
        """The trials that the arm waits for."""
        asked = [config for _, config in self._proposed] if self._final is None else self._final
        return [config for config in asked if config.hash not in self._records]

    @property
    def trials(self) -> int:
        """How many trials the arm has in all, if every proposal that its budget allows is made."""
        limited = self._grid or self._space.finite
        tuning = min(self.arm.budget, self._space.grid_size()) if limited else self.arm.budget
        return (tuning if self.arm.tuned else 0) + self.arm.seeds

    @property
    def left(self) -> int:
        """How many of its trials have not been asked for yet."""
        if self._final is not None:
            return 0
        return max(0, self.trials - len(self._told) - len(self._proposed))

    def learn(self, records: Mapping[str, TrialRecord]) -> None:
        """Take what is known of the trials wanted, and go on where that is all."""
        for config in self.wanted:
            if config.hash in records:
                self._records[config.hash] = records[config.hash]
        if self._final is None and not self.wanted:
            self._told += [Told(dict(fields), self._records[config.hash]) for fields, config in self._proposed]
            self._proposed = []
            self._advance()

    def result(self) -> ArmResult:
        """Return what is known so far."""
        told = list(self._told)
        told += [Told(dict(f), self._records[c.hash]) for f, c in self._proposed if c.hash in self._records]
        final = tuple(self._records[c.hash] for c in self._final or () if c.hash in self._records)
        chosen = self._chosen() if self._final is not None else None
        return ArmResult(self.arm, tuple(told), chosen, final, finished=not self.wanted)

    @property
    def _grid(self) -> bool:
        return self.arm.tuner == "grid"

    def _advance(self) -> None:
        """Ask for the next proposals; where there are none, for the final trainings of the best."""
        if self.arm.tuned:
            proposals = self._propose(
                self._space,
                [(told.fields, told.metric) for told in self._told],
                count=self.arm.budget if self._grid else PROPOSALS_AT_ONCE,
                budget=self.arm.budget,
                direction=self._direction,
                seed=TUNING_SEED + self.arm.repeat,
            )
            seed = TUNING_SEED if self.arm.repeat == 0 else _FIRST_REPEAT + self.arm.repeat
            self._proposed = [(p, self._trial(self.arm.recipe.updated(dict(p)), seed, final=False)) for p in proposals]
            if self._proposed:
                return
        chosen = self._chosen()
        seeds = range(1, self.arm.seeds + 1) if chosen is not None else ()
        self._final = [self._trial(chosen or self.arm.recipe, seed, final=True) for seed in seeds]

    def _chosen(self) -> Recipe | None:
        if not self.arm.tuned:
            return self.arm.recipe
        scored = [(self._sign * told.metric, told.record) for told in self._told if told.metric is not None]
        return max(scored, key=lambda pair: pair[0])[1].config.recipe if scored else None

    def _trial(self, recipe: Recipe, seed: int, *, final: bool) -> TrialConfig:
        return self.arm.trial(self._workload, recipe, seed, final=final)


class Campaign:
    """All arms of a study: `trials()` asks, `results()` says what is known at any moment."""

    def __init__(self, workload: str, direction: Direction, arms: Sequence[Arm]) -> None:
        self.progress = [ArmProgress(workload, direction, arm) for arm in arms]

    def trials(self) -> Generator[Batch, list[TrialRecord], None]:
        """Yield batches of trials and be sent their records, in the order asked; all arms move on together."""
        while wanted := self.wanted():
            measuring = sum(1 for progress in self.progress if progress.wanted and progress.left == 0)
            records = yield Batch(
                trials=tuple(wanted),
                purpose="measuring" if measuring == len(self.progress) else "tuning and measuring",
                expected_left=sum(progress.left for progress in self.progress),
            )
            self.learn({record.hash: record for record in records})

    def wanted(self) -> list[TrialConfig]:
        """Return the trials that the arms wait for, each once, though two arms may want it."""
        asked = {config.hash: config for progress in self.progress for config in progress.wanted}
        return list(asked.values())

    def learn(self, records: Mapping[str, TrialRecord]) -> None:
        """Tell every arm what is known of its trials."""
        for progress in self.progress:
            progress.learn(records)

    def recall(self, known: Callable[[str], TrialRecord | None]) -> None:
        """Take all that `known` (a ledger's look-up by hash) has, as far as it leads; nothing is run."""
        while wanted := self.wanted():
            found = {config.hash: record for config in wanted if (record := known(config.hash)) is not None}
            if not found:
                return
            self.learn(found)

    def results(self) -> tuple[ArmResult, ...]:
        """Return what is known of every arm so far."""
        return tuple(progress.result() for progress in self.progress)
