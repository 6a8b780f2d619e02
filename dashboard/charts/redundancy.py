"""Figures of redundancy rows: the three panels of the paper's Fig. 4, and one site's spectrum, channels and reconstruction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts.style import BLUE, GREEN, NEUTRAL, ORANGE, PURPLE, SKY, VERMILION
from dashboard.charts.theme import CLEAR, empty_figure, themed
from toast_core.studies.redundancy.result import ABSOLUTE_THRESHOLDS, RELATIVE_THRESHOLD, THRESHOLDS, RedundancyRow

SITE_NAMES = {"hidden": "hidden activations", "fc1_input": "fc1 input"}
_R2_FLOOR = -0.25  # a held-out R2 can be far below zero; one such point must not flatten the others
_LINE = {"width": 2}
_BINS = 40


def redundancy_figure(
    rows: Sequence[RedundancyRow], threshold: str | float = RELATIVE_THRESHOLD, dropped_fraction: float = 0.5, site: str = "hidden",
    template: str | None = None,
) -> go.Figure:
    """Sparsity with dead channels, R2 held out and in sample, and effective rank, over the blocks: one figure of three panels.

    Args:
        rows: of any sites; those of `site` are drawn.
        threshold: a name of THRESHOLDS, or a multiple of each block's RMS (the nearest one that was counted is shown).
        dropped_fraction: the nearest one that was measured is shown.

    Raises:
        ValueError: an unknown threshold name.
    """
    if isinstance(threshold, str) and threshold not in THRESHOLDS:
        raise ValueError(f"unknown threshold {threshold!r}; choose from {', '.join(THRESHOLDS)}, or give a multiple of the RMS")
    rows = sorted((row for row in rows if row.site == site), key=lambda row: row.block)
    if not rows:
        return empty_figure(f"No redundancy of the {SITE_NAMES[site]} measured yet", template)
    key = min(rows[0].r2, key=lambda key: abs(float(key) - dropped_fraction))
    figure = make_subplots(1, 3, horizontal_spacing=0.09, subplot_titles=(
        f"Sparsity, |x| ≤ {_threshold_label(rows[0], threshold)}", f"Linear reconstruction, {float(key):.0%} dropped", "Effective rank",
    ))
    _sparsity_panel(figure, rows, threshold)
    _r2_panel(figure, rows, key)
    _rank_panel(figure, rows)
    figure.update_xaxes(title="Block", tickmode="linear", dtick=max(1, len(rows) // 6))
    themed(figure, 340, template).update_layout(margin={"t": 30, "b": 8}, legend={"y": -0.26, "yanchor": "top"})
    return figure.update_annotations(font_size=14)


def _sparsity_panel(figure: go.Figure, rows: Sequence[RedundancyRow], threshold: str | float) -> None:
    points = [_sparsity_at(row, threshold) for row in rows]
    figure.add_bar(
        x=[row.block for row in rows], y=[100 * sparsity for _, sparsity, _ in points], name="Near zero", marker_color=BLUE,
        customdata=[tau for tau, _, _ in points], row=1, col=1,
        hovertemplate="Block %{x}: %{y:.3g} % of activations at or below %{customdata:.3g}<extra></extra>",
    )
    dead = _Line("Dead channels", VERMILION, "x", "%{y:.3g} % of channels dead")
    _add_line(figure, 1, rows, [100 * share for _, _, share in points], dead)
    figure.update_yaxes(title="% of activations, of channels", rangemode="tozero", row=1, col=1)


def _r2_panel(figure: go.Figure, rows: Sequence[RedundancyRow], key: str) -> None:
    # rings around dots: where both agree, both must still be seen
    for name, label, colour, symbol, size in (
        ("in_sample", "R² in sample", ORANGE, "circle-open", 13), ("held_out", "R² held out", GREEN, "circle", 7),
    ):
        values = [row.r2[key][name] for row in rows]
        half = [row.convergence["r2"][key][name] for row in rows]
        symbols = symbol if min(values) >= _R2_FLOOR else [symbol if value >= _R2_FLOOR else "triangle-down" for value in values]
        line = _Line(label, colour, symbols, "R² %{customdata[0]:.3f}, from half the data %{customdata[1]:.3f}", size)
        _add_line(figure, 2, rows, [max(_R2_FLOOR, value) for value in values], line, list(zip(values, half, strict=True)))
    lowest = min(max(_R2_FLOOR, value) for row in rows for value in row.r2[key].values())
    figure.update_yaxes(title="R² of the dropped channels", range=[min(0.0, lowest - 0.03), 1.03], row=1, col=2)


def _rank_panel(figure: go.Figure, rows: Sequence[RedundancyRow]) -> None:
    for name, label, colour, symbol in (
        ("singular_values", "Rank, singular values", PURPLE, "diamond"), ("covariance_eigenvalues", "Rank, eigenvalues", NEUTRAL, "square"),
    ):
        ranks = [row.effective_rank[name] for row in rows]
        half = [row.convergence["effective_rank"][name] for row in rows]
        said = "%{y:.3g} % of the width, %{customdata[0]:.1f} of %{customdata[1]} channels, from half the data %{customdata[2]:.1f}"
        figures = [(rank["absolute"], row.channels, other["absolute"]) for rank, row, other in zip(ranks, rows, half, strict=True)]
        _add_line(figure, 3, rows, [100 * rank["relative"] for rank in ranks], _Line(label, colour, symbol, said), figures)
    figure.update_yaxes(title="% of the width", rangemode="tozero", row=1, col=3)


@dataclass(frozen=True)
class _Line:
    """How one quantity of every block is drawn: its name in the legend, its marks, and what is said where one points."""

    name: str
    colour: str
    symbol: str | list[str]
    hover: str
    size: int = 8


def _add_line(
    figure: go.Figure, col: int, rows: Sequence[RedundancyRow], values: list[float], line: _Line, customdata: list | None = None
) -> None:
    figure.add_scatter(
        x=[row.block for row in rows], y=values, name=line.name, mode="lines+markers", line={"color": line.colour, **_LINE},
        customdata=customdata, cliponaxis=False, hovertemplate=f"Block %{{x}}: {line.hover}<extra></extra>", row=1, col=col,
        marker={"symbol": line.symbol, "size": line.size, "line": {"width": 2 if "open" in line.symbol else 0}},
    )


def _sparsity_at(row: RedundancyRow, threshold: str | float) -> tuple[float, float, float]:
    """The threshold in use, the fraction of activations and the fraction of channels at or below it."""
    if isinstance(threshold, str):
        tau = row.tau if threshold == RELATIVE_THRESHOLD else ABSOLUTE_THRESHOLDS[threshold]
        return tau, row.sparsity[threshold], row.dead[threshold]
    _, tau, sparsity = _curve_point(row, threshold)
    return tau, sparsity, sum(size <= tau for size in row.channel_mean_abs) / row.channels


def _curve_point(row: RedundancyRow, multiple: float) -> tuple[float, float, float]:
    return min(row.sparsity_curve, key=lambda point: abs(np.log(point[0] / multiple)))


def _threshold_label(row: RedundancyRow, threshold: str | float) -> str:
    if isinstance(threshold, str):
        return "0.01 RMS" if threshold == RELATIVE_THRESHOLD else f"{ABSOLUTE_THRESHOLDS[threshold]:g}"
    return f"{_curve_point(row, threshold)[0]:.2g} RMS"


def spectrum_figure(row: RedundancyRow, template: str | None = None) -> go.Figure:
    """Eigenvalues of the channels' covariance as shares of the variance, and their running sum, over their number; log axes."""
    total = sum(row.spectrum)
    if not total:
        return empty_figure(f"Block {row.block}: the {SITE_NAMES[row.site]} never vary", template)
    shares = np.asarray(row.spectrum) / total
    rank = np.arange(1, len(shares) + 1)
    shown = shares > 0
    figure = go.Figure()
    for name, values, colour, dash in (("One eigenvalue", shares, BLUE, "solid"), ("All up to it", np.cumsum(shares), ORANGE, "dash")):
        figure.add_scatter(
            x=rank[shown], y=100 * values[shown], name=name, mode="lines", line={"color": colour, "dash": dash, **_LINE},
            hovertemplate="Eigenvalue %{x}: %{y:.3g} %<extra></extra>",
        )
    for variant, label, colour in (("singular_values", "singular values", PURPLE), ("covariance_eigenvalues", "eigenvalues", NEUTRAL)):
        value = row.effective_rank[variant]["absolute"]
        figure.add_scatter(
            x=[value, value], y=[100 * shares[shown][-1], 100], mode="lines", line={"color": colour, "dash": "dot", **_LINE},
            name=f"Effective rank {value:.0f} ({label})", hovertemplate=f"Effective rank {value:.1f} of {row.channels}<extra></extra>",
        )
    figure.update_xaxes(title=f"Eigenvalue number, of {row.channels}", type="log", dtick=1)
    figure.update_yaxes(title="% of the variance", type="log", tickformat=".3~g", dtick=1)
    legend = {"orientation": "v", "x": 0.02, "y": 0.04, "yanchor": "bottom", "bgcolor": CLEAR}
    return themed(figure, 360, template).update_layout(legend=legend)


