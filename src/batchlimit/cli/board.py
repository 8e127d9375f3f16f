"""What a running search has shown so far, batch size by batch size: state and words, no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from batchlimit.cli.conclusion import DECISION_COLOURS, plus_minus
from batchlimit.findings import BatchSizeFinding, LimitFinding
from batchlimit.reports.quantities import count, counted, metric_text, span

if TYPE_CHECKING:
    from batchlimit.records import TrialRecord
    from batchlimit.tuning.driver import Event

BASELINE, LINEAR, TUNING, VERIFYING = "baseline", "linear scaling", "tuning", "verifying"


@dataclass
class Stage:
    """One purpose at one batch size ('verifying lars at batch size 512'), and the records it has so far."""

    purpose: str
    batch_size: int
    records: list[TrialRecord] = field(default_factory=list)
    reused: int = 0

    @property
    def kind(self) -> str:
        """The purpose's first words: 'baseline', 'linear scaling', 'tuning' or 'verifying'."""
        for kind in (BASELINE, LINEAR, TUNING, VERIFYING):
            if self.purpose.startswith(kind):
                return kind
        return ""

    @property
    def recipe(self) -> str:
        """The name of the recipe that is tuned or verified, '' for the others."""
        if self.kind not in (TUNING, VERIFYING):
            return ""
        return self.purpose.removeprefix(self.kind).split(" at batch size")[0].strip()


@dataclass
class Board:
    """All stages of a search in order, fed with events.

    `percent` and `direction` are the metric's; `note` is what goes on besides trials (loading, drawing the report).
    """

    percent: bool = False
    direction: str = "up"
    note: str = "loading"
    stages: list[Stage] = field(default_factory=list)
    known: dict[int, BatchSizeFinding] = field(default_factory=dict)
    done: int = 0
    reused: int = 0
    expected: int | None = None
    seconds_left: float | None = None

    def take(self, event: Event) -> Stage | None:
        """Take one event; return the stage that it ends by beginning another, if it does."""
        ended = None
        if not self.stages or self.stages[-1].purpose != event.purpose:
            ended = self.stages[-1] if self.stages else None
            self.stages.append(Stage(event.purpose, event.config.batch_size))
        self.note = ""
        self.done, self.expected, self.seconds_left = event.done, event.expected, event.seconds_left
        stage = self.stages[-1]
        if event.record is not None:
            stage.records.append(event.record)
            if event.kind == "reused":
                stage.reused += 1
                self.reused += 1
        return ended

    def learn(self, finding: LimitFinding) -> None:
        """Take what is decided so far."""
        self.known = {size.batch_size: size for size in finding.by_batch_size}

    def result(self, stage: Stage) -> str:
        """Return what a stage has found: 'mean ± half the interval', or the best of a tuning."""
        if stage.kind == TUNING:
            values = [r.selection.metric for r in stage.records if r.selection and r.selection.metric is not None]
            if not values:
                return "nothing completed" if stage.records else ""
            best = max(values) if self.direction == "up" else min(values)
            return f"best {metric_text(best, percent=self.percent, digits=2)} on selection"
        # Brings scipy, which takes a while to load: not before there is something to show.
        from batchlimit.tuning.statistics import estimate

        values = _test_metrics(stage.records)
        lost = len(stage.records) - len(values)
        died = next((record.reason for record in stage.records if record.status == "failed"), None)
        end = "diverged" if died is None else f"failed: {died}"
        if not values:
            return f"every trial {end}" if lost else ""
        shown = plus_minus(estimate(values), percent=self.percent)
        return f"{shown} ({lost} {end})" if lost else shown

    def line(self, stage: Stage) -> str:
        """Return one plain line about a finished stage."""
        trials = counted(len(stage.records), "trial")
        reused = f", {stage.reused} from the ledger" if stage.reused else ""
        decision = self._decision(stage)
        tail = f", {decision}" if decision else ""
        return f"{stage.purpose}: {self.result(stage)}{tail} ({trials}{reused})"

    def status(self) -> str:
        """Return the progress line: what is running, trials done, time left."""
        if self.note or not self.stages:
            return self.note
        parts = [self.stages[-1].purpose, _trials(self.done, self.expected)]
        if self.reused:
            parts.append(f"{self.reused} from the ledger")
        if self.seconds_left is not None and self.seconds_left >= 1:
            parts.append(f"about {span(self.seconds_left)} left")
        return " · ".join(parts)

    def table(self) -> Table:
        """Return one row a batch size seen so far, smallest first."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("batch size", justify="right", no_wrap=True)
        table.add_column("linear scaling", no_wrap=True, min_width=22)
        table.add_column("best recipe", overflow="ellipsis", no_wrap=True)
        for size in sorted({stage.batch_size for stage in self.stages}):
            here = [stage for stage in self.stages if stage.batch_size == size]
            table.add_row(count(size), self._linear(here, size), self._best(here, size))
        return table

    def _linear(self, here: Sequence[Stage], size: int) -> Text:
        stage = next((s for s in reversed(here) if s.kind in (BASELINE, LINEAR)), None)
        if stage is None:
            return Text("")
        mark = Text("  baseline", style="dim") if stage.kind == BASELINE else self._mark(self._decision(stage))
        return Text.assemble(self.result(stage), mark)

    def _best(self, here: Sequence[Stage], size: int) -> Text:
        verified = [stage for stage in here if stage.kind == VERIFYING and _test_metrics(stage.records)]
        if verified:
            sign = 1 if self.direction == "up" else -1
            best = max(verified, key=lambda s: sign * _mean(_test_metrics(s.records)))
            return Text.assemble(self.result(best), self._mark(self._decision(best)), f"  {best.recipe}")
        tuning = [stage for stage in here if stage.kind == TUNING]
        if tuning:
            return Text(f"tuning {tuning[-1].recipe}: {counted(len(tuning[-1].records), 'trial')}", style="dim")
        return Text("")

    def _decision(self, stage: Stage) -> str:
        known = self.known.get(stage.batch_size)
        if known is None:
            return ""
        if stage.kind == LINEAR:
            return known.linear.decision if known.linear else ""
        if stage.kind == VERIFYING and known.best and known.best.name == stage.recipe:
            return known.best.decision
        return ""

    def _mark(self, decision: str) -> Text:
        return Text(f"  {decision}", style=DECISION_COLOURS[decision]) if decision else Text("")


def _test_metrics(records: Sequence[TrialRecord]) -> list[float]:
    return [record.test.metric for record in records if record.test and record.test.metric is not None]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _trials(done: int, expected: int | None) -> str:
    return f"{done:,} of {expected:,} trials" if expected is not None and expected >= done else counted(done, "trial")
