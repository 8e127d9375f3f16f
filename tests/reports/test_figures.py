"""What the figures say, asserted on their data; and that each becomes a picture."""

from __future__ import annotations

import csv
import io
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from sample_finding import N, digits_finding, hostile_finding, loss_finding, problem_finding, records_of

from batchlimit.findings import BatchSizeFinding, Boundary, Cost, Estimate, TunedPoint
from batchlimit.reports.export import export, table_text
from batchlimit.reports.figures import cost, heat_maps, learning_curves, regime_map, regimes
from batchlimit.reports.figures.figure import Figure


def by(rows: list[regimes.Row], **wanted: object) -> list[regimes.Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_regime_map_has_a_point_for_everything_measured_and_the_estimates_unchanged() -> None:
    finding = digits_finding()
    rows = regimes.points(finding)
    linear = by(rows, series="linear scaling")
    assert [row["batch_size"] for row in linear] == [32, 64, 128, 256, 512, 1000]
    for row, size in zip(linear, finding.by_batch_size, strict=True):
        assert size.linear is not None
        assert (row["metric"], row["low"], row["high"]) == (
            size.linear.metric.mean,
            size.linear.metric.low,
            size.linear.metric.high,
        )
    best = by(rows, series="best recipe")
    assert [row["recipe"] for row in best] == ["linear scaling", "linear scaling", "lars", "lars", "lamb", "lamb"]
    assert by(rows, series="baseline")[0]["batch_size"] == 16


def test_points_that_diverged_or_lie_far_off_are_drawn_at_the_losing_edge() -> None:
    finding = digits_finding()
    rows = regimes.points(finding)
    box = regimes.frame(finding, rows)
    drawn = {(row["batch_size"], row["series"]): row for row in regimes.drawn_points(finding, rows, box)}
    assert drawn[1000, "linear scaling"]["place"] == "diverged"
    assert drawn[512, "linear scaling"]["place"] == "beyond"
    assert "2 of 5\ndiverged" in str(drawn[512, "linear scaling"]["note"])
    assert drawn[1000, "linear scaling"]["y"] == drawn[512, "linear scaling"]["y"] == box.worst
    assert box.bottom < box.worst < box.bottom + 0.1 * (box.top - box.bottom)
    assert drawn[128, "linear scaling"]["note"] == "undecided"
    assert drawn[1000, "best recipe"]["place"] == "measured"


def test_with_less_is_better_the_losing_edge_is_the_top() -> None:
    finding = loss_finding()
    rows = regimes.points(finding)
    box = regimes.frame(finding, rows)
    drawn = regimes.drawn_points(finding, rows, box)
    assert box.top > box.worst > box.top - 0.1 * (box.top - box.bottom)
    assert by(drawn, batch_size=442, series="linear scaling")[0]["place"] == "beyond"
    assert all(row["place"] == "measured" for row in by(drawn, series="best recipe"))


def test_the_half_per_cent_that_decides_is_visible() -> None:
    finding = digits_finding()
    box = regimes.frame(finding, regimes.points(finding))
    assert finding.baseline is not None
    assert finding.baseline.metric.mean is not None
    assert finding.baseline.target_metric is not None
    allowed = finding.baseline.metric.mean - finding.baseline.target_metric
    assert allowed / (box.top - box.bottom) > 0.03


def test_regimes_are_shaded_only_where_they_are_known() -> None:
    finding = digits_finding()
    box = regimes.frame(finding, regimes.points(finding))
    shaded = regimes.bands(finding, box)
    assert [(row["regime"], row["start"], row["end"]) for row in shaded] == [
        ("small", box.left, 64.0),
        ("large", 256.0, 512.0),
        ("huge", 1000.0, box.right),
    ]
    assert [(row["start"], row["end"]) for row in regimes.gaps(shaded)] == [(64.0, 256.0), (512.0, 1000.0)]
    split = regimes.gaps(shaded, 128)
    assert [(row["regime"], row["end"]) for row in split] == [("small or large", 128.0), ("?", 256.0), ("?", 1000.0)]


def test_a_limit_at_the_full_batch_is_shaded_to_the_end() -> None:
    finding = loss_finding()
    box = regimes.frame(finding, regimes.points(finding))
    assert [row["regime"] for row in regimes.bands(finding, box)] == ["small", "large"]
    assert regimes.bands(finding, box)[-1]["end"] == box.right


def test_without_any_boundary_nothing_is_shaded() -> None:
    finding = digits_finding(small_up_to=Boundary(), large_up_to=Boundary())
    box = regimes.frame(finding, regimes.points(finding))
    assert regimes.bands(finding, box) == []
    assert regime_map.draw(finding).panel_specs


def test_labels_name_each_series_once_and_a_recipe_where_it_changes() -> None:
    finding = digits_finding()
    rows = regimes.points(finding)
    drawn = regimes.drawn_points(finding, rows, regimes.frame(finding, rows))
    texts = [label.text for label in regimes.labels(finding, drawn)]
    assert texts.count("linear scaling") == 1
    assert [text for text in texts if "lars" in text or "lamb" in text] == ["best: lars", "lamb"]
    assert "undecided" in texts


def test_no_regime_label_sits_below_the_axis_range() -> None:
    for finding in (digits_finding(), loss_finding()):
        rows = regimes.points(finding)
        box = regimes.frame(finding, rows)
        for label in regimes.labels(finding, regimes.drawn_points(finding, rows, box)):
            assert box.bottom <= label.y <= box.top
            assert box.left <= label.batch_size <= box.right


def test_a_best_recipe_far_off_the_axis_keeps_its_note_inside_the_map() -> None:
    finding = digits_finding()
    full = finding.by_batch_size[-1]
    assert full.best is not None
    low = full.best.model_copy(update={"name": "lion", "metric": Estimate(mean=0.53, low=0.3, high=0.7, n=4)})
    finding = finding.model_copy(update={"full": full.model_copy(update={"best": low})})
    rows = regimes.points(finding)
    drawn = regimes.drawn_points(finding, rows, regimes.frame(finding, rows))
    assert by(drawn, batch_size=N, series="best recipe")[0]["place"] == "beyond"
    found = {label.text: label.dy for label in regimes.labels(finding, drawn)}
    assert (found["53.0 %"], found["lion"]) == (-14, -32), "the recipe is named above its note"


def test_heat_map_cells_keep_the_best_of_equals_and_mark_one_best() -> None:
    def point(lr: float, warmup: str, metric: float | None) -> TunedPoint:
        status = "complete" if metric is not None else "diverged"
        return TunedPoint(name="lars", batch_size=64, lr=lr, warmup=warmup, metric=metric, status=status)

    finding = digits_finding(
        tuned_points=(
            point(0.1, "0 epochs", 0.91),
            point(0.1, "0 epochs", 0.93),
            point(1.0, "10 epochs", None),
            point(1.0, "2 epochs", 0.97),
            point(0.3, "2 epochs", 0.95),
        )
    )
    rows = heat_maps.cells(finding)
    assert [(row["lr"], row["warmup"], row["metric"], row["trials"], row["best"]) for row in rows] == [
        (0.1, "0 epochs", 0.93, 2, False),
        (0.3, "2 epochs", 0.95, 1, False),
        (1.0, "2 epochs", 0.97, 1, True),
        (1.0, "10 epochs", None, 1, False),
    ]
    assert rows[-1]["status"] == "diverged"


def test_heat_maps_of_a_loss_mark_the_least() -> None:
    points = tuple(
        TunedPoint(name="adamw", batch_size=64, lr=lr, warmup="0 epochs", metric=metric, status="complete")
        for lr, metric in ((0.1, 0.5), (0.2, 0.3), (0.4, 0.9))
    )
    finding = digits_finding(metric_direction="down", metric_name="loss", tuned_points=points)
    assert [row["metric"] for row in heat_maps.cells(finding) if row["best"]] == [0.3]


def test_only_the_best_recipes_maps_on_request() -> None:
    rows = heat_maps.cells(digits_finding(), only_best=True)
    assert {(row["batch_size"], row["recipe"]) for row in rows} == {
        (128, "lars"),
        (256, "lars"),
        (512, "lamb"),
        (1000, "lamb"),
    }
    assert heat_maps.draw(loss_finding()) is None


def test_learning_curves_are_means_over_the_seeds_of_the_very_recipe() -> None:
    finding = digits_finding()
    records = records_of(finding)
    rows = learning_curves.curves(finding, records)
    baseline = by(rows, recipe="baseline")
    assert [row["epoch"] for row in baseline] == [float(epoch) for epoch in range(1, 21)]
    members = [record for record in records if record.config.batch_size == 16]
    values = [record.history[4].selection.metric for record in members if record.history[4].selection is not None]
    numbers = [value for value in values if value is not None]
    assert baseline[4]["metric"] == pytest.approx(sum(numbers) / 5)
    assert (baseline[4]["least"], baseline[4]["greatest"]) == (min(numbers), max(numbers))
    assert {row["recipe"] for row in by(rows, batch_size=512)} == {"lamb"}
    assert not any(row["ended"] for row in rows)


def test_a_series_that_no_seed_completed_ends_in_a_cross() -> None:
    finding = digits_finding()
    sizes = tuple(size.model_copy(update={"best": None}) for size in finding.by_batch_size)
    finding = finding.model_copy(update={"by_batch_size": sizes, "full": sizes[-1]})
    rows = learning_curves.curves(finding, records_of(finding))
    assert [row["epoch"] for row in rows if row["ended"]] == [3.0]
    assert by(rows, ended=True)[0]["batch_size"] == N


def test_records_of_another_workload_or_recipe_are_not_drawn() -> None:
    finding = digits_finding()
    other = records_of(digits_finding(workload="mnist"))
    assert learning_curves.curves(finding, other) == []
    assert learning_curves.draw(finding, other) is None


def test_cost_rows_have_their_unit() -> None:
    finding = digits_finding()
    rows = cost.spent(finding)
    assert [(row["what"], row["amount"]) for row in by(rows, by="purpose", unit="trials")] == [
        ("baseline", 5),
        ("linear scaling", 45),
        ("tuning", 64),
        ("confirmation", 50),
    ]
    assert [row["what"] for row in by(rows, by="batch size", unit="samples")][-1] == "1,000"
    counted = digits_finding(cost=Cost(trials=3, samples=3000, by_purpose={"tuning": 3000}))
    assert cost.purpose_unit(counted) == "samples"
    assert cost.draw(digits_finding(cost=Cost(), by_batch_size=(), full=None)) is None


def _figures() -> list[Figure]:
    finding = digits_finding()
    drawn = [
        regime_map.draw(finding),
        regime_map.draw(loss_finding()),
        heat_maps.draw(finding),
        learning_curves.draw(finding, records_of(finding)),
        cost.draw(problem_finding()),
    ]
    assert None not in drawn
    return [figure for figure in drawn if figure is not None]


def test_every_figure_becomes_svg_png_pdf_and_csv(tmp_path: Path) -> None:
    for figure in _figures():
        svg = export(figure, tmp_path)
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg")
        assert figure.title in "".join(root.itertext())
        png = (tmp_path / f"{figure.name}.png").read_bytes()
        width, height = struct.unpack(">II", png[16:24])
        assert png.startswith(b"\x89PNG")
        assert width >= 400
        assert height >= 150
        assert (tmp_path / f"{figure.name}.pdf").read_bytes().startswith(b"%PDF")
        rows = list(csv.DictReader((tmp_path / f"{figure.name}.csv").open(encoding="utf-8", newline="")))
        assert len(rows) == len(figure.rows)
    assert not list(tmp_path.glob(".*"))


def test_hostile_text_in_a_picture_stays_text(hostile: str, tmp_path: Path) -> None:
    svg = export(regime_map.draw(hostile_finding(hostile)), tmp_path)
    tags = {element.tag.split("}")[-1] for element in ET.fromstring(svg).iter()}
    assert tags <= {"svg", "g", "path", "text", "rect", "line", "defs", "clipPath", "tspan", "title", "style", "symbol"}
    assert "onerror=" not in "".join(name for element in ET.fromstring(svg).iter() for name in element.attrib)


def test_a_formula_in_a_name_is_inert_in_the_csv() -> None:
    formulas = ("=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "a\r=1")
    finding = digits_finding(cost=Cost(trials=2, by_purpose=dict.fromkeys((*formulas, "tuning, too"), 1)))
    figure = cost.draw(finding)
    assert figure is not None
    rows = list(csv.DictReader(io.StringIO(table_text(figure), newline="")))
    inert = ["'=1+1", "'+1", "'-1", "'@A1", "'\t=1", "' =1", "a =1"]
    assert [row["what"] for row in rows[:8]] == [*inert, "tuning, too"]


def test_a_finding_with_hardly_anything_can_be_drawn() -> None:
    bare = BatchSizeFinding(batch_size=64)
    finding = digits_finding(baseline=None, by_batch_size=(bare,), full=None, tuned_points=(), cost=Cost())
    assert regime_map.draw(finding).export_spec()
