"""What a finished search prints: the verdict, a compact table, what it rests on, and where everything is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from batchlimit.cli.terminal import Output
from batchlimit.findings import Estimate, LimitFinding, Measurement
from batchlimit.reports.quantities import count, is_percent, metric_text
from batchlimit.reports.tables import set_rows
from batchlimit.reports.verdict import (
    all_sizes,
    as_json,
    further_with_less,
    reached_by,
    sentence,
    summary_lines,
    tried_in_vain,
)

_BY_LOSS = "* decided by its loss, which linear scaling has to hold too"
DECISION_COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow"}
_REGIMES = {"baseline": "", "small": "green", "large": "cyan", "huge": "red", "unknown": "yellow"}


def conclude(finding: LimitFinding, beside: Sequence[LimitFinding] = (), *, ledger: str, report: Path) -> None:
    """Print the verdict, the tables, what it rests on, the ledger and, on the last line, the report's path.

    `beside` are findings of the same question with other technique sets.
    """
    console = Output()
    # In a pipe every sentence is one line, for grep; on a terminal it is wrapped at words.
    wide = not console.is_terminal
    console.print(Text(sentence(finding), style="bold"), soft_wrap=wide)
    console.print()
    if finding.by_batch_size and not finding.problem:
        console.print(finding_table(finding), soft_wrap=wide)
        console.print()
    if beside:
        console.print(sets_table(finding, beside), soft_wrap=wide)
        console.print()
        if warning := further_with_less(finding, beside):
            console.print(Text(warning), soft_wrap=wide)
            console.print()
    # Without a verdict there is nothing that it rests on; the last line is the cost.
    for line in summary_lines(finding)[-1 if finding.problem else 0 :]:
        console.print(Text(line), soft_wrap=wide)
    console.print()
    console.print(Text(f"Ledger: {ledger}"), soft_wrap=True)
    console.print(Text(f"Report: {report}"), soft_wrap=True)


def as_object(finding: LimitFinding, beside: Sequence[LimitFinding] = (), *, ledger: str, report: Path | None) -> str:
    """Return what --json prints: the verdict and all it rests on as one JSON object.

    'beside' holds one such object for each finding of the same question with another technique set.
    """
    others = [as_json(other, None) for other in beside]
    return json.dumps({**as_json(finding, report), "ledger": ledger, "beside": others}, allow_nan=False)


def finding_table(finding: LimitFinding) -> Table:
    """Return one row a batch size: its regime, plain linear scaling and the best recipe, each with its decision."""
    percent = is_percent(finding)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("batch\nsize", justify="right", no_wrap=True)
    table.add_column("regime", no_wrap=True)
    table.add_column("linear scaling", no_wrap=True)
    table.add_column("best recipe", min_width=20)
    table.add_column("which", min_width=8)
    baseline = finding.baseline
    if baseline is not None:
        table.add_row(count(baseline.batch_size), "baseline", plus_minus(baseline.metric, percent=percent))
    for row in all_sizes(finding):
        best = reached_by(row)
        table.add_row(
            count(row.batch_size),
            Text(row.regime, style=_REGIMES[row.regime]),
            measured(row.linear, percent=percent),
            measured(best, percent=percent) if best or not tried_in_vain(row) else Text("none near the target"),
            Text(best.name) if best else Text(""),
        )
        if row.linear is not None and row.linear.decided_by_loss:
            table.caption = Text(_BY_LOSS, style="dim", justify="left")
    return table


def sets_table(finding: LimitFinding, beside: Sequence[LimitFinding]) -> Table:
    """Return one row a technique set: its limits and what its best recipe reaches at the full batch."""
    percent = is_percent(finding)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("techniques", no_wrap=True)
    for name in ("linear scaling up to (B_L)", "best recipe up to (B_H)"):
        table.add_column(name, justify="right")
    table.add_column("at full batch (B_F)")
    table.add_column("trials", justify="right")
    for row in set_rows(finding, beside):
        best = plus_minus(row.full, percent=percent) if row.full is not None else row.full_known
        table.add_row(
            Text(row.techniques),
            row.linear,
            row.best,
            Text(f"{best}  {row.full_name or ''}".rstrip()),
            count(row.trials),
        )
    return table


def plus_minus(estimate: Estimate, *, percent: bool) -> str:
    """Return '97.31 % ± 0.24' of a mean and its interval, '-' where nothing finite was measured."""
    if estimate.mean is None:
        return "-"
    mean = metric_text(estimate.mean, percent=percent, digits=2)
    if estimate.low is None or estimate.high is None:
        return mean
    half = (estimate.high - estimate.low) / 2
    return f"{mean} ± {100 * half:.2f}" if percent else f"{mean} ± {half:.2g}"


def measured(measurement: Measurement | None, *, percent: bool) -> Text:
    """Return a measurement and its decision, coloured; 'diverged' or 'failed' where no seed gave a number."""
    if measurement is None:
        return Text("-")
    shown = plus_minus(measurement.metric, percent=percent)
    if measurement.diverged:
        every = measurement.diverged >= measurement.seeds
        shown = measurement.lost_to if every else f"{shown} ({measurement.lost})"
    between = "* " if measurement.decided_by_loss else "  "
    return Text.assemble(shown, between, (measurement.decision, DECISION_COLOURS[measurement.decision]))
