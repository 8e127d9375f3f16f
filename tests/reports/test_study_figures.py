"""What the figures of studies say, asserted on their data; and that each becomes a picture."""

from __future__ import annotations

import dataclasses
import itertools
import xml.etree.ElementTree as ET
from typing import Any, get_args

import pytest
import sample_study
from sample_study import FIGURES, arm_result, empty_result, hostile_result, sample_result, unfinished

from batchlimit.errors import InputError
from batchlimit.reports.export import as_svg
from batchlimit.reports.figures.figure import Row
from batchlimit.reports.figures.studies import (
    best_so_far,
    curves,
    distance,
    dots,
    draw,
    drawers,
    end_points,
    heat,
    lines,
    noise_scale,
    ratios,
    scatter,
    schedules,
    target,
    timeline,
)
from batchlimit.reports.figures.studies.looks import looks, looks_of
from batchlimit.reports.figures.studies.measures import Measure, measure, shown_range
from batchlimit.reports.figures.studies.panels import Axis, apart, log_ticks
from batchlimit.reports.palette import colour
from batchlimit.studies.judges import TARGET
from batchlimit.studies.results import StudyResult
from batchlimit.studies.views import FigureKind, FigureSpec

SPECS = {spec.name: spec for spec in FIGURES}


@pytest.fixture(scope="module")
def result() -> StudyResult:
    return sample_result()


