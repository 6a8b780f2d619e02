"""Figures of sensitivity rows (the paper's Fig. 5): what pruning one site of one block costs in top-1 accuracy.

A row is a mapping with `block`, `site`, `ratio`, `top1` (%), `top1_delta` (percentage points, pruned minus baseline on the same
images), `ci95` ([low, high] of that difference), `kl` (nats) and `images`.
"""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from dashboard.charts.style import BLUE, GREEN, NEUTRAL, ORANGE, PURPLE, SKY, VERMILION
from dashboard.charts.theme import empty_figure, faded, themed

_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
_NO_CHANGE = "#F2F2F2"
_CELL_HEIGHT = 30
_UNDECIDED = "≈"

Row = Mapping[str, object]


def sensitivity_curves(rows: Sequence[Row], site: str, template: str | None = None) -> go.Figure:
    """Top-1 difference over the ratio, one curve a block with its 95 % band; a click in the legend hides curve and band."""
    chosen = _of_site(rows, site)
    if not chosen:
        return empty_figure(f"No sensitivity of {site} measured yet", template)
    figure = go.Figure()
    for number, block in enumerate(sorted({row["block"] for row in chosen})):
        cells = [row for row in chosen if row["block"] == block]
        ratios = [row["ratio"] for row in cells]
        colour, cycle = _COLOURS[number % len(_COLOURS)], number // len(_COLOURS) % len(_DASHES)
        figure.add_scatter(
            x=[*ratios, *reversed(ratios)], y=[*(row["ci95"][0] for row in cells), *(row["ci95"][1] for row in reversed(cells))],
            fill="toself", fillcolor=faded(colour, 0.13), line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False,
            legendgroup=str(block),
        )
        figure.add_scatter(
            x=ratios, y=[row["top1_delta"] for row in cells], name=f"{block}", legendgroup=str(block), mode="lines+markers",
            line={"color": colour, "dash": _DASHES[cycle], "width": 2}, marker={"symbol": _SYMBOLS[cycle], "size": 7},
            customdata=[_custom(row) for row in cells], hovertemplate=_HOVER,
        )
    figure.add_hline(y=0, line={"color": NEUTRAL, "width": 1})
    figure.update_xaxes(title=f"Ratio dropped at {site}", tickformat=".0%")
    figure.update_yaxes(title="Top-1 difference to the baseline, points")
    return themed(figure, 420, template).update_layout(
        legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top", "title": {"text": "Block"}}
    )


def sensitivity_heatmap(rows: Sequence[Row], site: str, template: str | None = None) -> go.Figure:
    """Top-1 difference of every block and ratio; blank where nothing is measured, marked where the interval contains no change.

    Selecting a cell on a page yields a point whose customdata starts with block and ratio.
    """
    chosen = _of_site(rows, site)
    if not chosen:
        return empty_figure(f"No sensitivity of {site} measured yet", template)
    blocks, ratios = sorted({row["block"] for row in chosen}), sorted({row["ratio"] for row in chosen})
    cells = {(row["block"], row["ratio"]): row for row in chosen}
    grid = [[cells.get((block, ratio)) for ratio in ratios] for block in blocks]
    deltas = [row["top1_delta"] for row in chosen]
    low, high = min(0.0, *deltas, -1.0), max(0.0, *deltas)
    labels = {ratio: f"{ratio:.0%}" if round(100 * ratio, 6) == round(100 * ratio) else f"{ratio:.3g}" for ratio in ratios}
    figure = go.Figure(go.Heatmap(
        z=[[row["top1_delta"] if row else None for row in line] for line in grid],
        x=list(labels.values()), y=[str(block) for block in blocks],
        zmin=low, zmax=max(high, -0.02 * low), colorscale=_scale(low, max(high, -0.02 * low)), xgap=2, ygap=2, hoverinfo="skip",
        text=[[_cell(row) if row else "" for row in line] for line in grid], texttemplate="%{text}", textfont={"size": 11},
        colorbar={"title": {"text": "Top-1 difference, points", "side": "right"}, "thickness": 12},
    ))
    # a heat map yields no selection events; markers over its cells do, and carry the hover
    figure.add_scatter(
        x=[labels[row["ratio"]] for row in chosen], y=[str(row["block"]) for row in chosen], mode="markers", showlegend=False,
        customdata=[_custom(row) for row in chosen], hovertemplate=_HOVER,
        marker={"symbol": "square", "size": _CELL_HEIGHT - 4, "color": "rgba(0,0,0,0)"},
        selected={"marker": {"color": "rgba(0,0,0,0.35)", "opacity": 1}}, unselected={"marker": {"opacity": 0}},
    )
    if any(_undecided(row) for row in chosen):
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=f"{_UNDECIDED} cannot tell apart from the baseline (95 % interval contains 0)",
            marker={"symbol": "square", "size": 12, "color": _NO_CHANGE, "line": {"color": NEUTRAL, "width": 1}},
        )
    figure.update_xaxes(title=f"Ratio dropped at {site}", type="category", showgrid=False)
    figure.update_yaxes(title="Block", type="category", autorange="reversed", showgrid=False)
    return themed(figure, 110 + _CELL_HEIGHT * len(blocks), template)


_HOVER = (
    "Block %{customdata[0]}, %{customdata[1]:.0%} dropped<br>top-1 %{customdata[2]:.2f} %, difference %{customdata[3]:+.2f} points, "
    "95 % interval %{customdata[4]:+.2f} to %{customdata[5]:+.2f}"
    "<br>KL %{customdata[6]:.3g} nats, %{customdata[7]} images%{customdata[8]}<extra></extra>"
)


def _of_site(rows: Sequence[Row], site: str) -> list[Row]:
    return sorted((row for row in rows if row["site"] == site), key=lambda row: (row["block"], row["ratio"]))


def _undecided(row: Row) -> bool:
    low, high = row["ci95"]
    return low <= 0 <= high


def _custom(row: Row) -> list:
    note = "<br>cannot tell apart from the baseline" if _undecided(row) else ""
    return [row["block"], row["ratio"], row["top1"], row["top1_delta"], *row["ci95"], row["kl"], row["images"], note]


def _cell(row: Row) -> str:
    """The difference with as many digits as its interval supports, or the mark of a difference that may be none."""
    if _undecided(row):
        return _UNDECIDED
    half = (row["ci95"][1] - row["ci95"][0]) / 2
    return f"{row['top1_delta']:+.{0 if half >= 0.5 else 1}f}".replace("-", "\N{MINUS SIGN}")


def _scale(low: float, high: float) -> list[list]:
    """Losses towards vermilion, gains towards blue, no change near white; equal strength for equal size on both sides."""
    size = max(-low, high)
    zero = -low / (high - low)
    return [
        [0.0, _mix(VERMILION, -low / size)], [zero / 2, _mix(ORANGE, 0.7 * -low / size)], [zero, _NO_CHANGE],
        [1.0, _mix(BLUE, high / size)],
    ]


def _mix(colour: str, weight: float) -> str:
    """A colour faded towards no change."""
    parts = ((int(colour[i : i + 2], 16), int(_NO_CHANGE[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(weight * a + (1 - weight) * b):02X}" for a, b in parts)
