"""What the search spent: by purpose and by batch size."""

from __future__ import annotations

import altair as alt

from batchlimit.findings import LimitFinding
from batchlimit.reports.figures.figure import Figure, Row, data
from batchlimit.reports.quantities import count, counted, large_count
from batchlimit.reports.verdict import all_sizes

_BAR = "#0a7ac4"


def spent(finding: LimitFinding) -> list[Row]:
    """Return one row for each purpose (in the unit of `cost.by_purpose`) and for each batch size (trials, samples)."""
    rows: list[Row] = [
        {"by": "purpose", "what": purpose, "unit": purpose_unit(finding), "amount": amount}
        for purpose, amount in finding.cost.by_purpose.items()
    ]
    for size in all_sizes(finding):
        rows.append({"by": "batch size", "what": count(size.batch_size), "unit": "samples", "amount": size.samples})
        rows.append({"by": "batch size", "what": count(size.batch_size), "unit": "trials", "amount": size.trials})
    return rows


def purpose_unit(finding: LimitFinding) -> str:
    """Return what `cost.by_purpose` counts: 'samples' where its sum is above the number of trials, else 'trials'."""
    return "samples" if sum(finding.cost.by_purpose.values()) > finding.cost.trials else "trials"


def draw(finding: LimitFinding) -> Figure | None:
    """Return bars of trials by purpose and samples by batch size; None where nothing was spent."""
    rows = spent(finding)
    groups = (("purpose", purpose_unit(finding)), ("batch size", "samples"))
    panels = [
        _panel([row for row in rows if row["by"] == by and row["unit"] == unit], f"{unit} by {by}")
        for by, unit in groups
        if any(row["by"] == by and row["unit"] == unit and row["amount"] for row in rows)
    ]
    if not panels:
        return None
    cost = finding.cost
    return Figure(
        name="cost",
        title="What did the search cost?",
        caption=(
            f"{counted(cost.trials, 'trial')} and {large_count(cost.samples)} training examples processed in all "
            "(samples: training examples, each epoch counted)."
        ),
        rows=tuple(rows),
        panels=tuple(panels),
        columns=2,
    )


def _panel(rows: list[Row], title: str) -> alt.TopLevelMixin:
    shown = [{**row, "label": large_count(int(row["amount"] or 0))} for row in rows]
    largest = max(int(row["amount"] or 0) for row in rows)
    y = alt.Y("what:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False, labelLimit=130))
    # Room on the right for the number at the end of the longest bar.
    x = alt.X("amount:Q", axis=None, scale=alt.Scale(domain=[0, largest * 1.35 or 1]))
    base = alt.Chart(data(shown)).encode(
        x=x, y=y, tooltip=[alt.Tooltip("what:N"), alt.Tooltip("amount:Q", format=",d")]
    )
    bars = base.mark_bar(color=_BAR, height=16)
    numbers = base.mark_text(style="ink", align="left", dx=5).encode(text="label:N")
    return alt.layer(bars, numbers, title=alt.TitleParams(title, anchor="start", fontSize=13)).properties(
        width=190, height=26 * len(rows)
    )
