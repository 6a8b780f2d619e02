"""Figure of a recovery: loss and validation accuracy, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts.style import BLUE, GREEN, NEUTRAL, ORANGE
from dashboard.charts.theme import empty_figure, themed
from toast_core.intervals import wilson_percent

_MOST_TICKS = 10
_LOSSES = {"training_loss": ("Training loss", NEUTRAL), "validation_loss": ("Validation loss", ORANGE)}
_ACCURACIES = {"validation_top1": ("Top-1", BLUE), "validation_agreement": ("Agrees with the baseline", GREEN)}


def chosen_epoch(rows: Sequence[Mapping]) -> int:
    """The epoch whose weights are kept: the first of the lowest validation loss, the start included."""
    return min(rows, key=lambda row: (row["validation_loss"], row["epoch"]))["epoch"]


def recovery_figure(rows: Sequence[Mapping], template: str | None = None) -> go.Figure:
    """Both losses on the left, validation accuracies with 95 % intervals on the right; a dotted line marks the best epoch so far.

    Args:
        rows: epochs in order, the start as epoch 0, see `toast_core.recovery`; accuracies in percent.
    """
    if not rows:
        return empty_figure("No epoch has ended yet", template)
    images = rows[-1]["validation_images"]
    figure = make_subplots(1, 2, horizontal_spacing=0.12, subplot_titles=("Loss", f"Of {images:,} validation images, %"))
    for field, (name, colour) in _LOSSES.items():
        seen = [row for row in rows if row[field] is not None]
        figure.add_trace(_line(seen, field, name, colour), 1, 1)
    for field, (name, colour) in _ACCURACIES.items():
        seen = [row for row in rows if row[field] is not None]
        if seen:
            ends = [wilson_percent(round(row[field] * images / 100), images) for row in seen]
            line = _line(seen, field, name, colour).update(error_y={
                "type": "data", "array": [high - row[field] for row, (_, high) in zip(seen, ends, strict=True)],
                "arrayminus": [row[field] - low for row, (low, _) in zip(seen, ends, strict=True)], "thickness": 1, "width": 4,
            })
            figure.add_trace(line, 1, 2)
    figure.add_vline(x=chosen_epoch(rows), line={"color": NEUTRAL, "dash": "dot", "width": 1})
    last = rows[-1]["epoch"]
    figure.update_xaxes(title="Epoch", range=[-0.2, last + 0.2], tick0=0, dtick=math.ceil(max(last, 1) / _MOST_TICKS))
    return themed(figure, 320, template).update_layout(margin_t=64, legend_y=1.14)


def _line(rows: Sequence[Mapping], field: str, name: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[row["epoch"] for row in rows], y=[row[field] for row in rows], mode="lines+markers", name=name, line={"color": colour},
        hovertemplate=f"epoch %{{x}}: {name.lower()} %{{y:.4g}}<extra></extra>",
    )
