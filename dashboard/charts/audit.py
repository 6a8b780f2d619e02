"""Figure of the prediction against what was measured."""

import plotly.graph_objects as go

from dashboard.charts.style import BLUE, NEUTRAL, VERMILION
from dashboard.charts.theme import empty_figure, themed
from dashboard.evidence.audit import Audit

_HOVER = (
    "predicted %{x:+.2f} points (%{customdata[0]:+.2f} to %{customdata[1]:+.2f})<br>measured %{y:+.2f} points (%{customdata[2]:+.2f} to "
    "%{customdata[3]:+.2f})<br>%{customdata[4]:,} images, %{customdata[5]} sites pruned<extra></extra>"
)


def audit_figure(found: Audit, template: str | None = None) -> go.Figure:
    """Measured over predicted difference to the baseline in points; the bars across are the prediction's band, those along, intervals.

    On the dashed line they agree. Measured values inside the band are circles, those outside crosses.
    """
    if not found.checks:
        return empty_figure("No predicted schedule is measured yet", template)
    figure = go.Figure()
    predicted = [check.predicted.value for check in found.checks]
    low, high = min(predicted), max(0.0, *predicted)
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", name="measured as predicted", line={"color": NEUTRAL, "dash": "dash", "width": 1},
        hoverinfo="skip",
    )
    for inside, colour, symbol, name in ((True, BLUE, "circle", "inside the band"), (False, VERMILION, "x", "outside the band")):
        chosen = [check for check in found.checks if check.is_inside == inside]
        if not chosen:
            continue
        figure.add_scatter(
            x=[check.predicted.value for check in chosen], y=[check.measured.value for check in chosen], mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": 9},
            error_x=_bars([check.predicted for check in chosen], colour), error_y=_bars([check.measured for check in chosen], colour),
            customdata=[
                [*check.predicted.ci95, *check.measured.ci95, check.images, check.sites] for check in chosen
            ],
            hovertemplate=_HOVER,
        )
    figure.update_xaxes(title="Predicted difference to the baseline, points")
    figure.update_yaxes(title="Measured difference, points")
    return themed(figure, 400, template)


def _bars(estimates: list, colour: str) -> dict:
    return {
        "type": "data", "array": [one.ci95[1] - one.value for one in estimates],
        "arrayminus": [one.value - one.ci95[0] for one in estimates], "color": colour, "thickness": 1, "width": 0,
    }
