"""The largest ratio that each place stands, in words and as a figure."""

from dashboard.charts.tolerance import tolerance_figure, tolerances
from tests.support.chart_rows import sensitivity_row

ROWS = [
    sensitivity_row(0, 0.1, -0.3, 0.6), sensitivity_row(0, 0.5, -0.3, 0.8), sensitivity_row(0, 0.9, -9.0),
    sensitivity_row(1, 0.1, -0.5, 0.4), sensitivity_row(1, 0.5, -0.9, 0.05), sensitivity_row(1, 0.1, -3.0, site="qk"),
]


def test_the_whole_interval_counts() -> None:
    found = {(one.block, one.site): one.ratio for one in tolerances(ROWS)}
    assert found == {(0, "fc2"): 0.1, (1, "fc2"): 0.5, (1, "qk"): 0.0}
    assert {one.ratio for one in tolerances(ROWS, limit_points=5)} == {0.5, 0.1}


def test_the_figure_has_a_dash_for_none_and_nothing_where_nothing_is_measured() -> None:
    (heat,) = tolerance_figure(tolerances(ROWS), ("fc2", "qk")).data
    assert [list(line) for line in heat.text] == [["10%", "50%"], ["", "\N{EN DASH}"]]
    assert [list(line) for line in heat.z] == [[0.1, 0.5], [None, 0.0]]
    assert heat.customdata[0][0].startswith("Block 0, fc2: 10% dropped<br>top-1 \N{MINUS SIGN}0.3 points, 95 % ")
    assert heat.customdata[1][1] == "Block 1, qk: no measured ratio"


def test_without_rows_the_figure_says_so() -> None:
    assert tolerance_figure([], ("fc2",)).layout.annotations[0].text == "No sensitivity measured yet"
