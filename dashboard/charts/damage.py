"""Figures of who gets hurt: classes, and what they are newly taken for."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.charts.style import BLUE, NEUTRAL, VERMILION
from dashboard.charts.theme import empty_figure, themed
from dashboard.evidence.damage import ClassDamage, Damage

MOST_CLASSES = 20
_MOST_PAIRS = 12
_SCALE, _INK, _VEIL = [[0.0, "#FBEFE6"], [1.0, VERMILION]], "#10222E", "rgba(138, 143, 152, 0.15)"
_ROW_HEIGHT = 26


def classes_figure(classes: Sequence[ClassDamage], names: Sequence[str], template: str | None = None) -> go.Figure:
    """The difference in top-1 of every class with its 95 % interval, the worst first; filled marks are clear after Holm.

    Only the MOST_CLASSES worst are drawn.
    """
    if not classes:
        return empty_figure("No image was seen by both", template)
    shown = sorted(classes, key=lambda one: one.change.value)[:MOST_CLASSES]
    figure = go.Figure()
    for clear, colour, symbol, label in (
        (True, VERMILION, "circle", "clear among all classes"), (False, NEUTRAL, "circle-open", "cannot tell apart")
    ):
        chosen = [one for one in shown if one.is_clear == clear]
        if not chosen:
            continue
        figure.add_scatter(
            x=[one.change.value for one in chosen], y=[names[one.label] for one in chosen], name=label, mode="markers",
            marker={"color": [BLUE if clear and one.change.value > 0 else colour for one in chosen], "symbol": symbol, "size": 10},
            error_x={
                "type": "data", "array": [one.change.ci95[1] - one.change.value for one in chosen],
                "arrayminus": [one.change.value - one.change.ci95[0] for one in chosen], "color": NEUTRAL, "thickness": 1.5, "width": 3,
            },
            customdata=[[*one.change.ci95, one.newly_wrong, one.newly_right, one.images] for one in chosen],
            hovertemplate=(
                "%{y}: %{x:+.2f} points (%{customdata[0]:+.2f} to %{customdata[1]:+.2f})<br>%{customdata[2]} newly wrong, "
                "%{customdata[3]} newly right of %{customdata[4]} images<extra></extra>"
            ),
        )
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1})
    figure.update_xaxes(title="Top-1 difference, points")
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=[names[one.label] for one in shown], range=[len(shown) - 0.5, -0.5]
    )
    return themed(figure, 110 + _ROW_HEIGHT * len(shown), template)


def confusion_figure(damage: Damage, names: Sequence[str], template: str | None = None) -> go.Figure:
    """How often a true class (row) is newly taken for another (column); classes of the most frequent pairs only, where there are many."""
    if not damage.confusion:
        return empty_figure("No image is newly wrong", template)
    involved = {label for pair, _ in damage.confusion for label in pair}
    if len(involved) > _MOST_PAIRS:
        involved = {label for pair, _ in damage.confusion[:_MOST_PAIRS] for label in pair}
    labels, counts = sorted(involved), dict(damage.confusion)
    grid = [[counts.get((true, taken)) for taken in labels] for true in labels]
    words = [names[label] for label in labels]
    figure = go.Figure(go.Heatmap(
        z=grid, x=words, y=words, zmin=0, zmax=max(counts.values()), colorscale=_SCALE, xgap=2, ygap=2, hoverongaps=False, showscale=False,
        text=[["" if count is None else str(count) for count in row] for row in grid], texttemplate="%{text}",
        textfont={"size": 12, "color": _INK}, hovertemplate="%{y}, newly taken for %{x}: %{z} images<extra></extra>",
    ))
    figure.update_xaxes(title="Newly taken for", type="category", showgrid=False, range=[-0.5, len(words) - 0.5])
    figure.update_yaxes(title="True class", type="category", showgrid=False, range=[len(words) - 0.5, -0.5])
    return themed(figure, 150 + _ROW_HEIGHT * len(words), template).update_layout(margin_t=8, plot_bgcolor=_VEIL)
