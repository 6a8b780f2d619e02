"""Figure of candidates: accuracy against cost, with intervals, and the Pareto front of what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.charts.style import BLUE, GREEN, NEUTRAL, ORANGE, PURPLE, VERMILION
from dashboard.charts.theme import empty_figure, themed
from dashboard.wording import TOP1
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.tasks.base import Figure

_MARKS = {
    "Baseline": (NEUTRAL, "diamond"), "In hand": (VERMILION, "star"), "Draft": (BLUE, "circle"), "Starting point": (ORANGE, "square"),
    "Published": (PURPLE, "triangle-up"),
}
_PALER = 0.45
NEAR = 10.0  # points of the headline from the baseline's, within which candidates are of use
_PLURALS = {"Draft": "Drafts", "Starting point": "Starting points"}


@dataclass(frozen=True)
class FrontPoint:
    """One candidate: `kind` as in `Candidate`, cost in the axis' unit, the headline, and how it is known in a few words.

    `ranked` says whether it was measured on the images that the front is about; others are paler.
    """

    name: str
    kind: str
    cost: float
    headline: Estimate
    measured: bool
    basis: str
    ranked: bool = True
    is_reference: bool = False


def near_baseline(points: Sequence[FrontPoint]) -> tuple[float, float] | None:
    """The range of headlines within NEAR of the baseline's, intervals included, with a margin; None where that is all of them."""
    baseline = next((point.headline.value for point in points if point.kind == "Baseline"), None)
    near = [] if baseline is None else [point for point in points if abs(point.headline.value - baseline) <= NEAR]
    if not near or len(near) == len(points):
        return None
    low, high = (pick(point.headline.ci95[end] for point in near) for end, pick in ((0, min), (1, max)))
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def front_figure(
    points: Sequence[FrontPoint], front: Sequence[FrontPoint], unit: str, shown: Figure = TOP1, template: str | None = None,
    within: tuple[float, float] | None = None,
) -> go.Figure:
    """Filled marks with their 95 % interval were measured; hollow ones with a dotted band are predicted. The line joins the front.

    Args:
        points: all of them, measured or predicted.
        front: the measured ones that no other beats, by cost.
        unit: of the cost, for the axis.
        shown: what the headline is.
        within: the range of headlines that is drawn; None: all.
    """
    if not points:
        return empty_figure(f"No candidate has a measured or predicted {shown.label} yet", template)
    figure = go.Figure()
    if len(front) > 1:
        figure.add_scatter(
            x=[point.cost for point in front], y=[point.headline.value for point in front], name="Pareto front, measured", mode="lines",
            line={"color": GREEN, "width": 2, "shape": "hv"}, hoverinfo="skip",
        )
    middle = (min(point.cost for point in points) + max(point.cost for point in points)) / 2
    for kind, (colour, symbol) in _MARKS.items():
        for measured in (True, False):
            chosen = [point for point in points if point.kind == kind and point.measured == measured]
            if chosen:
                figure.add_trace(_marks(chosen, kind, colour, symbol, measured, unit, middle).update(hovertemplate=_hover(shown)))
    figure.update_xaxes(title=unit, rangemode="normal")
    figure.update_yaxes(title=f"{shown.title}, {shown.unit}".rstrip(", "), range=within)
    return themed(figure, 460, template)


def _hover(shown: Figure) -> str:
    form, unit = f":.{shown.digits}f", f" {shown.unit}" if shown.unit else ""
    figures = f"{shown.label} %{{y{form}}}{unit} (%{{customdata[2]{form}}} to %{{customdata[3]{form}}})"
    return f"%{{customdata[0]}}<br>%{{x:.4g}} %{{customdata[1]}}, {figures}<br>%{{customdata[4]}}<extra></extra>"


def _marks(
    points: Sequence[FrontPoint], kind: str, colour: str, symbol: str, measured: bool, unit: str, middle: float
) -> go.Scatter:
    return go.Scatter(
        x=[point.cost for point in points], y=[point.headline.value for point in points], mode="markers+text",
        name=f"{_PLURALS.get(kind, kind)}, {'measured' if measured else 'predicted'}",
        text=[point.name for point in points],
        textposition=["bottom left" if point.cost > middle else "bottom right" for point in points],
        marker={
            "color": colour, "symbol": symbol if measured else f"{symbol}-open",
            "opacity": [1 if point.ranked else _PALER for point in points],
            "size": [15 if point.is_reference else 11 for point in points], "line": {"color": colour, "width": 0 if measured else 2},
        },
        error_y={
            "type": "data", "array": [point.headline.ci95[1] - point.headline.value for point in points],
            "arrayminus": [point.headline.value - point.headline.ci95[0] for point in points], "color": colour,
            "thickness": 2 if measured else 1, "width": 4 if measured else 0,
        },
        customdata=[[point.name, unit, *point.headline.ci95, point.basis] for point in points],
    )
