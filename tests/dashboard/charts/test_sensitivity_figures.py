"""Sensitivity figures show what the rows say, and noise as noise."""

import pytest

from dashboard.charts.sensitivity import metrics_of, sensitivity_curves, sensitivity_heatmap
from tests.support.chart_rows import SENSITIVITY, sensitivity_row

MINUS = "\N{MINUS SIGN}"


def test_one_curve_a_block_with_its_band() -> None:
    band, curve, _, second = sensitivity_curves(SENSITIVITY, "fc2").data
    assert curve.name == "0"
    assert list(curve.x) == [0.1, 0.5, 0.9]
    assert list(curve.y) == [-0.3, -12.34, -60.0]
    assert list(band.x) == [0.1, 0.5, 0.9, 0.9, 0.5, 0.1]
    assert list(band.y) == pytest.approx([-1.3, -14.34, -61, -59, -10.34, 0.7])
    assert band.legendgroup == curve.legendgroup != second.legendgroup
    assert list(second.x) == [0.1, 0.9]  # what is missing is skipped


def test_curves_of_many_blocks_stay_apart() -> None:
    figure = sensitivity_curves([sensitivity_row(block, ratio, -block) for block in range(32) for ratio in (0.1, 0.9)], "fc2")
    looks = [(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in figure.data if trace.name]
    assert len(looks) == len(set(looks)) == 32


def test_the_heat_map_leaves_missing_cells_blank_and_marks_noise() -> None:
    heat, cells, note = sensitivity_heatmap(SENSITIVITY, "fc2").data
    assert list(heat.x) == ["10%", "50%", "90%"]
    assert list(heat.y) == ["0", "1"]
    assert [list(line) for line in heat.z] == [[0.0, -12.34, -60.0], [0.62, None, -30.0]]  # noise has the colour of no change
    assert [list(line) for line in heat.text] == [["≈", f"{MINUS}12", f"{MINUS}60"], ["+0.6", "", f"{MINUS}30"]]
    assert "cannot tell apart" in note.name
    assert [list(data[:2]) for data in cells.customdata] == [[0, 0.1], [0, 0.5], [0, 0.9], [1, 0.1], [1, 0.9]]
    assert ["cannot tell apart" in data[2] for data in cells.customdata] == [True, False, False, False, False]
    words = "Block 0, 50% dropped<br>Top-1 difference -12.3 points, 95 % interval -14.3 to -10.3<br>500 images"
    assert cells.customdata[1][2] == words.replace(" -", f" {MINUS}")
    assert cells.marker.symbol == "square"
    assert cells.hoverinfo != "skip"


def test_no_change_has_one_colour_whatever_the_range() -> None:
    for rows in (SENSITIVITY, [sensitivity_row(0, 0.1, -1.0, 0.1)], [sensitivity_row(0, 0.1, 3.0)], [sensitivity_row(0, 0.1, 0.0)]):
        heat = sensitivity_heatmap(rows, "fc2").data[0]
        zero = -heat.zmin / (heat.zmax - heat.zmin)
        assert [colour for place, colour in heat.colorscale if place == pytest.approx(zero)] == ["#F2F2F2"]
        assert [place for place, _ in heat.colorscale] == sorted(place for place, _ in heat.colorscale)
        assert heat.zmin <= min(row["top1_delta"] for row in rows if row["site"] == "fc2")
        assert heat.zmax >= max(row["top1_delta"] for row in rows if row["site"] == "fc2")


def test_decided_cells_need_no_note() -> None:
    assert len(sensitivity_heatmap([sensitivity_row(0, 0.5, -9.0)], "fc2").data) == 2


@pytest.mark.parametrize("draw", [sensitivity_curves, sensitivity_heatmap])
def test_without_rows_of_the_site_the_figure_says_so(draw: object) -> None:
    assert draw(SENSITIVITY, "vo").layout.annotations[0].text == "No sensitivity of vo measured yet"


@pytest.mark.parametrize("draw", [sensitivity_curves, sensitivity_heatmap])
@pytest.mark.parametrize("template", ["plotly_white", "plotly_dark"])
def test_clear_paper_and_units(draw: object, template: str) -> None:
    figure = draw(SENSITIVITY, "fc2", template)
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.xaxis.title.text == "Ratio dropped at fc2"
    assert "points" in (figure.layout.yaxis.title.text + str(figure.data[0].to_plotly_json().get("colorbar")))


LOSSES = [{**row, "loss_delta": -row["top1_delta"] / 10, "loss_ci95": [-row["top1_delta"] / 10 - 0.05, -row["top1_delta"] / 10 + 0.05]}
          for row in SENSITIVITY]


def test_a_loss_is_harm_upwards_and_has_its_own_band() -> None:
    heat, *_ = sensitivity_heatmap(LOSSES, "fc2", metric="loss").data
    assert [list(line) for line in heat.text] == [["≈", "+1.23", "+6.00"], [f"{MINUS}0.06", "", "+3.00"]]
    assert heat.colorscale[-1][1] == "#D55E00" and heat.colorbar.title.text == "Loss difference, nats"
    band, curve, *_ = sensitivity_curves(LOSSES, "fc2", metric="loss").data
    assert list(curve.y) == pytest.approx([0.03, 1.234, 6]) and max(band.y) == pytest.approx(6.05)


def test_without_an_interval_there_is_no_band_and_no_verdict() -> None:
    figure = sensitivity_heatmap(SENSITIVITY, "fc2", metric="kl")
    assert len(figure.data) == 2 and figure.data[0].text[0][1] == "1.2"
    assert all(trace.fill != "toself" for trace in sensitivity_curves(SENSITIVITY, "fc2", metric="kl").data)


def test_one_block_stands_out_and_one_cell_is_framed() -> None:
    lines = {trace.name: trace for trace in sensitivity_curves(SENSITIVITY, "fc2", block=1).data if trace.name}
    assert lines["1"].line.width > lines["0"].line.width and lines["1"].opacity > lines["0"].opacity
    assert sum(trace.fill == "toself" for trace in sensitivity_curves(SENSITIVITY, "fc2", block=1).data) == 1
    (frame,) = sensitivity_heatmap(SENSITIVITY, "fc2", outlined=(1, 0.9)).layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (1.5, 2.5, 0.5, 1.5)
    assert not sensitivity_heatmap(SENSITIVITY, "fc2", outlined=(1, 0.5)).layout.shapes


def test_predicted_cells_are_in_brackets_and_say_what_they_rest_on() -> None:
    """Their rows have top-1 and KL alone; another metric is drawn of the measured cells."""
    measured = {**sensitivity_row(0, 0.1, -5.0), "top5_delta": -1.0}
    alone = sensitivity_row(0, 0.5, -9.0) | {"predicted": True, "images": 0, "sketched": 64, "calibrated_by": 6}
    beside = sensitivity_row(0, 0.9, 0.1) | {"predicted": True, "images": 128, "sketched": 64, "calibrated_by": 6}
    rows = [measured, alone, beside]
    heat, cells, *notes = sensitivity_heatmap(rows, "fc2").data
    assert list(heat.text[0]) == [f"{MINUS}5", f"({MINUS}9)", "(≈)"]
    assert any("predicted" in note.name for note in notes)
    words = [data[2] for data in cells.customdata]
    assert "500 images" in words[0] and "predicted" not in words[0]
    assert words[1].endswith("predicted from a sketch of 64 images, set right by 6 measured cells of the site")
    assert "predicted from 128 images of its own and a sketch of 64 images" in words[2]
    assert list(metrics_of(rows)) == ["top1", "top5", "kl"]
    assert list(sensitivity_heatmap(rows, "fc2", metric="top5").data[0].x) == ["10%"]
    assert [list(trace.x) for trace in sensitivity_curves(rows, "fc2", metric="top5").data if trace.name] == [[0.1]]
