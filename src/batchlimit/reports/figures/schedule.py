"""The shape of a learning-rate schedule: its factor on the peak learning rate, step by step."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt

from batchlimit.config import Scalar
from batchlimit.reports.figures.figure import EXPORT_WIDTH, Figure, Row, data
from batchlimit.reports.palette import colour
from batchlimit.reports.quantities import count, counted
from batchlimit.schedules.build import make_schedule, spaced_steps

_HEIGHT = 260


def factors(name: str, options: Mapping[str, Scalar], *, total_steps: int, warmup_steps: float) -> list[Row]:
    """Return one row a weight update: 'step' (0-based) and 'factor' on the peak learning rate.

    Of a long training some steps, evenly spaced, as `spaced_steps` picks them.

    Raises:
        InputError: an unknown schedule, or an option, a length or a warmup that it does not take.
    """
    factor = make_schedule(name, options, total_steps=total_steps, warmup_steps=warmup_steps)
    return [{"step": step, "factor": factor(step)} for step in spaced_steps(total_steps)]


def draw(
    name: str,
    options: Mapping[str, Scalar],
    *,
    total_steps: int,
    warmup_steps: float,
    title: str = "",
    stem: str = "schedule",
) -> Figure:
    """Return the schedule's curve as a figure; `title` is what stands above it, `stem` names its files.

    Raises:
        InputError: as `factors`.
    """
    rows = factors(name, options, total_steps=total_steps, warmup_steps=warmup_steps)
    x = alt.X("step:Q", title="step (weight update)", axis=alt.Axis(grid=False, format=",d", tickMinStep=1))
    y = alt.Y(
        "factor:Q",
        title="learning rate / peak",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(tickCount=5, format=".1~f"),
    )
    tooltip = [alt.Tooltip("step:Q", format=",d"), alt.Tooltip("factor:Q", format=".4~f")]
    # Between two steps the learning rate is that of the first: visible where there are few of them.
    drawn = [*rows, {**rows[-1], "step": total_steps}]
    line = alt.Chart(data(drawn)).mark_line(color=colour("lamb"), strokeWidth=2, interpolate="step-after")
    layers: list[alt.Chart] = [line.encode(x=x, y=y, tooltip=tooltip)]
    if 0 < warmup_steps < total_steps:
        mark = alt.Chart(data([{"step": warmup_steps, "text": "warmup ends"}]))
        layers.append(mark.mark_rule(style="muted-line", strokeDash=[5, 4]).encode(x=x))
        words = mark.mark_text(style="muted", align="left", dx=5, fontSize=12)
        layers.append(words.encode(x=x, y=alt.value(_HEIGHT - 10), text="text:N"))
    spaced = f" {count(len(rows))} of the steps are drawn." if len(rows) < total_steps else ""
    steps = counted(total_steps, "step")
    given = "".join(f", {option} = {value}" for option, value in options.items())
    return Figure(
        name=stem,
        title=title or name,
        caption=f"The schedule '{name}'{given} over {steps}, {warmup_steps:g} of warmup.{spaced}",
        rows=tuple(rows),
        panels=(alt.layer(*layers).properties(width=EXPORT_WIDTH - 80, height=_HEIGHT),),
    )
