"""Figure of what one schedule drops beyond another, site by site and block by block."""

import plotly.graph_objects as go

from dashboard.charts.style import BLUE, VERMILION
from dashboard.charts.theme import themed
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES

_SCALE = [[0.0, BLUE], [0.5, "#F2F2F2"], [1.0, VERMILION]]
_INK, _PALE, _VEIL = "#10222E", "#FFFFFF", "rgba(138, 143, 152, 0.15)"
_DARK = -0.6  # dark figures read on all of the scale but its blue end
_MINUS = "\N{MINUS SIGN}"


def difference_figure(candidate: Schedule, reference: Schedule, names: tuple[str, str], template: str | None = None) -> go.Figure:
    """A heat map of candidate less reference in points of the fraction dropped; equal sites stay empty.

    Args:
        names: of the candidate and of the reference, for the words under the pointer.
    """
    blocks = len(reference.blocks)
    rows = [[a - b for a, b in zip(candidate.ratios(site), reference.ratios(site), strict=True)] for site in SITES]
    words = [
        [f"{names[0]}: {a:.3g} dropped<br>{names[1]}: {b:.3g} dropped"
         for a, b in zip(candidate.ratios(site), reference.ratios(site), strict=True)]
        for site in SITES
    ]
    figure = go.Figure(go.Heatmap(
        z=[[value or None for value in row] for row in rows], x=list(range(blocks)), y=list(SITES), zmin=-1, zmax=1, colorscale=_SCALE,
        xgap=2, ygap=2, hoverongaps=False, text=words, hovertemplate="Block %{x}, %{y}<br>%{text}<extra></extra>",
        colorbar={"title": {"text": "dropped more", "side": "right"}, "thickness": 10, "tickformat": "+.0%"},
    ))
    for site, row in zip(SITES, rows, strict=True):
        for block, value in enumerate(row):
            if value:
                figure.add_annotation(
                    x=block, y=site, text=f"{'+' if value > 0 else _MINUS}{abs(100 * value):.0f}", showarrow=False,
                    font={"size": 12, "color": _PALE if value < _DARK else _INK},
                )
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=list(SITES), range=[len(SITES) - 0.5, -0.5], showgrid=False)
    figure.update_xaxes(
        title="Block", range=[-0.5, blocks - 0.5], tickmode="linear", tick0=0, dtick=max(1, blocks // 12), showgrid=False
    )
    return themed(figure, 250, template).update_layout(margin_t=8, plot_bgcolor=_VEIL)
