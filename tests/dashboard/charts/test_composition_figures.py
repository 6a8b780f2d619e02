"""The composition figure shows what the rows say, and where deployment stands."""

from dataclasses import replace

import pytest

from dashboard.charts.composition import composition_figure
from dashboard.report.figures import report_figures
from tests.support.compositions import composition_rows

OFF = {"top1": 64.3, "ci95": (61.3, 67.2), "top1_delta": -25.8, "delta_ci95": (-28.4, -23.2), "agreement": 66.0, "jaccard_fc2": 0.412}
ROWS = composition_rows(published=OFF)


def test_one_series_an_order_and_a_mark_a_condition() -> None:
    traces = {trace.name: trace for trace in composition_figure(ROWS).data}
    assert list(traces) == [
        "Shuffled, seed 0", "Shuffled, seed 1", "Class order", "Shuffled, seed 0, token sample 1", "Class order, token sample 1"
    ]
    assert sum(len(trace.x) for trace in traces.values()) == len(ROWS)
    sorted_ = traces["Class order"]
    assert list(sorted_.x) == ["1", "8", "64", "256"]
    assert list(sorted_.y) == [90.1, 90.1, 90.1, 64.3]
    assert (sorted_.error_y.array[3], sorted_.error_y.arrayminus[3]) == pytest.approx((2.9, 3.0))
    looks = [(trace.marker.color, trace.marker.symbol) for trace in traces.values()]
    assert len(set(looks)) == len(looks)


def test_deployment_is_marked() -> None:
    figure = composition_figure(ROWS)
    rings = {trace.name: list(trace.marker.line.width) for trace in figure.data}
    assert rings.pop("Shuffled, seed 0") == [3, 0, 0, 0]
    assert not any(width for widths in rings.values() for width in widths)
    assert figure.layout.shapes[0].y0 == 90.1
    assert figure.layout.annotations[0].text == "deployment: single images"


def test_the_verdict_is_on_top() -> None:
    title = composition_figure(ROWS).layout.title.text.replace("<br>", " ")
    assert title.startswith("demo_vit, per_batch: Not safe to deploy as evaluated: in class order with batches of 256 top-1 reads 64.3 %")


def test_hover_tells_agreement_and_overlap() -> None:
    published = next(trace for trace in composition_figure(ROWS).data if trace.name == "Class order").customdata[3]
    assert published[0] == "In class order with batches of 256"
    assert list(published[4:7]) == [-25.8, -28.4, -23.2]
    assert published[8] == "<br>kept channels in common (Jaccard): fc2 0.412"


def test_names_from_a_bundle_are_no_markup() -> None:
    rows = [replace(row, model="<a href='x'>m</a>") for row in ROWS]
    assert composition_figure(rows).layout.title.text.startswith("&lt;a href=&#x27;x&#x27;&gt;m")


@pytest.mark.parametrize("rows", [ROWS[1:], ROWS[:1]], ids=["without deployment", "deployment alone"])
def test_an_unfinished_analysis_is_drawn(rows: list) -> None:
    figure = composition_figure(rows, "plotly_dark")
    assert sum(len(trace.x) for trace in figure.data) == len(rows)
    assert "Not decided yet" in figure.layout.title.text
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_without_rows_the_figure_says_so() -> None:
    assert composition_figure([]).layout.annotations[0].text == "No batch composition measured yet"


def test_a_report_has_one_figure_an_analysis() -> None:
    stored = [row.to_dict() | {"deployed_seed": 0, "key": "k"} for row in ROWS]
    image = [row.to_dict() for row in composition_rows()]
    other = [row | {"selection": "per_image", "schedule": "6" * 64} for row in image]
    assert list(report_figures({"composition": stored})) == ["composition-0"]
    figures = report_figures({"composition": [*stored, *other]})
    assert list(figures) == ["composition-0", "composition-1"]
    assert figures["composition-1"].layout.title.text.startswith("demo_vit, per_image: Safe to deploy")
