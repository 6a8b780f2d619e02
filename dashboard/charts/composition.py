"""Figure of composition rows: top-1 of one schedule on the same images in other orders and batches."""

import html
import textwrap
from collections.abc import Sequence
from itertools import cycle

import plotly.graph_objects as go

from dashboard.charts.style import BLUE, NEUTRAL, ORANGE, PURPLE, SKY, VERMILION
from dashboard.charts.theme import empty_figure, themed
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.composition.verdict import judge

_SORTED, _SHUFFLED, _OTHER_SAMPLE = (VERMILION, "square"), ((BLUE, "circle"), (SKY, "diamond")), ((ORANGE, "x"), (PURPLE, "cross"))
_LINE_CHARACTERS = 125
_HOVER = (
    "%{customdata[0]}<br>top-1 %{customdata[1]:.2f} % (%{customdata[2]:.2f} to %{customdata[3]:.2f}), difference to deployment "
    "%{customdata[4]:+.2f} points (%{customdata[5]:+.2f} to %{customdata[6]:+.2f})<br>%{customdata[7]:.2f} % of predictions as in "
    "deployment%{customdata[8]}<br>%{customdata[9]} images<extra></extra>"
)


def composition_figure(rows: Sequence[CompositionRow], template: str | None = None) -> go.Figure:
    """Top-1 with its 95 % interval over the batch size, one mark a condition; a ring and a line mark deployment, the verdict is on top.

    The rows are those of one analysis.
    """
    if not rows:
        return empty_figure("No batch composition measured yet", template)
    figure = go.Figure()
    deployment = next((row for row in rows if row.deployment), None)
    sizes = sorted({row.batch_size for row in rows})
    for name, (colour, symbol), chosen in _series(rows, deployment):
        figure.add_scatter(
            x=[str(row.batch_size) for row in chosen], y=[row.top1 for row in chosen], name=name, mode="markers", offsetgroup=name,
            marker={
                "color": colour, "symbol": symbol, "opacity": 1, "size": [14 if row.deployment else 9 for row in chosen],
                "line": {"color": NEUTRAL, "width": [3 if row.deployment else 0 for row in chosen]},
            },
            error_y={
                "type": "data", "array": [row.ci95[1] - row.top1 for row in chosen],
                "arrayminus": [row.top1 - row.ci95[0] for row in chosen], "color": colour, "thickness": 1.5, "width": 3,
            },
            customdata=[_custom(row) for row in chosen], hovertemplate=_HOVER,
        )
    if deployment is not None:
        figure.add_hline(
            y=deployment.top1, line={"color": NEUTRAL, "width": 1, "dash": "dash"}, annotation_text="deployment: single images",
            annotation_position="bottom right", annotation_font_color=NEUTRAL,
        )
    text = html.escape(f"{rows[0].model}, {rows[0].selection}: {judge(rows).sentence}")
    sentence = textwrap.wrap(text, _LINE_CHARACTERS, break_on_hyphens=False)
    low, high = min(row.ci95[0] for row in rows), max(row.ci95[1] for row in rows)
    figure.update_xaxes(title="Images in a batch", type="category", categoryorder="array", categoryarray=[str(size) for size in sizes])
    # a range of its own, since grouped marks would start at zero
    figure.update_yaxes(title="Top-1, %", range=[low - 0.05 * (high - low), high + 0.05 * (high - low)])
    return themed(figure, 400 + 18 * len(sentence), template).update_layout(
        scattermode="group", margin_t=36 + 18 * len(sentence), legend={"y": -0.2, "yanchor": "top"},
        title={"text": "<br>".join(sentence), "font": {"size": 13}, "x": 0, "xref": "paper", "y": 1, "yanchor": "top", "pad": {"t": 12}},
    )


def _series(
    rows: Sequence[CompositionRow], deployment: CompositionRow | None
) -> list[tuple[str, tuple[str, str], list[CompositionRow]]]:
    """Rows by what the legend tells apart, each with its colour and symbol."""
    own_sample = (deployment or rows[0]).token_seed
    groups: dict[tuple, list[CompositionRow]] = {}
    for row in rows:
        seed = row.seed if row.order == "shuffled" else None
        groups.setdefault((row.token_seed != own_sample, row.order, seed, row.token_seed), []).append(row)
    series, looks = [], {False: cycle(_SHUFFLED), True: cycle(_OTHER_SAMPLE)}
    for (other, order, seed, token_seed), chosen in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or 0)):
        look = _SORTED if order == "sorted" and not other else next(looks[other])
        name = "Class order" if order == "sorted" else f"Shuffled, seed {seed}"
        series.append((f"{name}, token sample {token_seed}" if other else name, look, sorted(chosen, key=lambda row: row.batch_size)))
    return series


def _custom(row: CompositionRow) -> list:
    overlaps = [f"{site} {value:.3f}" for site, value in (("fc1", row.jaccard_fc1), ("fc2", row.jaccard_fc2)) if value is not None]
    kept = f"<br>kept channels in common (Jaccard): {', '.join(overlaps)}" if overlaps else ""
    return [row.words.capitalize(), row.top1, *row.ci95, row.top1_delta, *row.delta_ci95, row.agreement, kept, row.images]