def channel_figure(row: RedundancyRow, template: str | None = None) -> go.Figure:
    """How channels spread: mean |x| with the thresholds of dead channels, and the importance that calibrated TCS ranks by."""
    figure = make_subplots(1, 2, horizontal_spacing=0.18, subplot_titles=("Mean activation", "Importance (TCS)"))
    for col, values, colour, name in ((1, row.channel_mean_abs, BLUE, "Mean |x|"), (2, row.importance, ORANGE, "Importance")):
        positive = np.asarray([value for value in values if value > 0])
        if not len(positive):
            continue
        edges = np.geomspace(positive.min() * 0.999, positive.max() * 1.001, _BINS + 1)
        counts, _ = np.histogram(positive, edges)
        figure.add_bar(
            x=np.sqrt(edges[:-1] * edges[1:]), y=counts, width=np.diff(edges), marker_color=colour, name=name, showlegend=False,
            hovertemplate="%{y} channels around %{x:.3g}<extra></extra>", row=1, col=col,
        )
        ends = [positive.min(), positive.max(), *((row.tau, *ABSOLUTE_THRESHOLDS.values()) if col == 1 else ())]
        ticks = _log_ticks(min(ends), max(ends))
        figure.update_xaxes(
            title=f"{name}, log scale", type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks], row=1, col=col
        )
    levels = {RELATIVE_THRESHOLD: row.tau, **ABSOLUTE_THRESHOLDS}
    top = figure.data[0].y.max() if figure.data else 1
    for (name, tau), colour, dash in zip(levels.items(), (VERMILION, PURPLE, NEUTRAL), ("solid", "dash", "dot"), strict=True):
        label = "0.01 RMS" if name == RELATIVE_THRESHOLD else f"{tau:g}"
        figure.add_scatter(
            x=[tau, tau], y=[0, top], mode="lines", line={"color": colour, "dash": dash, **_LINE}, row=1, col=1,
            name=f"≤ {label}: {row.dead[name] * row.channels:.0f} of {row.channels} dead",
            hovertemplate=f"{label} = {tau:.3g}<extra></extra>",
        )
    figure.update_yaxes(title="Channels", rangemode="tozero")
    themed(figure, 340, template).update_layout(bargap=0, margin={"t": 30}, legend={"y": -0.26, "yanchor": "top"})
    return figure.update_annotations(font_size=14)


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the ends; with twice and five times them where there are few."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1,) if high / low > 30 else (1, 2, 5)
    return [tick for power in powers for step in steps if low / 2 <= (tick := step * 10.0**power) <= 2 * high]


