"""Maps of tuning: the selection metric over learning rate and warmup."""

from __future__ import annotations

from batchlimit.config import Scalar
from batchlimit.reports.figures import heat_maps
from batchlimit.reports.figures.figure import Figure, Row
from batchlimit.reports.figures.studies import drawers
from batchlimit.reports.figures.studies.cells import missing, said, stem, words_of
from batchlimit.studies.results import ArmResult, StudyResult, Told
from batchlimit.studies.views import FigureSpec


def maps(result: StudyResult, spec: FigureSpec) -> list[Row]:
    """Return one row for each (arm, LR, warmup): the best selection metric there; `best` marks the best of its arm."""
    better = max if result.facts.metric_direction == "up" else min
    rows: list[Row] = []
    for arm in result.select(spec.only):
        grouped: dict[tuple[float, str], list[Told]] = {}
        for told in arm.tuning:
            lr = float(told.fields.get("lr", told.record.config.recipe.lr))
            warmup = str(told.fields.get("warmup", told.record.config.recipe.warmup))
            grouped.setdefault((float(f"{lr:.4g}"), warmup), []).append(told)
        mine: list[Row] = []
        for (lr, warmup), members in grouped.items():
            values = [told.metric for told in members if told.metric is not None]
            mine.append(
                {
                    "recipe": _name(result, arm, spec),
                    "lr": lr,
                    "warmup": warmup,
                    "metric": better(values) if values else None,
                    "status": "complete" if values else members[0].record.status,
                    "trials": len(members),
                }
            )
        known = [row["metric"] for row in mine if isinstance(row["metric"], float)]
        rows += [{**row, "best": bool(known) and row["metric"] == better(known)} for row in mine]
    return sorted(rows, key=lambda row: (_order(rows, row), row["lr"], heat_maps.length(str(row["warmup"]))))


def _order(rows: list[Row], row: Row) -> int:
    return next(place for place, other in enumerate(rows) if other["recipe"] == row["recipe"])


def _name(result: StudyResult, arm: ArmResult, spec: FigureSpec) -> str:
    facet: Scalar | None = arm.labels.get(spec.facet)
    rest = words_of(result.select(spec.only), arm, (spec.facet,) if spec.facet else ())
    return " · ".join(text for text in (said(spec.facet, facet), rest) if text)


@drawers.register("heat")
def draw(result: StudyResult, spec: FigureSpec) -> Figure | None:
    """Return a map for each arm that was tuned, on one scale of colours; None where no tuning trial was made."""
    rows = maps(result, spec)
    if not rows:
        return None
    names = list(dict.fromkeys(str(row["recipe"]) for row in rows))
    values = [float(row["metric"]) for row in rows if isinstance(row["metric"], float)]
    domain = _domain(values, up=result.facts.metric_direction == "up")
    percent = result.facts.metric_percent
    panels = tuple(
        heat_maps.panel([row for row in rows if row["recipe"] == name], name, domain, percent=percent) for name in names
    )
    caption = (
        f"{spec.caption} {result.facts.metric_name.capitalize()} on the selection split, a map for each arm that was "
        "tuned; darker is better, on one scale for all. Framed: the best of its map. Grey: diverged or stopped early "
        f"(× where there is no room for the word).{missing(result.select(spec.only))}"
    ).strip()
    return Figure(stem(spec.name), spec.title, caption, tuple(rows), panels, 2 if len(panels) <= 4 else 3)


def _domain(values: list[float], *, up: bool) -> tuple[float, float]:
    """Return the worst and best metric of the colours: the worse half's tail has one colour."""
    if not values:
        return (0.0, 1.0)
    ordered = sorted(values, reverse=up)
    best, middle, worst = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    if abs(worst - best) > 4 * abs(middle - best) > 0:
        worst = best + 4 * (middle - best)
    return (worst, best) if worst != best else (best - (1 if up else -1) * (0.01 * abs(best) + 1e-9), best)
