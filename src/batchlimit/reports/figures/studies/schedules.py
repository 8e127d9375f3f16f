"""The learning rate over training, a small panel for each arm's recipe."""

from __future__ import annotations

from batchlimit.reports.figures import schedule
from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import label_of, short, stem, words_of
from batchlimit.reports.figures.studies.looks import Look
from batchlimit.reports.figures.studies.panels import Axis, Panel, Series, widths
from batchlimit.reports.palette import colour
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.views import FigureSpec

_POINTS = 120
MOST_PANELS = 24


def rates(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each (arm, point): 'epoch', 'step', the learning rate, and its share of the peak.

    The recipe is the one chosen by tuning, or, before that, the one it started from. Arms with one name and the same
    curve are there once.
    """
    rows: list[Row] = []
    seen: set[str] = set()
    for arm in result.select(spec.only):
        name = _name(result, arm, spec)
        if name in seen:
            continue
        seen.add(name)
        rows += _curve(result, arm, name)
    return rows


def _name(result: StudyResult, arm: ArmResult, spec: FigureSpec) -> str:
    label = spec.facet or spec.colour
    return short(label_of(arm, label)) if label else words_of(result.select(spec.only), arm)


def _curve(result: StudyResult, arm: ArmResult, name: str) -> list[Row]:
    recipe, size = arm.chosen or arm.arm.recipe, arm.arm.batch_size
    dataset = result.facts.dataset_size
    total = arm.arm.epochs.steps(batch_size=size, dataset_size=dataset)
    warmup = recipe.warmup.fractional_steps(batch_size=size, dataset_size=dataset, total_steps=total)
    peak = recipe.peak_lr(size)
    points = schedule.factors(recipe.schedule, recipe.schedule_options, total_steps=total, warmup_steps=warmup)
    stride = max(1, -(-len(points) // _POINTS))
    # Between two steps the learning rate is that of the first.
    kept = [*points[::stride], {**points[-1], "step": total}]
    return [
        {
            "arm": name,
            "solver": recipe.solver,
            "step": point["step"],
            "epoch": int(point["step"] or 0) * size / dataset,
            "lr": peak * float(point["factor"] or 0),
            "share": point["factor"],
            "peak": peak,
        }
        for point in kept
    ]


@drawers.register("schedules")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a panel for each recipe (at most `MOST_PANELS`); None where there are no arms."""
    rows = rates(result, spec)
    if not rows:
        return None
    names = list(dict.fromkeys(str(row["arm"]) for row in rows))
    width, height, columns = widths(len(names))
    width, height = (width, 220) if len(names) == 1 else (190, 95)
    panels = []
    for name in names[:MOST_PANELS]:
        mine = [row for row in rows if row["arm"] == name]
        last = float(mine[-1]["epoch"] or 0)
        line = Series(
            "",
            Look(colour(str(mine[0]["solver"]), str(mine[0]["solver"]))),
            [{"x": row["epoch"], "mean": row["share"], "lr": row["lr"]} for row in mine],
        )
        panels.append(
            Panel(
                (line,),
                Axis("epoch", 0.0, last or 1.0, ticks="format(datum.value, ',~g')", grid=False),
                Axis("LR / peak", 0.0, 1.04, values=(0.0, 0.5, 1.0)),
                title=name,
                subtitle=f"peak LR {mine[0]['peak']:.3g}",
                tooltip=(("x", ",~g"), ("lr", ".4~g")),
                names={"x": "epoch", "lr": "learning rate"},
                width=width,
                height=height,
                step="step-after" if len(mine) < _POINTS else "linear",
            ).chart()
        )
    left = len(names) - MOST_PANELS
    caption = f"{spec.caption} The learning rate of each recipe as a share of its peak.".strip()
    if left > 0:
        caption += f" {left} more are in the CSV."
    return Figure(stem(spec.name), spec.title, caption, tuple(rows), tuple(panels), columns)
