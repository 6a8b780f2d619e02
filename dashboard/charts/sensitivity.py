"""Figures of sensitivity rows (the paper's Fig. 5): what pruning one site of one block costs, by any of a task's metrics.

A row is a mapping with `block`, `site`, `ratio`, `images`, and for the metrics drawn the fields that METRICS names: `top1_delta`
(percentage points, pruned minus baseline on the same images) with `ci95` ([low, high] of that difference), and so forth. A metric
whose interval a row lacks is drawn without one, and a row without the metric is left out. Rows with `predicted` rest on a prediction
(`toast_core.studies.sensitivity.forecast`): they are in brackets, and the hover says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from dashboard.charts.style import BLUE, GREEN, NEUTRAL, ORANGE, PURPLE, SKY, VERMILION
from dashboard.charts.theme import empty_figure, faded, themed
from dashboard.wording import decimals, signed
from toast_core.studies.evaluation.result import Estimate

_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
_NO_CHANGE, _INK = "#F2F2F2", "#10222E"
_CELL_HEIGHT = 30
_SMALLEST_RANGE = 1e-3
_FEW = 6  # bands of more blocks are fainter: they lie on each other
UNDECIDED = "≈"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """One way to say what a cell costs.

    label     what the value is
    unit      points (of accuracy), nats, or none
    value     the row's field
    interval  the row's field of its 95 % interval; None where none is stored
    harm      the sign of a loss: -1 for accuracies and cosines, +1 for loss and divergence
    digits    the most that a value is written with
    """

    label: str
    unit: str
    value: str
    interval: str | None
    harm: int
    digits: int = 3

    @property
    def heading(self) -> str:
        """Label and unit, for an axis."""
        return f"{self.label}, {self.unit}".rstrip(", ")


METRICS = {
    "top1": Metric("Top-1 difference", "points", "top1_delta", "ci95", -1),
    "top5": Metric("Top-5 difference", "points", "top5_delta", "top5_ci95", -1),
    "loss": Metric("Loss difference", "nats", "loss_delta", "loss_ci95", 1),
    "kl": Metric("KL divergence", "nats", "kl", None, 1),
    "cosine": Metric("Feature cosine difference", "", "cosine_delta", "ci95", -1, 5),
    "tokens": Metric("Token cosine difference", "", "tokens_delta", "tokens_ci95", -1, 5),
}


def metrics_of(rows: Sequence[Row]) -> dict[str, Metric]:
    """The metrics that these rows have a figure of, by name, the headline first; those of accuracy where there are no rows."""
    fields = {field for row in rows for field in row} if rows else {"top1_delta", "top5_delta", "loss_delta", "kl"}
    return {name: metric for name, metric in METRICS.items() if metric.value in fields}


def estimate_of(row: Row, metric: Metric) -> Estimate | None:
    """The value with its interval; None where the row has no interval of this metric."""
    interval = row.get(metric.interval) if metric.interval else None
    return Estimate(row[metric.value], tuple(interval)) if interval else None


def is_undecided(row: Row, metric: Metric) -> bool:
    """Whether the 95 % interval contains no change: the cell cannot be told apart from the baseline."""
    estimate = estimate_of(row, metric)
    return estimate is not None and estimate.ci95[0] <= 0 <= estimate.ci95[1]


def is_predicted(row: Row) -> bool:
    """Whether the row rests on a prediction: few images of the cell were measured, or none."""
    return bool(row.get("predicted"))


def basis_in_words(row: Row) -> str:
    """What a row rests on: `2,000 images`, or from what it is predicted."""
    if not is_predicted(row):
        return f"{row['images']:,} images"
    own = f"{row['images']:,} images of its own and " if row["images"] else ""
    return f"predicted from {own}a sketch of {row['sketched']:,} images, set right by {row['calibrated_by']} measured cells of the site"


def of_site(rows: Sequence[Row], site: str) -> list[Row]:
    """The rows of one site, by block, then ratio."""
    return sorted((row for row in rows if row["site"] == site), key=lambda row: (row["block"], row["ratio"]))


def percent(ratio: float) -> str:
    """A ratio as a label: `50%`, or 0.333 where it is no whole percentage."""
    return f"{ratio:.0%}" if round(100 * ratio, 6) == round(100 * ratio) else f"{ratio:.3g}"


def figure_text(row: Row, metric: Metric) -> str:
    """The value with as many digits as its interval supports; two significant ones where there is no interval."""
    estimate = estimate_of(row, metric)
    return signed(row[metric.value], decimals(estimate, metric.digits)) if estimate else f"{row[metric.value]:.2g}"


def sensitivity_curves(
    rows: Sequence[Row], site: str, template: str | None = None, metric: str = "top1", block: int | None = None
) -> go.Figure:
    """The metric over the ratio, one curve a block with its 95 % band; a click in the legend hides curve and band.

    With `block`, its curve stands out: the others are thin and have no band.
    """
    asked = METRICS[metric]
    chosen = [row for row in of_site(rows, site) if asked.value in row]
    if not chosen:
        return empty_figure(f"No sensitivity of {site} measured yet", template)
    figure, blocks = go.Figure(), sorted({row["block"] for row in chosen})
    strength = 0.3 if block is not None else 0.13 if len(blocks) <= _FEW else 0.06
    for number, index in enumerate(blocks):
        cells = [row for row in chosen if row["block"] == index]
        ratios = [row["ratio"] for row in cells]
        colour, cycle = _COLOURS[number % len(_COLOURS)], number // len(_COLOURS) % len(_DASHES)
        stands_out = block in (None, index)
        bands = [estimate_of(row, asked) for row in cells]
        if stands_out and all(bands):
            figure.add_scatter(
                x=[*ratios, *reversed(ratios)], y=[*(band.ci95[0] for band in bands), *(band.ci95[1] for band in reversed(bands))],
                fill="toself", fillcolor=faded(colour, strength), line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False,
                legendgroup=str(index),
            )
        figure.add_scatter(
            x=ratios, y=[row[asked.value] for row in cells], name=f"{index}", legendgroup=str(index), mode="lines+markers",
            line={"color": colour, "dash": _DASHES[cycle], "width": 2 if block is None else 3 if stands_out else 1},
            marker={"symbol": _SYMBOLS[cycle], "size": 7 if stands_out else 4}, opacity=1 if stands_out else 0.45,
            customdata=[_custom(row, asked) for row in cells], hovertemplate=_HOVER,
        )
    figure.add_hline(y=0, line={"color": NEUTRAL, "width": 1})
    figure.update_xaxes(title=f"Ratio dropped at {site}", tickformat=".0%")
    figure.update_yaxes(title=_axis(asked))
    return themed(figure, 420, template).update_layout(
        margin_t=12, legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top", "title": {"text": "Block"}}
    )


def sensitivity_heatmap(
    rows: Sequence[Row], site: str, template: str | None = None, metric: str = "top1", outlined: tuple[int, float] | None = None
) -> go.Figure:
    """The metric of every block and ratio; blank where nothing is measured.

    A cell whose interval contains no change is marked and has the colour of no change, so that noise is not seen as a pattern.
    Selecting a cell on a page yields a point whose customdata starts with block and ratio; `outlined` draws a frame around one.
    """
    asked = METRICS[metric]
    chosen = [row for row in of_site(rows, site) if asked.value in row]
    if not chosen:
        return empty_figure(f"No sensitivity of {site} measured yet", template)
    blocks, ratios = sorted({row["block"] for row in chosen}), sorted({row["ratio"] for row in chosen})
    cells = {(row["block"], row["ratio"]): row for row in chosen}
    grid = [[cells.get((block, ratio)) for ratio in ratios] for block in blocks]
    low, high = _range([_colour_value(row, asked) for row in chosen], asked)
    labels = {ratio: percent(ratio) for ratio in ratios}
    figure = go.Figure(go.Heatmap(
        z=[[_colour_value(row, asked) if row else None for row in line] for line in grid],
        x=list(labels.values()), y=[str(block) for block in blocks],
        zmin=low, zmax=high, colorscale=_scale(low, high, asked.harm), xgap=2, ygap=2, hoverinfo="skip",
        text=[[_cell(row, asked) if row else "" for row in line] for line in grid], texttemplate="%{text}",
        textfont={"size": 11, "color": _INK},
        colorbar={"title": {"text": asked.heading, "side": "right"}, "thickness": 12},
    ))
    # a heat map yields no selection events; markers over its cells do, and carry the hover
    figure.add_scatter(
        x=[labels[row["ratio"]] for row in chosen], y=[str(row["block"]) for row in chosen], mode="markers", showlegend=False,
        customdata=[_custom(row, asked) for row in chosen], hovertemplate=_HOVER,
        marker={"symbol": "square", "size": _CELL_HEIGHT - 4, "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
    )
    if any(is_undecided(row, asked) for row in chosen):
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=f"{UNDECIDED} cannot tell apart: the 95 % interval contains 0",
            marker={"symbol": "square", "size": 12, "color": _NO_CHANGE, "line": {"color": NEUTRAL, "width": 1}},
        )
    if any(map(is_predicted, chosen)):
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name="( ) predicted, not measured to its end",
            marker={"symbol": "square-open", "size": 12, "color": NEUTRAL},
        )
    if outlined in cells:
        row, column = blocks.index(outlined[0]), ratios.index(outlined[1])
        figure.add_shape(
            type="rect", x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5, line={"color": BLUE, "width": 3},
        )
    figure.update_xaxes(title=f"Ratio dropped at {site}", type="category", showgrid=False)
    figure.update_yaxes(title="Block", type="category", autorange="reversed", showgrid=False)
    return themed(figure, 110 + _CELL_HEIGHT * len(blocks), template)


_HOVER = "%{customdata[2]}<extra></extra>"


def _custom(row: Row, metric: Metric) -> list:
    """Block, ratio, and the words of the hover."""
    estimate, value = estimate_of(row, metric), row[metric.value]
    if estimate:
        digits, unit = decimals(estimate, metric.digits) + 1, f" {metric.unit}" if metric.unit else ""
        figures = f"{signed(value, digits)}{unit}, 95 % interval {' to '.join(signed(end, digits) for end in estimate.ci95)}"
    else:
        figures = f"{value:.3g} {metric.unit}"
    lines = [f"Block {row['block']}, {percent(row['ratio'])} dropped", f"{metric.label} {figures}", basis_in_words(row)]
    if is_undecided(row, metric):
        lines.append("cannot tell apart from the baseline")
    return [row["block"], row["ratio"], "<br>".join(lines)]


def _cell(row: Row, metric: Metric) -> str:
    text = UNDECIDED if is_undecided(row, metric) else figure_text(row, metric)
    return f"({text})" if is_predicted(row) else text


def _colour_value(row: Row, metric: Metric) -> float:
    return 0.0 if is_undecided(row, metric) else row[metric.value]


def _axis(metric: Metric) -> str:
    return f"{metric.label} {'to' if metric.interval else 'from'} the baseline, {metric.unit}".rstrip(", ")


def _range(values: Sequence[float], metric: Metric) -> tuple[float, float]:
    """From the largest loss to the largest gain, or the other way round, with no change inside."""
    least = 1.0 if metric.unit == "points" else _SMALLEST_RANGE
    low, high = min(0.0, *values), max(0.0, *values)
    low, high = (min(low, -least), high) if metric.harm < 0 else (low, max(high, least))
    size = max(-low, high)
    return min(low, -0.02 * size), max(high, 0.02 * size)


def _scale(low: float, high: float, harm: int) -> list[list]:
    """Losses towards vermilion, gains towards blue, no change near white; equal strength for equal size on both sides."""
    size = max(-low, high)
    zero = -low / (high - low)
    below, above = -low / size, high / size
    if harm < 0:
        return [[0.0, _mix(VERMILION, below)], [zero / 2, _mix(ORANGE, 0.7 * below)], [zero, _NO_CHANGE], [1.0, _mix(BLUE, above)]]
    middle = (1 + zero) / 2
    return [[0.0, _mix(BLUE, below)], [zero, _NO_CHANGE], [middle, _mix(ORANGE, 0.7 * above)], [1.0, _mix(VERMILION, above)]]


def _mix(colour: str, weight: float) -> str:
    """A colour faded towards no change."""
    parts = ((int(colour[i : i + 2], 16), int(_NO_CHANGE[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(weight * a + (1 - weight) * b):02X}" for a, b in parts)
