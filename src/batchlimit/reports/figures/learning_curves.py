"""Learning curves: the selection metric against the epoch, the baseline and the best recipe of each batch size."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from batchlimit.config import Recipe
from batchlimit.findings import LimitFinding
from batchlimit.records import TrialRecord
from batchlimit.reports.figures.figure import Figure, Row, data, tick_label
from batchlimit.reports.palette import BASELINE, colour
from batchlimit.reports.quantities import count, is_percent
from batchlimit.reports.verdict import all_sizes

_POINTS = 120
_WIDTH, _HEIGHT = 205, 140


def curves(finding: LimitFinding, records: Sequence[TrialRecord]) -> list[Row]:
    """Return one row for each (batch size, recipe, epoch): mean, least and greatest selection metric over its seeds.

    A seed that diverged counts up to where it did; `ended` marks the last epoch of a series that no seed completed.
    """
    wanted: list[tuple[int, str, Recipe]] = []
    if finding.baseline is not None:
        wanted.append((finding.baseline.batch_size, "baseline", finding.baseline.recipe))
    for size in all_sizes(finding):
        measured = size.best or size.linear
        if measured is not None:
            wanted.append((size.batch_size, measured.name, measured.recipe))
    rows: list[Row] = []
    for batch_size, name, recipe in wanted:
        members = [
            record
            for record in records
            if record.config.batch_size == batch_size
            and record.config.recipe == recipe
            and record.config.workload == finding.workload
        ]
        rows += _series(batch_size, name, recipe.solver, members)
    return rows


def _series(batch_size: int, name: str, solver: str, members: list[TrialRecord]) -> list[Row]:
    complete = [record for record in members if record.status == "complete"]
    by_epoch: dict[float, list[float]] = {}
    for record in complete or members:
        for point in record.history:
            if point.selection is not None and point.selection.metric is not None:
                by_epoch.setdefault(round(point.epoch, 4), []).append(point.selection.metric)
    epochs = _thinned(sorted(by_epoch))
    return [
        {
            "batch_size": batch_size,
            "recipe": name,
            "solver": solver,
            "epoch": epoch,
            "metric": sum(by_epoch[epoch]) / len(by_epoch[epoch]),
            "least": min(by_epoch[epoch]),
            "greatest": max(by_epoch[epoch]),
            "seeds": len(by_epoch[epoch]),
            "ended": not complete and epoch == epochs[-1],
        }
        for epoch in epochs
    ]


def _thinned(epochs: list[float]) -> list[float]:
    """Return at most about `_POINTS` of the epochs, the last among them: more cannot be told apart in a panel."""
    stride = -(-len(epochs) // _POINTS) or 1
    return epochs[::-1][::stride][::-1]


def draw(finding: LimitFinding, records: Sequence[TrialRecord]) -> Figure | None:
    """Return a panel of curves for each batch size, the baseline in grey in all; None where no record has a history."""
    rows = curves(finding, records)
    baseline = [row for row in rows if row["recipe"] == "baseline"]
    others = [row for row in rows if row["recipe"] != "baseline"]
    if not rows:
        return None
    domain = _domain(finding, rows)
    keys = list(dict.fromkeys((int(row["batch_size"] or 0), str(row["recipe"])) for row in others or baseline))
    panels = tuple(
        _panel(finding, baseline, [row for row in others if (row["batch_size"], row["recipe"]) == key], key, domain)
        for key in keys
    )
    return Figure(
        name="learning-curves",
        title="How does training go at each batch size?",
        caption=(
            f"Selection metric ({finding.metric_name}, on the split that tuning selects by) after each epoch: the mean "
            "over seeds, shaded from the worst to the best seed. Grey, in every panel: the baseline. Dashed: the "
            "target of the test split. A cross: every seed diverged there."
        ),
        rows=tuple(rows),
        panels=panels,
        columns=3,
    )


def _domain(finding: LimitFinding, rows: list[Row]) -> tuple[float, float]:
    values = sorted(
        float(value) for row in rows for value in (row["least"], row["greatest"]) if isinstance(value, float)
    )
    low, high = values[0], values[-1]
    target = finding.baseline.target_metric if finding.baseline is not None else None
    if target is not None:
        # The first epochs may leave the panel, the last ones may not.
        ends = {(row["batch_size"], row["recipe"]): row["metric"] for row in rows}
        last = [float(value) for value in ends.values() if isinstance(value, float)]
        low, high = min(low, target), max(high, target)
        if finding.metric_direction == "up":
            low = max(low, min(target - 0.3 * abs(target), *(value - 0.1 * (high - value) for value in last)))
        else:
            high = min(high, max(target + 2 * abs(target), *(value + 0.1 * (value - low) for value in last)))
    return (low, high + 0.04 * (high - low)) if high > low else (low - 0.5, high + 0.5)


def _panel(
    finding: LimitFinding, baseline: list[Row], rows: list[Row], key: tuple[int, str], domain: tuple[float, float]
) -> alt.TopLevelMixin:
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(grid=False, tickCount=5, tickMinStep=1))
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    y = alt.Y(
        "metric:Q",
        title=finding.metric_name,
        scale=scale,
        axis=alt.Axis(labelExpr=tick_label(is_percent(finding)), tickCount=4),
    )
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("recipe", "batch_size", "epoch", "seeds")]
    tooltip.append(alt.Tooltip("metric:Q", format=".4~f", title="mean"))
    layers = []
    for series, tint in ((baseline, BASELINE), (rows, _tint(rows))):
        if series:
            base = alt.Chart(data(series))
            area = base.mark_area(clip=True, opacity=0.2, color=tint)
            layers.append(area.encode(x=x, y=alt.Y("least:Q", scale=scale), y2="greatest:Q"))
            layers.append(base.mark_line(clip=True, color=tint, strokeWidth=2).encode(x=x, y=y, tooltip=tooltip))
    ended = [{**row, "metric": _within(row["metric"], domain)} for row in rows or baseline if row["ended"]]
    if ended:
        mark = alt.Chart(data(ended)).mark_point(
            shape="cross", angle=45, size=140, filled=True, color=_tint(rows), opacity=1
        )
        layers.append(mark.encode(x=x, y=y, tooltip=tooltip))
    target = finding.baseline.target_metric if finding.baseline is not None else None
    if target is not None:
        rule = alt.Chart(data([{"metric": target}])).mark_rule(style="ink-line", strokeDash=[5, 4], opacity=0.7)
        layers.append(rule.encode(y=y))
    layers += _names(finding, baseline, rows)
    title = alt.TitleParams(f"batch {count(key[0])} · {key[1]}", anchor="start", fontSize=13, limit=260)
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=title)


def _names(finding: LimitFinding, baseline: list[Row], rows: list[Row]) -> list[alt.Chart]:
    """Return the names of the curves, in the corner that curves leave free: right, where metrics are bad."""
    layers = []
    edge = _HEIGHT - 24 if finding.metric_direction == "up" else 10
    for place, series in enumerate(series for series in (rows, baseline) if series):
        tint = BASELINE if series is baseline else _tint(rows)
        mark = alt.Chart(data([{"text": series[0]["recipe"]}])).mark_text(
            align="right", color=tint, fontSize=12, limit=150
        )
        layers.append(mark.encode(x=alt.value(_WIDTH - 4), y=alt.value(edge + 15 * place), text="text:N"))
    return layers


def _within(value: object, domain: tuple[float, float]) -> float:
    return min(max(float(value) if isinstance(value, float) else domain[0], domain[0]), domain[1])


def _tint(rows: list[Row]) -> str:
    return colour(str(rows[0]["recipe"]), str(rows[0]["solver"])) if rows else BASELINE
