"""The histogram of trust ratios: what a bar counts, what a bound holds, and what is left out."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from sample_study import FIGURES, arm_result, empty_result, sample_result

from batchlimit.reports.export import as_svg
from batchlimit.reports.figures.figure import Row
from batchlimit.reports.figures.studies import draw, ratio_histogram
from batchlimit.studies.results import ArmResult, StudyResult
from batchlimit.studies.views import FigureSpec

SAMPLE = next(spec for spec in FIGURES if spec.kind == "ratio-histogram")
SPEC = FigureSpec(name="a", kind="ratio-histogram", title="Which?", facet="solver")
Ratios = dict[str, list[float | None]]


def measured(layers: Ratios, *, solver: str = "lars", seeds: int = 1, **changes: Any) -> ArmResult:
    """An arm of which each seed recorded these ratios, unbounded unless `changes` say otherwise."""
    arm = arm_result(solver, 512, seeds=seeds)
    updates = list(range(1, 1 + max(map(len, layers.values()), default=0)))
    one = {"updates": updates, "layers": layers, "applied": True, "lower": 0.0, "upper": None, **changes}
    final = tuple(record.model_copy(update={"measurements": {"trust-ratios": one}}) for record in arm.final)
    return dataclasses.replace(arm, final=final)


def of(*arms: ArmResult) -> StudyResult:
    return sample_result(arms=arms)


def bars(rows: list[Row]) -> dict[float, int]:
    """What each bin holds, by its low end to three digits."""
    return {float(f"{row['low']:.3g}"): int(row["ratios"] or 0) for row in rows if not row["held"]}


def caption(result: StudyResult, spec: FigureSpec = SPEC) -> str:
    figure = draw(result, spec)
    assert figure is not None
    return figure.caption


def test_a_bar_counts_layers_times_updates_times_seeds() -> None:
    result = of(measured({"one": [0.02, 0.2, 0.5], "two": [0.02, 0.02, 0.02]}, seeds=3))
    rows = ratio_histogram.bins(result, SPEC)
    assert bars(rows) == {0.01: 12, 0.1: 3, 0.316: 3}
    assert {row["n"] for row in rows} == {18}
    assert sum(float(row["share"] or 0) for row in rows) == pytest.approx(1.0)
    assert "n = 18 ratios: 2 layers × 3 recorded updates × 3 seeds; no bound" in as_svg(draw(result, SPEC))


@pytest.mark.parametrize("power", range(-6, 5))
def test_a_bin_has_its_low_end_but_not_its_high_one(power: int) -> None:
    edge = float(f"1e{power}")
    rows = ratio_histogram.bins(of(measured({"one": [edge, 0.999999 * edge, 3.16 * edge, 3.17 * edge]})), SPEC)
    assert list(bars(rows).values()) == [1, 2, 1]
    assert all(float(row["high"] or 0) / float(row["low"] or 1) == pytest.approx(10**0.5) for row in rows)
    assert rows[1]["low"] == pytest.approx(edge)


def test_bins_are_powers_of_ten_where_halves_would_be_too_many() -> None:
    result = of(measured({"one": [1e-7, 0.02, 0.5, 2000.0]}), measured({"one": [0.04]}, solver="lamb"))
    rows = ratio_histogram.bins(result, SPEC)
    assert len({round(float(row["high"] or 0) / float(row["low"] or 1)) for row in rows}) == 1, (
        "one width in all panels"
    )
    assert bars([row for row in rows if row["facet"] == "lars"]) == {1e-7: 1, 0.01: 1, 0.1: 1, 1000.0: 1}
    assert "A bar is a power of ten wide." in caption(result)
    assert "A bar is half a power of ten wide." in caption(of(measured({"one": [0.1]})))


def test_what_a_bound_holds_is_in_no_bin() -> None:
    bounded = measured({"one": [0.5, 9.99, 10.0], "two": [0.01, 10.0, 10.0]}, lower=0.01, upper=10.0)
    rows = ratio_histogram.bins(of(bounded), SPEC)
    assert bars(rows) == {0.316: 1, 3.16: 1}
    held = {row["held"]: (row["low"], row["high"], row["ratios"]) for row in rows if row["held"]}
    assert held == {"lower bound 0.01": (0.01, 0.01, 1), "upper bound 10": (10.0, 10.0, 3)}
    drawn = as_svg(draw(of(bounded), SPEC))
    assert "upper bound 10 holds 50 %" in drawn
    assert "lower bound 0.01 holds 16.7 %" in drawn
    assert "no bound" not in drawn
    assert "Dashed: a bound" in caption(of(bounded))


def test_a_bound_that_holds_nothing_is_drawn_and_said() -> None:
    result = of(measured({"one": [0.5, 0.7]}, upper=1000.0))
    assert [row["ratios"] for row in ratio_histogram.bins(result, SPEC)] == [2, 0]
    assert "upper bound 1000 holds none" in as_svg(draw(result, SPEC))


def test_ratios_of_which_all_are_held_are_a_figure() -> None:
    result = of(measured({"one": [10.0, 10.0]}, upper=10.0))
    assert [row["share"] for row in ratio_histogram.bins(result, SPEC)] == [1.0]
    assert "upper bound 10 holds 100 %" in as_svg(draw(result, SPEC))


def test_a_bound_that_was_not_in_force_holds_nothing() -> None:
    rows = ratio_histogram.bins(of(measured({"one": [10.0]}, upper=10.0, applied=False)), SPEC)
    assert bars(rows) == {10.0: 1}
    assert not any(row["held"] for row in rows)
    assert "not applied, but what" in caption(of(measured({"one": [10.0]}, upper=10.0, applied=False)))


def test_a_ratio_of_six_digits_is_at_a_bound_of_more() -> None:
    rows = ratio_histogram.bins(of(measured({"one": [0.333333, 0.3]}, upper=1 / 3)), SPEC)
    assert [row["ratios"] for row in rows if row["held"]] == [1]


def test_what_has_no_place_on_the_axis_is_left_out_and_said() -> None:
    result = of(measured({"one": [None, 0.0, 0.5], "two": [1.0, 0.2, 0.2], "never": [None, None, None]}))
    rows = ratio_histogram.bins(result, SPEC)
    assert {row["n"] for row in rows} == {4}
    assert "n = 4 ratios: 2 layers, 3 recorded updates, 1 seed" in as_svg(draw(result, SPEC))
    assert "Not counted: 5 that were 0, not finite, or of a layer without a gradient." in caption(result)
    assert "Exactly 1, which stands in where a norm is 0: 1 of lars." in caption(result)
    assert "Exactly 1" not in caption(of(measured({"one": [0.5]})))
    assert "Not counted" not in caption(of(measured({"one": [0.5]})))


@pytest.mark.parametrize("layers", [{}, {"one": []}, {"one": [None]}, {"one": [0.0]}])
def test_without_a_ratio_there_is_no_figure(layers: Ratios) -> None:
    assert draw(of(measured(layers)), SPEC) is None
    other = measured({"one": [0.5]}, solver="lamb")
    rows = ratio_histogram.bins(of(measured(layers), other), SPEC)
    assert {row["facet"] for row in rows} == {"lamb"}, "nor a panel"


def test_where_no_training_had_the_probe_there_is_no_figure() -> None:
    arm = arm_result("lars", 512)
    without = tuple(record.model_copy(update={"measurements": {}}) for record in arm.final)
    assert draw(of(dataclasses.replace(arm, final=without)), SPEC) is None
    assert draw(empty_result(), SAMPLE) is None


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_panels_stand_above_each_other_on_one_axis(count: int) -> None:
    names = ("lars", "lamb", "momentum", "adam")[:count]
    result = of(*(measured({"one": [0.01 * 4**place, 3.0]}, solver=name) for place, name in enumerate(names)))
    figure = draw(result, SPEC)
    assert figure is not None
    (panel,) = figure.panel_specs
    assert [one["title"]["text"] for one in panel["vconcat"]] == list(names)
    axes = [one["layer"][0]["encoding"] for one in panel["vconcat"]]
    assert len({json.dumps([axis["x"]["scale"], axis["y"]["scale"]]) for axis in axes}) == 1
    assert [axis["x"]["axis"].get("labels", True) for axis in axes] == [False] * (count - 1) + [True]


def test_arms_of_one_panel_are_counted_together() -> None:
    arms = [measured({"one": [0.02]}, seeds=2), measured({"one": [0.03]}, solver="lamb", seeds=2)]
    result = of(*arms)
    (row,) = ratio_histogram.bins(result, SPEC.model_copy(update={"facet": ""}))
    assert (row["facet"], row["ratios"], row["n"]) == (None, 4, 4)
    assert "1 layer × 1 recorded update × 4 trainings" in as_svg(draw(result, SPEC.model_copy(update={"facet": ""})))


def test_the_csv_names_what_it_has() -> None:
    figure = draw(of(measured({"one": [0.02, 10.0]}, upper=10.0)), SPEC)
    assert figure is not None
    assert [list(row.values()) for row in figure.rows] == [
        ["lars", pytest.approx(0.01), pytest.approx(10**-1.5), "", 1, 0.5, 2],
        ["lars", 10.0, 10.0, "upper bound 10", 1, 0.5, 2],
    ]
    assert list(figure.rows[0]) == ["solver", "from", "to", "bound", "ratios", "share", "n"]