def reconstruction_figure(row: RedundancyRow, dropped_fraction: float | None = None, template: str | None = None) -> go.Figure:
    """R2 over the fraction dropped, in sample, held out, and held out with the halves' roles swapped; `dropped_fraction` is marked."""
    keys = sorted(row.r2, key=float)
    figure = go.Figure()
    swapped = row.convergence["r2"]
    for name, source, part, colour, dash in (
        ("In sample", row.r2, "in_sample", ORANGE, "dash"), ("Held out", row.r2, "held_out", GREEN, "solid"),
        ("Held out, halves swapped", swapped, "held_out", SKY, "dot"),
    ):
        values = [source[key][part] for key in keys]
        figure.add_scatter(
            x=[float(key) for key in keys], y=[max(_R2_FLOOR, value) for value in values], name=name, mode="lines+markers",
            line={"color": colour, "dash": dash, **_LINE}, customdata=values, cliponaxis=False,
            marker={"size": 6, "symbol": ["circle" if value >= _R2_FLOOR else "triangle-down" for value in values]},
            hovertemplate=f"{name}, %{{x:.0%}} dropped: R² %{{customdata:.3f}}<extra></extra>",
        )
    if dropped_fraction is not None:
        figure.add_vline(x=dropped_fraction, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    lowest = min(value for trace in figure.data for value in trace.y)
    figure.update_xaxes(title="Fraction of channels dropped", tickformat=".0%")
    figure.update_yaxes(title="R² of the dropped channels", range=[min(0.0, lowest - 0.03), 1.03])
    return themed(figure, 360, template)
