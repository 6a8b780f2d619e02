"""The figures of costs."""

import pytest

from dashboard.charts.cost import blocks_figure, parts_figure
from dashboard.charts.style import chart_config
from dashboard.engine.client import shipped_shape
from toast_core.cost.macs import count_cost
from toast_core.schedule.schedule import Schedule


@pytest.mark.parametrize("model", ["demo_vit", "demo_swin"])
def test_figures_show_what_the_cost_says(model):
    shape = shipped_shape(model)
    schedule = Schedule.uniform(len(shape.blocks), fc2=0.5, selection="calibrated")
    cost, baseline = count_cost(shape, schedule), count_cost(shape)
    assert sum(parts_figure(cost).data[0].x) == pytest.approx(cost.macs / 1e9)
    bars = blocks_figure(cost, baseline).data
    assert [trace.name for trace in bars] == ["Attention", "Feed-forward", "Baseline"]
    assert bars[0].y[3] + bars[1].y[3] == pytest.approx(cost.blocks[3].macs / 1e9)
    assert chart_config("cost")["toImageButtonOptions"]["filename"] == "cost"