def by(rows: list[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_every_kind_has_a_drawer() -> None:
    assert set(drawers.names()) == set(get_args(FigureKind)) == {spec.kind for spec in FIGURES}


@pytest.mark.parametrize("name", SPECS)
def test_every_figure_becomes_a_picture_with_its_question_as_title(result: StudyResult, name: str) -> None:
    figure = draw(result, SPECS[name])
    assert figure is not None
    assert figure.rows
    root = ET.fromstring(as_svg(figure))
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert SPECS[name].title in texts
    assert not {"nan", "NaN", "undefined", "null", "Infinity"} & set(texts)


@pytest.mark.parametrize("name", [name for name in SPECS if name not in ("schedules",)])
def test_without_data_there_is_no_figure(name: str) -> None:
    assert draw(empty_result(), SPECS[name]) is None


@pytest.mark.parametrize("name", SPECS)
def test_hostile_names_are_drawn_as_text(hostile: str, name: str) -> None:
    spec = SPECS[name].model_copy(update={"title": hostile, "caption": hostile, "only": {}})
    result = hostile_result(hostile)
    for one in (spec, spec.model_copy(update={"facet": hostile, "colour": hostile})):
        figure = draw(result, one)
        if figure is not None:
            ET.fromstring(as_svg(figure))


def test_lines_hold_the_estimates_and_what_diverged(result: StudyResult) -> None:
    rows = lines.points(result, SPECS["lines"])
    assert len(rows) == 12
    for row in rows:
        arm = result.select({"solver": row["colour"], "batch size": row["x"]})[0]  # type: ignore[dict-item]
        found = arm.estimate()
        assert (row["mean"], row["low"], row["high"], row["n"]) == (found.mean, found.low, found.high, found.n)
    lost = by(rows, colour="momentum", x=1000)[0]
    assert (lost["mean"], lost["place"], lost["diverged"]) == (None, "diverged", 5)
    assert by(rows, colour="momentum", x=512)[0]["diverged"] == 1
    alone = by(rows, colour="lamb", x=1000)[0]
    assert (alone["n"], alone["low"]) == (1, None)
    assert not by(rows, x=256)


def test_of_several_arms_in_one_place_the_best_is_drawn(result: StudyResult) -> None:
    rows = lines.points(result, FigureSpec(name="a", kind="lines", title="", x="batch size"))
    assert [row["arms"] for row in rows] == [3, 3, 3, 3]
    best = [max(m for a in result.select({"batch size": row["x"]}) if (m := a.estimate().mean)) for row in rows]  # type: ignore[dict-item]
    assert [row["mean"] for row in rows] == best


def test_the_papers_figures_are_drawn_only_where_they_compare(result: StudyResult) -> None:
    assert not [row for row in lines.points(result, SPECS["lines"]) if row["paper"] is not None]
    theirs = dataclasses.replace(result, facts=result.facts.model_copy(update={"workload": "mnist"}))
    rows = lines.points(theirs, SPECS["lines"])
    assert [(row["colour"], row["x"], row["paper"]) for row in rows if row["paper"] is not None] == [
        ("lars", 512, 0.994)
    ]
    smoke = dataclasses.replace(theirs, effort=theirs.effort.model_copy(update={"scale": "smoke"}))
    assert not [row for row in lines.points(smoke, SPECS["lines"]) if row["paper"] is not None]


def test_heat_has_the_best_of_each_map_and_grey_cells(result: StudyResult) -> None:
    rows = heat.maps(result, SPECS["heat"])
    assert len(rows) == 27
    for name in ("momentum", "lars", "lamb"):
        mine = [row for row in rows if str(row["recipe"]).startswith(name)]
        best = [row for row in mine if row["best"]]
        known = [float(row["metric"]) for row in mine if isinstance(row["metric"], float)]
        assert [row["metric"] for row in best] == [max(known)]
        assert [row["warmup"] for row in mine if row["status"] == "diverged"] == ["0%"]
        assert [row["lr"] for row in mine] == sorted(float(row["lr"] or 0) for row in mine)


def test_curves_are_means_over_seeds_and_mark_where_all_diverged() -> None:
    lost = arm_result("momentum", 512)
    lost = dataclasses.replace(lost, final=tuple(one for one in lost.final if one.status != "complete"))
    whole = arm_result("lamb", 512)
    result = sample_result(arms=(lost, whole))
    rows = curves.histories(result, SPECS["loss"])
    at = by(rows, colour="lamb", x=3.0)[0]
    losses = [one.history[2].train_loss for one in whole.final]
    assert at["n"] == 5
    assert at["mean"] == pytest.approx(sum(loss or 0 for loss in losses) / 5)
    assert (at["low"], at["high"]) == (min(losses), max(losses))  # type: ignore[type-var]
    assert [(row["colour"], row["x"]) for row in rows if row["ended"]] == [("momentum", 3.0)]
    by_step = curves.histories(result, SPECS["loss"].model_copy(update={"x": "steps"}))
    assert by(by_step, colour="lamb")[-1]["x"] == float(whole.final[0].steps)


def test_quantities_that_nobody_knows_are_refused(result: StudyResult) -> None:
    with pytest.raises(InputError, match="train loss, train, selection, test"):
        draw(result, SPECS["curves"].model_copy(update={"y": "gradient"}))
    with pytest.raises(InputError, match="noise scale, snr"):
        draw(result, SPECS["snr"].model_copy(update={"y": "gradient2"}))


def test_scatter_has_a_dot_for_each_training_that_completed(result: StudyResult) -> None:
    rows = scatter.dots(result, SPECS["scatter"])
    assert len(rows) == sum(len(arm.complete) for arm in result.arms) == 50
    one = result.arms[0].complete[0]
    dot = by(rows, colour="momentum", seed=one.config.seed)[0]
    assert one.test is not None
    assert (dot["x"], dot["mean"]) == (one.history[-1].train_loss, one.test.metric)


def test_a_dot_off_the_axis_is_named_with_its_value(result: StudyResult) -> None:
    figure = draw(result, SPECS["scatter"])
    assert figure is not None
    rows = scatter.dots(result, SPECS["scatter"])
    axis = Axis("test accuracy", min(float(row["mean"] or 0) for row in rows), 1.0)
    assert scatter._edge_words(rows, SPECS["scatter"], measure(result, "metric"), axis) == ""
    lost = [{**row, "mean": 0.08 + 0.01 * number, "colour": "full"} for number, row in enumerate(rows[:2])]
    said = scatter._edge_words([*rows, *lost], SPECS["scatter"], measure(result, "metric"), axis)
    assert said.startswith(" Triangles: off the axis: full")
    assert said.endswith("(8.00 % to 9.00 %).")


def test_best_so_far_never_falls_and_pools_repeats() -> None:
    first, second = arm_result("lamb", 512, tuner="grid"), arm_result("lars", 512, tuner="grid")
    rows = best_so_far.progress(
        sample_result(arms=(first, second)), FigureSpec(name="a", kind="best-so-far", title="", colour="tuner")
    )
    assert [row["x"] for row in rows] == [float(trial) for trial in range(1, 10)]
    assert {row["n"] for row in rows} == {2}
    means = [float(row["mean"] or 0) for row in rows]
    assert means == sorted(means)
    tops = [max(told.metric or 0 for told in arm.tuning) for arm in (first, second)]
    assert (rows[-1]["low"], rows[-1]["high"]) == (min(tops), max(tops))


def test_distance_fits_the_law_that_made_the_data(result: StudyResult) -> None:
    fits = distance.fits(result, SPECS["distance"])
    assert set(fits) == {(None, 16), (None, 128), (None, 512), (None, 1000)}
    fit = fits[None, 16]
    assert fit.best == "power"
    assert distance.law_words(fit.fit("power")) == "t^0.45"
    figure = draw(result, SPECS["distance"])
    assert figure is not None
    assert {"weight updates t", "distance", "best law", "fitted"} <= set(figure.rows[0])


def test_end_points_are_symmetric_and_one_seed_has_no_distance_to_itself(result: StudyResult) -> None:
    rows = end_points.pairs(result, SPECS["end-points"])
    lamb = {(row["one"], row["other"]): row for row in by(rows, facet="lamb")}
    assert len(lamb) == 16
    for one, other in lamb:
        assert lamb[one, other]["distance"] == pytest.approx(lamb[other, one]["distance"]) or one == other
    assert lamb["batch size 1,000", "batch size 1,000"]["distance"] is None
    assert lamb["batch size 16", "batch size 16"]["pairs"] == 20
    assert lamb["batch size 16", "batch size 128"]["pairs"] == 25


def test_signal_to_noise_is_a_geometric_mean_within_its_interval(result: StudyResult) -> None:
    spec = FigureSpec(name="a", kind="noise-scale", title="", y="snr", x="batch size", colour="solver")
    rows = noise_scale.against_label(result, spec)
    assert [row["x"] for row in by(rows, colour="lars")] == [16, 128, 512]  # the full batch has no noise
    for row in by(rows, colour="lars"):
        assert float(row["low"] or 0) <= float(row["mean"] or 0) <= float(row["high"] or 0)
    along = noise_scale.over_training(result, SPECS["snr"].model_copy(update={"x": "progress"}))
    assert max(float(row["x"] or 0) for row in along) == 1.0


def test_ratios_keep_all_layers_in_the_csv_and_the_bound_in_force(result: StudyResult) -> None:
    rows = ratios.layers(result, SPECS["ratios"])
    assert len({row["colour"] for row in rows}) == 6
    assert ratios.bounds(result, SPECS["ratios"], 128) == [(10.0, "upper bound 10")]
    figure = draw(result, SPECS["ratios"])
    assert figure is not None
    assert len(figure.panels) == 4
    assert {row["layer"] for row in figure.rows} == {row["colour"] for row in rows}


def test_schedules_reach_their_peak_and_end_at_zero(result: StudyResult) -> None:
    rows = schedules.rates(result, SPECS["schedules"])
    names = {row["arm"] for row in rows}
    assert len(names) == 13
    for name in names:
        mine = by(rows, arm=name)
        assert max(float(row["lr"] or 0) for row in mine) <= float(mine[0]["peak"] or 0) * (1 + 1e-9)
        assert mine[-1]["epoch"] == pytest.approx(20.0, abs=0.6)


def test_timeline_sorts_by_date_and_leaves_out_what_has_none(result: StudyResult) -> None:
    rows = timeline.events(result, SPECS["timeline"])
    assert [row["team"] for row in rows] == ["He et al.", "Goyal et al.", "You et al.", "You et al."]
    assert rows[0]["when"] == pytest.approx(2015 + 11 / 12 + 9 / 365.25)
    assert timeline.events(result, SPECS["timeline"].model_copy(update={"y": "nothing"})) == []


def test_csv_columns_bear_the_labels_own_names(result: StudyResult) -> None:
    figure = draw(result, SPECS["lines"])
    assert figure is not None
    assert list(figure.rows[0])[:2] == ["solver", "batch size"]
    assert "facet" not in figure.rows[0]


def test_a_solver_has_one_colour_everywhere_and_variants_differ_otherwise() -> None:
    found = looks(["lars", "lamb", "adam, layer-wise", "adam, bounded", "plain", "warmup"])
    assert found["lars"].tint == colour("lars")
    assert found["adam, layer-wise"].tint == found["adam, bounded"].tint == colour("adam")
    assert found["adam, layer-wise"].dash != found["adam, bounded"].dash
    assert found["plain"].tint != found["warmup"].tint
    sizes = looks([512, 16, 128])
    assert len({look.tint for look in sizes.values()}) == 3


def test_a_label_has_one_colour_in_every_figure_of_a_study(result: StudyResult) -> None:
    every = looks_of(result, SPECS["distance"])
    fewer = looks_of(result, SPECS["distance"].model_copy(update={"only": {"batch size": 512}}))
    assert every[512] == fewer[512]
    by_solver = looks_of(result, SPECS["lines"])
    assert {name: look.tint for name, look in by_solver.items()} == {
        n: colour(str(n)) for n in ("momentum", "lars", "lamb")
    }


def test_labels_are_moved_apart_in_order_and_stay_inside() -> None:
    moved = apart([100.0, 101.0, 102.0, 5.0], 14, 120)
    ordered = sorted(moved)
    assert all(b - a >= 14 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert moved[3] < moved[0] < moved[1] < moved[2] <= 120


def test_one_hopeless_arm_does_not_flatten_the_others() -> None:
    low, high = shown_range([0.981, 0.983, 0.984, 0.985, 0.1], "up")
    assert low > 0.9
    assert high == 0.985
    assert shown_range([0.5], "up")[0] < 0.5 < shown_range([0.5], "up")[1]


def test_accuracies_of_which_the_best_lack_little_are_drawn_by_their_errors() -> None:
    plain = Measure("test accuracy", percent=True, better="up")
    drawn = plain.by_errors([0.99, 0.98, 0.5])
    assert [drawn.place(value) for value in (0.0, 0.9, 0.99)] == pytest.approx([0, 1, 2])
    assert drawn.place(0.99) < drawn.place(1.0) < 5, "a whole 100 % has a place too"
    shown = [1 - 10**-place for place in drawn.labelled(0.0, 2.2)]
    assert sorted(shown) == pytest.approx([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99])
    for values in ([0.99, 0.98], [0.6, 0.1], [1.0, 0.5], []):
        assert plain.by_errors(values) is plain
        assert plain.place(0.99) == 0.99
    assert dataclasses.replace(plain, better="down").by_errors([0.01, 0.5]).least_error is None
    assert dataclasses.replace(plain, percent=False).by_errors([0.99, 0.5]).least_error is None


@pytest.mark.parametrize(("kind", "x"), [("dots", "solver"), ("lines", "batch size")])
def test_a_figure_by_errors_says_so_and_keeps_the_values(
    result: StudyResult, kind: FigureKind, x: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = FigureSpec(name="a", kind=kind, title="?", x=x, colour="solver")
    own = tuple(arm for arm in result.arms if arm.arm.labels["solver"] == "lars")
    monkeypatch.setitem(sample_study._KEPT, ("adam", 128), 0.3)
    before = draw(dataclasses.replace(result, arms=own), spec)
    after = draw(dataclasses.replace(result, arms=(*own, arm_result("adam", 128))), spec)
    assert before is not None
    assert after is not None
    assert "lacking to 100 %" not in before.caption
    assert "Drawn by what is lacking to 100 %, logarithmically." in after.caption
    assert "test accuracy, logarithmic" in as_svg(after)
    (lost,) = [row for row in after.rows if row["solver"] == "adam"]
    assert lost["mean"] == pytest.approx(0.985 * 0.3, abs=0.001)
    assert [row for row in after.rows if row["solver"] == "lars"] == list(before.rows)
    values = [row for panel in after.panels for rows in panel.to_dict()["datasets"].values() for row in rows]
    (tip,) = {row["value"] for row in values if isinstance(row.get("value"), float) and row["value"] < 0.5}
    assert tip == lost["mean"]


def test_logarithmic_ticks_are_few_and_inside() -> None:
    assert log_ticks(0.9, 60) == (1, 2, 5, 10, 20, 50)
    assert len(log_ticks(1e-9, 1e9)) <= 9


def test_arms_that_are_not_finished_are_said(result: StudyResult) -> None:
    figure = draw(result, SPECS["lines"])
    assert figure is not None
    assert "1 arm diverged and 1 arm is not finished." in figure.caption
    whole = sample_result(arms=tuple(arm for arm in result.arms if arm.status == "measured"))
    clean = draw(whole, SPECS["lines"])
    assert clean is not None
    assert "not finished" not in clean.caption


def test_the_metric_may_be_better_when_less(result: StudyResult) -> None:
    facts = result.facts.model_copy(
        update={"metric_direction": "down", "metric_percent": False, "metric_name": "error"}
    )
    down = dataclasses.replace(result, facts=facts)
    rows = heat.maps(down, SPECS["heat"])
    mine: list[Any] = [row["metric"] for row in rows if row["metric"] is not None and "lars" in str(row["recipe"])]
    assert [row["metric"] for row in rows if row["best"] and "lars" in str(row["recipe"])] == [min(mine)]
    assert draw(down, SPECS["dots"]) is not None
    assert unfinished().status == "unfinished"


def kinds(result: StudyResult) -> StudyResult:
    """Three categories: one size, two sizes and another two."""
    sizes = {"none": (0.0,), "weights": (0.001, 0.003), "labels": (0.1, 0.3)}
    arms = [
        arm_result("lars", 128, noise=kind, size=size, group="noise") for kind, own in sizes.items() for size in own
    ]
    return dataclasses.replace(result, arms=(*result.arms, *arms))


NOISE = {"noise": FigureSpec(name="kinds", kind="dots", title="?", x="noise", colour="size", only={"group": "noise"})}


def test_dots_stand_around_the_middle_of_their_category(result: StudyResult) -> None:
    figure = draw(kinds(result), NOISE["noise"])
    assert figure is not None
    made = figure.panels[0].to_dict()
    rows = [row for values in made["datasets"].values() for row in values]
    dots_at = {(row["x"], row["colour"]): row["at"] for row in rows if "shape" in row}
    names_at = {row["text"]: row["at"] for row in rows if set(row) == {"at", "text"}}
    assert len(dots_at) == 5
    assert len(names_at) == 3
    for name, middle in names_at.items():
        mine = [at for (kind, _), at in dots_at.items() if kind == name]
        assert sum(mine) / len(mine) == pytest.approx(middle)
    assert made["height"] < 5 * 26, "a category is as high as it has dots"


def test_the_target_is_a_share_of_the_baseline(result: StudyResult) -> None:
    spec = FigureSpec(name="a", kind="dots", title="?", x="solver", facet="batch size")
    assert target.target(result, spec) is not None
    baseline = next(arm for arm in result.arms if arm.arm.batch_size == result.facts.batch_size)
    own = dataclasses.replace(
        baseline,
        arm=baseline.arm.updated({"recipe": result.facts.baseline, "space": {}, "budget": 0}),
    )
    with_own = dataclasses.replace(result, arms=(own, *result.arms[1:]))
    found = target.target(with_own, spec)
    assert found is not None
    assert found.arm is own
    assert found.value == pytest.approx(TARGET * (own.estimate().mean or 0))
    assert target.target(with_own, spec.model_copy(update={"y": "top-5"})) is None
    elsewhere = tuple(arm for arm in result.arms if arm.arm.batch_size != result.facts.batch_size)
    assert target.target(dataclasses.replace(result, arms=elsewhere), spec) is None
    for kind, x in (("dots", "solver"), ("lines", "batch size")):
        figure = draw(with_own, spec.model_copy(update={"kind": kind, "x": x, "facet": ""}))
        assert figure is not None
        assert "Dashed: the target, 99.5 % of the baseline's" in figure.caption
        assert "target 9" in as_svg(figure)


def test_a_panel_of_the_baseline_alone_is_left_to_the_line(result: StudyResult) -> None:
    baseline = next(arm for arm in result.arms if arm.arm.batch_size == result.facts.batch_size)
    own = dataclasses.replace(
        baseline, arm=baseline.arm.updated({"recipe": result.facts.baseline, "space": {}, "budget": 0})
    )
    others = tuple(arm for arm in result.arms if arm.arm.batch_size != result.facts.batch_size)
    alone = dataclasses.replace(result, arms=(own, *others))
    figure = draw(alone, FigureSpec(name="a", kind="dots", title="?", x="solver", facet="batch size"))
    assert figure is not None
    sizes = {row["batch size"] for row in figure.rows}
    assert result.facts.batch_size in sizes, "the CSV has it"
    assert len(figure.panels) == len(sizes) - 1


def test_a_point_at_0_is_a_line_across_a_logarithmic_axis(result: StudyResult) -> None:
    figure = draw(kinds(result), FigureSpec(name="a", kind="lines", title="?", x="size", colour="noise"))
    assert figure is not None
    assert "Dashed: none, " in figure.caption
    assert "size, logarithmic" in as_svg(figure)
    assert any(row["size"] == 0 for row in figure.rows)


def test_only_what_is_there_is_explained() -> None:
    rows: list[Row] = [{"mean": 0.9}, {"mean": 0.2}, {"mean": None}]
    assert lines.edge_words(0.8, 1.0, rows[:1]) == ""
    assert lines.edge_words(0.8, 1.0, rows[:2]) == " Triangles: off the axis, with their value."
    assert lines.edge_words(0.8, 1.0, rows) == (
        " Crosses: every seed diverged; triangles: off the axis, with their value."
    )
    assert lines.edge_words(0.8, 1.0, [{"mean": 0.9, "low": 0.85, "high": 1.0}]) == ""
    assert lines.edge_words(0.8, 1.0, [{"mean": 0.9, "low": 0.7, "high": 1.0}]) == (
        " Intervals that end at the frame go on beyond it."
    )


def test_a_long_name_is_broken_at_a_space_near_its_middle() -> None:
    assert dots.wrapped("short", 26) == "short"
    assert dots.wrapped("0: momentum, LR scaling, cosine, clipping", 26) == "0: momentum, LR scaling,\ncosine, clipping"
    assert dots.wrapped("x" * 50, 26).endswith("…")


def test_a_line_that_runs_away_leaves_the_panel_and_is_named(result: StudyResult) -> None:
    spec = FigureSpec(name="a", kind="distance", title="?", colour="batch size")
    rows: list[Row] = [
        {"facet": None, "colour": size, "x": 1.0, "mean": mean, "low": mean, "high": mean}
        for size, mean in ((16, 10.0), (32, 12.0), (64, 11.0), (128, 4544.0))
    ]
    assert curves._without_runaways(rows[:3], spec, 12.0) == (12.0, "")
    top, words = curves._without_runaways(rows, spec, 4544.0)
    assert 12.0 < top < 20.0
    assert words == " Off the axis: batch size 128 (up to 4,540)."
