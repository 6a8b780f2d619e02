"""What analysis figures add to the common layout: a template of the caller's choice, clear paper, an empty state."""

import plotly.graph_objects as go

from dashboard.charts.style import NEUTRAL, finish

CLEAR = "rgba(0,0,0,0)"


def themed(figure: go.Figure, height: int, template: str | None) -> go.Figure:
    """Give a figure the common layout on clear paper; `template` names a Plotly template, None leaves the page's theme in charge."""
    finish(figure, height).update_layout(paper_bgcolor=CLEAR, plot_bgcolor=CLEAR)
    return figure if template is None else figure.update_layout(template=template)


def empty_figure(message: str, template: str | None) -> go.Figure:
    """A figure that says why it shows nothing."""
    figure = go.Figure().update_xaxes(visible=False).update_yaxes(visible=False)
    figure.add_annotation(text=message, showarrow=False, font={"size": 14, "color": NEUTRAL}, xref="paper", yref="paper", x=0.5, y=0.5)
    return themed(figure, 160, template)


def faded(colour: str, opacity: float) -> str:
    """A #RRGGBB colour as rgba, for bands that lines must show through."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
