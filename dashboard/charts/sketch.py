"""Heat maps of the damage that a sketch predicts, in the equaliser's colours: every ratio of one site, or every site at one ratio."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.charts.sensitivity import UNDECIDED, percent
from dashboard.charts.theme import themed
from dashboard.evidence.sketch import DamageMap, DamagePoint
from dashboard.wording import small

_SHADES = ("rgb(45,127,190)", "rgb(126,175,205)", "rgb(229,190,110)", "rgb(224,123,40)", "rgb(176,58,16)")
_LOWEST, _HIGHEST = -4, 0  # powers of ten that the shades stand for
_SCALE = [[place / (len(_SHADES) - 1), shade] for place, shade in enumerate(_SHADES)]
_INK = "#10222E"
_ROW_HEIGHT = 30


def site_heatmap(damage: DamageMap, site: str, template: str | None = None) -> go.Figure:
    """The damage of every block and ratio of a site; what cannot be told from zero is marked."""
    blocks = sorted(block for name, block in damage.points if name == site)
    ratios = sorted({point.ratio for block in blocks for point in damage.points[site, block]})
    grid = [[_at(damage, site, block, ratio) for ratio in ratios] for block in blocks]
    figure = _heatmap(damage, grid, [percent(ratio) for ratio in ratios], [f"{block}" for block in blocks])
    figure.update_xaxes(title=f"Ratio dropped at {site}")
    figure.update_yaxes(title="Block")
    return themed(figure, 110 + _ROW_HEIGHT * len(blocks), template)


def blocks_heatmap(damage: DamageMap, sites: Sequence[str], ratio: float, template: str | None = None) -> go.Figure:
    """The damage of every site and block at one ratio; blank where it was not sketched."""
    blocks = sorted({block for _, block in damage.points})
    grid = [[_at(damage, site, block, ratio) for block in blocks] for site in sites]
    figure = _heatmap(damage, grid, [f"{block}" for block in blocks], list(sites))
    figure.update_xaxes(title="Block")
    return themed(figure, 110 + _ROW_HEIGHT * len(sites), template).update_layout(margin_t=8)


def _at(damage: DamageMap, site: str, block: int, ratio: float) -> DamagePoint | None:
    return next((point for point in damage.points.get((site, block), ()) if point.ratio == ratio), None)


def _heatmap(damage: DamageMap, grid: list[list[DamagePoint | None]], x: list[str], y: list[str]) -> go.Figure:
    figure, ticks = damage.task.damage, list(range(_LOWEST, _HIGHEST + 1))
    made = go.Figure(go.Heatmap(
        z=[[_power(point) for point in line] for line in grid], x=x, y=y, zmin=_LOWEST, zmax=_HIGHEST, colorscale=_SCALE, xgap=2, ygap=2,
        hoverongaps=False, text=[[_label(point) for point in line] for line in grid], texttemplate="%{text}",
        textfont={"size": 11, "color": _INK},
        customdata=[[_words(point, damage) for point in line] for line in grid], hovertemplate="%{customdata}<extra></extra>",
        colorbar={
            "title": {"text": f"{figure.label}, {figure.unit}".rstrip(", "), "side": "right"}, "thickness": 12, "tickvals": ticks,
            "ticktext": [f"{10.0**tick:g}" for tick in ticks],
        },
    ))
    made.update_xaxes(type="category", showgrid=False)
    made.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return made


def _power(point: DamagePoint | None) -> float | None:
    return None if point is None else min(_HIGHEST, max(_LOWEST, math.log10(point.damage))) if point.damage > 0 else _LOWEST


def _label(point: DamagePoint | None) -> str:
    return "" if point is None else small(point.damage) if point.is_told else UNDECIDED


def _words(point: DamagePoint | None, damage: DamageMap) -> str:
    if point is None:
        return "not sketched"
    figure = damage.task.damage
    value = f"{figure.label} {small(point.damage)} {figure.unit}".rstrip()
    interval = "no interval from one image" if point.high is None else f"95 %: {small(point.low)} to {small(point.high)}"
    verdict = "" if point.is_told else "<br>cannot tell apart from zero"
    return f"{percent(point.ratio)} dropped<br>predicted {value}<br>{interval}{verdict}"
