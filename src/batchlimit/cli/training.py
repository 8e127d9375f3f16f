"""What `batchlimit train` shows: a live epoch line with time left, and the final scores."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from batchlimit.cli.terminal import Output
from batchlimit.reports.quantities import counted, length, metric_text, span

if TYPE_CHECKING:
    from batchlimit.config import TrialConfig
    from batchlimit.records import HistoryPoint, TrialRecord
    from batchlimit.workloads.workload import Workload

_PLAIN_LINES = 10


class TrainingProgress:
    """Shows each history point: a live line on a terminal, about ten plain lines elsewhere; all on stderr.

    `validated` says whether the workload has a validation split: without one, points are scored on the test split.
    """

    def __init__(self, workload: Workload, trial: TrialConfig, *, validated: bool = True, quiet: bool = False) -> None:
        self._metric = workload.metric
        self._selection = "validation" if validated and trial.protocol != "paper" else "test"
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._live = self._console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[line]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task(f"B = {trial.batch_size}", total=None, line="starting", left="")
        self._begun = time.monotonic()
        self._shown = 0
        self._pace: tuple[int, float] | None = None

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def point(self, point: HistoryPoint, total_steps: int) -> None:
        """Show the state of training after `point.step` of `total_steps` weight updates."""
        now = time.monotonic()
        # A training that was taken up again began somewhere: from its first point here on, the pace is known.
        step, begun = self._pace or (0, self._begun)
        known = point.step > step and (self._pace is not None or point.epoch < 2)
        left = (now - begun) / (point.step - step) * (total_steps - point.step) if known else None
        if self._pace is None and point.epoch >= 2:
            self._pace = point.step, now
        line = self.line(point, total_steps)
        if self._live:
            self._bar.update(
                self._task,
                completed=point.step,
                total=total_steps,
                line=line,
                left=f"{span(left)} left" if left is not None and point.step < total_steps else "",
            )
        elif point.step >= total_steps or point.step * _PLAIN_LINES >= (self._shown + 1) * total_steps:
            self._shown = point.step * _PLAIN_LINES // total_steps
            tail = f", {span(left)} left" if left is not None and point.step < total_steps else ""
            self._console.print(f"{line}{tail}", soft_wrap=True, markup=False)

    def line(self, point: HistoryPoint, total_steps: int) -> str:
        """Return the line of one history point."""
        parts = [f"epoch {point.epoch:.3g}", f"step {point.step}/{total_steps}"]
        if point.train_loss is not None:
            parts.append(f"loss {point.train_loss:.4g}")
        scores = point.selection
        if scores is not None and self._metric.total is not None:
            parts.append(f"{self._selection} {metric_text(scores.metric, percent=self._metric.percent, digits=2)}")
        return ", ".join(parts)


def summary(record: TrialRecord, workload: Workload) -> None:
    """Print how the trial ended and its scores to stdout."""
    console = Output()
    trial = record.config
    cost = f"{counted(record.steps, 'step')}, {record.samples:,} examples, {span(record.seconds)}"
    if "resumed_at" in record.environment:
        cost += f", taken up at step {record.environment['resumed_at']:,}"
    if record.status != "complete":
        why = f": {record.reason}" if record.reason else ""
        console.print(
            f"{trial.workload} at batch size {trial.batch_size} {record.status}{why} ({cost}).",
            soft_wrap=True,
            markup=False,
        )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("split")
    table.add_column("loss", justify="right")
    if workload.metric.total is not None:
        table.add_column(workload.metric.name, justify="right")
    for split, scores in (("validation", record.selection), ("test", record.test)):
        # Where the test split selects (the paper's protocol, or no validation split), its scores are the same.
        if scores is None or (split == "validation" and scores == record.test):
            continue
        cells = [split, "-" if scores.loss is None else f"{scores.loss:.4f}"]
        if workload.metric.total is not None:
            cells.append(metric_text(scores.metric, percent=workload.metric.percent, digits=2))
        table.add_row(*cells)
    console.print(
        f"{trial.workload} at batch size {trial.batch_size}, {length(trial.budget)}, seed {trial.seed}: {cost}.",
        soft_wrap=True,
        markup=False,
    )
    console.print(table)


def measured(record: TrialRecord) -> None:
    """Print a line for each probe to stdout: what it says of its result."""
    if not record.measurements:
        return
    from batchlimit.probes import probes

    console = Output()
    for name, result in record.measurements.items():
        line = getattr(probes.get(name), "line", None)
        console.print(f"{name}: {(line(result) if line else '') or 'in the record'}", soft_wrap=True, markup=False)
