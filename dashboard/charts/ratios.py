"""Figures of schedules."""

import plotly.graph_objects as go

from dashboard.charts.style import SKY, finish
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES

_SCALE, _INK = [[0.0, "#E3F0F8"], [1.0, SKY]], "#10222E"  # opaque and light: dark numbers read on all of it in both themes
_VEIL = "rgba(138, 143, 152, 0.15)"


def ratios_figure(schedule: Schedule) -> go.Figure:
    """The fraction dropped at every site of every block, as a heat map with its percentages; what is kept whole stays empty."""
    rows = [[ratio or None for ratio in schedule.ratios(site)] for site in SITES]
    figure = go.Figure(go.Heatmap(
        z=rows, x=list(range(len(schedule.blocks))), y=list(SITES), zmin=0, zmax=1, colorscale=_SCALE, xgap=2, ygap=2,
        hoverongaps=False, text=[[_cell(ratio) for ratio in row] for row in rows], texttemplate="%{text}", textfont={"color": _INK},
        colorbar={"title": {"text": "dropped", "side": "right"}, "thickness": 10, "tickformat": ".0%"},
        hovertemplate="Block %{x}, %{y}: %{z:.3g} dropped<extra></extra>",
    ))
    # Ranges are given, since a baseline leaves nothing to find them from.
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=list(SITES), range=[len(SITES) - 0.5, -0.5], showgrid=False)
    figure.update_xaxes(
        title="Block", range=[-0.5, len(schedule.blocks) - 0.5], tickmode="linear", tick0=0, dtick=max(1, len(schedule.blocks) // 12),
        showgrid=False,
    )
    return finish(figure, 230).update_layout(margin_t=8, plot_bgcolor=_VEIL)


def _cell(ratio: float | None) -> str:
    return f"{100 * ratio:.0f}" if ratio else ""
