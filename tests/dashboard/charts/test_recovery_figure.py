"""The epochs of a recovery as a figure."""

import pytest

from dashboard.charts.recovery import chosen_epoch, recovery_figure
from tests.support.chart_rows import EPOCHS, epoch
from toast_core.intervals import wilson_percent


def test_the_first_of_the_lowest_validation_loss_is_kept() -> None:
    assert chosen_epoch(EPOCHS) == 1 and chosen_epoch(EPOCHS[:1]) == 0
    (line,) = recovery_figure(EPOCHS).layout.shapes[:1]
    assert line.x0 == line.x1 == 1


def test_losses_left_accuracies_right_with_intervals_of_the_images_held_out() -> None:
    figure = recovery_figure(EPOCHS)
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["Training loss", "Validation loss", "Top-1", "Agrees with the baseline"]
    assert list(traces["Training loss"].x) == [1, 2, 3] and list(traces["Validation loss"].y) == [0.9, 0.4, 0.4, 0.5]
    assert traces["Validation loss"].xaxis != traces["Top-1"].xaxis
    low, high = wilson_percent(30, 50)
    assert traces["Top-1"].error_y.array[0] == pytest.approx(high - 60) and traces["Top-1"].error_y.arrayminus[0] == pytest.approx(60 - low)
    assert figure.layout.annotations[1].text == "Of 50 validation images, %"


def test_ticks_are_whole_epochs_and_few() -> None:
    many = [epoch(number, 0.5) for number in range(31)]
    assert [recovery_figure(rows).layout.xaxis.dtick for rows in (EPOCHS[:1], EPOCHS, many)] == [1, 1, 3]


def test_without_labels_there_is_no_top1() -> None:
    names = [trace.name for trace in recovery_figure([epoch(0, 0.9, None), epoch(1, 0.4, None)]).data]
    assert names == ["Training loss", "Validation loss", "Agrees with the baseline"]


def test_without_rows_the_figure_says_so() -> None:
    assert recovery_figure([]).layout.annotations[0].text == "No epoch has ended yet"
