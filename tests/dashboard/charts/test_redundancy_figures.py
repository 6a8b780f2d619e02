"""Redundancy figures show what the rows say."""

import plotly.graph_objects as go
import pytest

from dashboard.charts.redundancy import channel_figure, reconstruction_figure, redundancy_figure, spectrum_figure
from tests.support.chart_rows import redundancy_row

ROWS = [redundancy_row(1), redundancy_row(0), redundancy_row(0, "fc1_input", 0.3)]


def traces(figure: go.Figure) -> dict[str, go.Scatter]:
    """Traces by name."""
    return {trace.name: trace for trace in figure.data}


def panel_titles(figure: go.Figure) -> list[str]:
    """What stands above the panels."""
    return [annotation.text for annotation in figure.layout.annotations]


def test_three_panels_in_block_order() -> None:
    shown = traces(redundancy_figure(ROWS))
    assert all(list(trace.x) == [0, 1] for trace in shown.values())
    assert list(shown["Near zero"].y) == pytest.approx([10, 11])
    assert list(shown["Dead channels"].y) == [25, 25]
    assert list(shown["R² in sample"].y) == [0.75, 0.75]
    assert list(shown["R² held out"].y) == [0.5, 0.5]
    assert list(shown["Rank, singular values"].y) == pytest.approx([50, 52.5])
    assert list(shown["Rank, eigenvalues"].y) == [25, 25]
    assert {trace.xaxis for trace in shown.values()} == {"x", "x2", "x3"}


def test_the_site_is_chosen() -> None:
    assert list(traces(redundancy_figure(ROWS, site="fc1_input"))["R² held out"].y) == [0.3]


@pytest.mark.parametrize(("threshold", "near_zero", "dead", "label"), [
    ("1e-3", 1, 0, "0.001"), ("1e-2", 5, 25, "0.01"), ("0.01rms", 10, 25, "0.01 RMS"), (0.01, 10, 25, "0.01 RMS"),
    (0.09, 30, 50, "0.1 RMS"), (5.0, 70, 100, "1 RMS"),
])
def test_the_threshold_slider(threshold: str | float, near_zero: float, dead: float, label: str) -> None:
    figure = redundancy_figure([redundancy_row(0)], threshold)
    assert list(traces(figure)["Near zero"].y) == pytest.approx([near_zero])
    assert list(traces(figure)["Dead channels"].y) == pytest.approx([dead])
    assert panel_titles(figure)[0] == f"Sparsity, |x| ≤ {label}"


def test_an_unknown_threshold_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"unknown threshold '1e-9'; choose from 0.01rms, 1e-2, 1e-3, or give a multiple of the RMS"):
        redundancy_figure(ROWS, "1e-9")


def test_the_dropped_fraction_slider_snaps_to_what_was_measured() -> None:
    figure = redundancy_figure(ROWS, dropped_fraction=0.3)
    assert list(traces(figure)["R² held out"].y) == [0.8, 0.8]
    assert panel_titles(figure)[1] == "Linear reconstruction, 25% dropped"


def test_an_r2_far_below_zero_is_marked_and_told_but_does_not_stretch_the_axis() -> None:
    figure = redundancy_figure([redundancy_row(0), redundancy_row(1, held_out=-4.3)])
    held_out = traces(figure)["R² held out"]
    assert list(held_out.y) == [0.5, -0.25]
    assert list(held_out.marker.symbol) == ["circle", "triangle-down"]
    assert held_out.customdata[1][0] == -4.3
    assert figure.layout.yaxis2.range[0] > -0.3


@pytest.mark.parametrize("template", ["plotly_white", "plotly_dark"])
def test_templates_and_clear_paper(template: str) -> None:
    for figure in (redundancy_figure(ROWS, template=template), spectrum_figure(ROWS[0], template), channel_figure(ROWS[0], template)):
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert figure.layout.template.layout.font.color == go.Figure(layout={"template": template}).layout.template.layout.font.color
        assert all(axis.title.text for axis in [*figure.select_xaxes(), *figure.select_yaxes()])


def test_without_rows_the_figure_says_so() -> None:
    figure = redundancy_figure([], template="plotly_white")
    assert panel_titles(figure) == ["No redundancy of the hidden activations measured yet"]


def test_the_spectrum_leaves_out_zeros_and_marks_the_effective_ranks() -> None:
    shown = traces(spectrum_figure(redundancy_row(0)))
    assert list(shown["One eigenvalue"].y) == pytest.approx([60, 30, 10])
    assert list(shown["All up to it"].y) == pytest.approx([60, 90, 100])
    assert list(shown["Effective rank 2 (singular values)"].x) == [2, 2]
    assert list(shown["Effective rank 1 (eigenvalues)"].x) == [1, 1]


def test_channels_are_all_counted() -> None:
    shown = traces(channel_figure(redundancy_row(0)))
    assert sum(shown["Mean |x|"].y) == sum(shown["Importance"].y) == 4
    assert list(shown["≤ 0.01 RMS: 1 of 4 dead"].x) == [0.0199] * 2
    assert {"≤ 0.01: 1 of 4 dead", "≤ 0.001: 0 of 4 dead"} <= shown.keys()


def test_the_reconstruction_curves_show_both_halves_and_the_fraction_in_hand() -> None:
    figure = reconstruction_figure(redundancy_row(0, held_out=-4.3), 0.25)
    shown = traces(figure)
    assert list(shown["In sample"].y) == [0.9, 0.75]
    assert list(shown["Held out"].y) == [0.8, -0.25] and list(shown["Held out"].customdata) == [0.8, -4.3]
    assert list(shown["Held out"].marker.symbol) == ["circle", "triangle-down"]
    assert figure.layout.shapes[0].x0 == 0.25
    assert "Held out, halves swapped" in shown
