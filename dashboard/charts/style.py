"""What all figures share: colours that colour-blind readers tell apart (Okabe and Ito), margins, and the PNG button."""

import plotly.graph_objects as go

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
NEUTRAL = "#8A8F98"  # readable on a white and on a black page alike
PART_COLOURS = {"Attention": BLUE, "Feed-forward": ORANGE, "Embedding": GREEN, "Merging": SKY, "Head": PURPLE}


def finish(figure: go.Figure, height: int) -> go.Figure:
    """Give a figure the common layout; the page's theme sets fonts and backgrounds."""
    figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 36, "b": 8}, bargap=0.25,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    )
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True, zeroline=False)
    return figure


def chart_config(name: str) -> dict:
    """Plotly's options for a figure on a page: `name` is the file that its camera button saves."""
    return {
        "displaylogo": False, "displayModeBar": "hover",
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
        "toImageButtonOptions": {"format": "png", "filename": name, "scale": 2},
    }
