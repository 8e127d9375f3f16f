"""Maps of tuning: the selection metric over learning rate and warmup (paper, Figures 2, 7 and 15 to 17)."""

from __future__ import annotations

import altair as alt

from batchlimit.durations import Duration
from batchlimit.errors import InputError
from batchlimit.findings import LimitFinding, TunedPoint
from batchlimit.reports.figures.figure import Figure, Row, data
from batchlimit.reports.quantities import count, is_percent
from batchlimit.reports.verdict import all_sizes

_TEXT_CELLS = 12
_WIDE_CELLS = 5


def cells(finding: LimitFinding, *, only_best: bool = False) -> list[Row]:
    """Return one row for each (recipe, batch size, LR, warmup): the best metric there; `best` marks its panel's best.

    Trials that share LR and warmup (other fields differ) share a cell, and the best of them counts. With `only_best`
    only the best recipe of each batch size is returned, where it was tuned.
    """
    better = max if finding.metric_direction == "up" else min
    winners = {size.batch_size: size.best.name for size in all_sizes(finding) if size.best is not None}
    grouped: dict[tuple[int, str, float, str], list[TunedPoint]] = {}
    for point in finding.tuned_points:
        if only_best and winners.get(point.batch_size) != point.name:
            continue
        grouped.setdefault((point.batch_size, point.name, float(f"{point.lr:.4g}"), point.warmup), []).append(point)
    best: dict[tuple[int, str], float] = {}
    rows: list[Row] = []
    for (batch_size, name, lr, warmup), members in grouped.items():
        values = [member.metric for member in members if member.metric is not None]
        value = better(values) if values else None
        rows.append(
            {
                "batch_size": batch_size,
                "recipe": name,
                "lr": lr,
                "warmup": warmup,
                "metric": value,
                "status": "complete" if value is not None else members[0].status,
                "trials": len(members),
            }
        )
        if value is not None:
            best[batch_size, name] = better(best.get((batch_size, name), value), value)
    for row in rows:
        panel = int(row["batch_size"] or 0), str(row["recipe"])
        row["best"] = row["metric"] is not None and row["metric"] == best.get(panel)
    return sorted(rows, key=lambda row: (row["batch_size"], row["recipe"], row["lr"], length(str(row["warmup"]))))


def length(warmup: str) -> tuple[str, float]:
    """Return what warmups are sorted by; none is the shortest in any unit."""
    try:
        read = Duration.parse(warmup)
    except InputError:
        return (warmup, 0.0)
    return (read.unit, read.amount) if read.amount else ("", 0.0)


def draw(finding: LimitFinding, *, only_best: bool = False) -> Figure | None:
    """Return the tuning maps of a finding, a panel for each recipe and batch size; None where nothing was tuned."""
    rows = cells(finding, only_best=only_best)
    if not rows:
        return None
    values = sorted(float(row["metric"]) for row in rows if isinstance(row["metric"], float))
    domain = _domain(finding, values)
    keys = sorted({(int(row["batch_size"] or 0), str(row["recipe"])) for row in rows})
    panels = tuple(
        panel(
            [row for row in rows if (row["batch_size"], row["recipe"]) == key],
            f"batch {count(key[0])} · {key[1]}",
            domain,
            percent=is_percent(finding),
        )
        for key in keys
    )
    return Figure(
        name="tuning-best" if only_best else "tuning",
        title=f"Which learning rates and warmups work{' for the best recipes' if only_best else ''}?",
        caption=(
            f"Selection metric ({finding.metric_name}, on the split that tuning selects by), a panel for each batch "
            "size and recipe; darker is better, on one scale for all. Framed: the best of its panel. Grey: diverged "
            "or stopped early (× where there is no room for the word)."
        ),
        rows=tuple(rows),
        panels=panels,
        columns=2 if len(panels) <= 4 else 3,
    )


def _domain(finding: LimitFinding, values: list[float]) -> tuple[float, float]:
    """Return the worst and best metric of the colour scale; all that is hopeless has one colour."""
    if not values:
        return (0.0, 1.0)
    low, high = values[0], values[-1]
    base = finding.baseline
    if base is not None and base.metric.mean is not None and base.target_metric is not None:
        reach = 12 * abs(base.metric.mean - base.target_metric)
        if finding.metric_direction == "up":
            low = max(low, high - reach)
        else:
            high = min(high, low + reach)
    if low == high:
        low, high = low - abs(low) * 0.01 - 1e-9, high
    return (low, high) if finding.metric_direction == "up" else (high, low)


def panel(rows: list[Row], name: str, domain: tuple[float, float], *, percent: bool) -> alt.TopLevelMixin:
    """Return one map of rows as `cells` has them; `domain` is the worst and the best metric of the colours."""
    worst, best = domain
    rates = sorted({float(row["lr"] or 0) for row in rows})
    warmups = sorted({str(row["warmup"]) for row in rows}, key=length, reverse=True)
    crowded = len(rates) > _WIDE_CELLS
    digits = 2 if crowded and len({f"{rate:.2g}" for rate in rates}) == len(rates) else 3
    # Rounded, then written without an exponent where it can be: 130, not 1.3e+02.
    written = {rate: f"{float(f'{rate:.{digits}g}'):g}" for rate in rates}
    shown = [{**row, "lr": written[float(row["lr"] or 0)], "score": _score(row, worst, best)} for row in rows]
    x = alt.X(
        "lr:N",
        sort=list(written.values()),
        title="learning rate (lr)",
        axis=alt.Axis(labelAngle=0, labelOverlap="greedy"),
        scale=alt.Scale(paddingInner=0.04),
    )
    y = alt.Y("warmup:N", sort=warmups, title="warmup", scale=alt.Scale(paddingInner=0.06))
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("recipe", "lr", "warmup", "status")]
    tooltip += [alt.Tooltip("metric:Q", format=".4~f"), alt.Tooltip("trials:Q")]
    colours = alt.Scale(scheme="blues", domain=[0, 1], clamp=True)
    done = alt.Chart(data([row for row in shown if row["metric"] is not None]))
    lost = alt.Chart(data([{**row, "text": "×" if crowded else _lost(row)} for row in shown if row["metric"] is None]))
    layers = [
        done.mark_rect().encode(x=x, y=y, color=alt.Color("score:Q", scale=colours, legend=None), tooltip=tooltip),
        lost.mark_rect(style="empty", opacity=0.6).encode(x=x, y=y, tooltip=tooltip),
        alt.Chart(data([row for row in shown if row["best"]]))
        .mark_rect(style="ink-line", filled=False, strokeWidth=3)
        .encode(x=x, y=y, tooltip=tooltip),
    ]
    if len(rates) <= _TEXT_CELLS:
        number = ".1%" if percent else ".3~g"
        dark = alt.condition("datum.score > 0.55", alt.value("#ffffff"), alt.value("#10151c"))
        layers.append(
            done.mark_text(fontSize=11).encode(x=x, y=y, text=alt.Text("metric:Q", format=number), color=dark)
        )
        layers.append(lost.mark_text(style="ink", fontSize=11).encode(x=x, y=y, text="text:N"))
    title = alt.TitleParams(name, anchor="start", fontSize=13, limit=330)
    return alt.layer(*layers).properties(
        width=max(150, min(330, 62 * len(rates))), height=max(60, 34 * len(warmups)), title=title
    )


def _lost(row: Row) -> str:
    return "stopped" if row["status"] == "pruned" else str(row["status"])


def _score(row: Row, worst: float, best: float) -> float | None:
    value = row["metric"]
    return None if not isinstance(value, float) else min(1.0, max(0.0, (value - worst) / (best - worst)))
