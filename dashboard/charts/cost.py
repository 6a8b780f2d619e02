"""Figures of what a model costs, in GMACs."""

import plotly.graph_objects as go

from dashboard.charts.style import NEUTRAL, PART_COLOURS, finish
from toast_core.cost.macs import Cost


def parts_figure(cost: Cost) -> go.Figure:
    """GMACs by part of the model, one bar a part; parts that cost nothing are left out."""
    parts = {
        "Attention": sum(block.attention_macs for block in cost.blocks), "Feed-forward": sum(block.ffn_macs for block in cost.blocks),
        "Embedding": cost.embed_macs, "Merging": cost.merge_macs, "Head": cost.head_macs,
    }
    shown = {name: macs for name, macs in parts.items() if macs}
    figure = go.Figure(go.Bar(
        y=list(shown), x=[macs / 1e9 for macs in shown.values()], orientation="h", marker_color=[PART_COLOURS[name] for name in shown],
        text=[_share(macs / cost.macs) for macs in shown.values()], textposition="outside", cliponaxis=False,
        hovertemplate="%{y}: %{x:.4g} GMACs<extra></extra>",
    ))
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="GMACs per image", range=[0, 1.3 * max(shown.values()) / 1e9], nticks=5)
    return finish(figure, 60 + 42 * len(shown)).update_layout(margin_t=8)


def blocks_figure(cost: Cost, baseline: Cost | None = None) -> go.Figure:
    """GMACs of every block, attention and feed-forward stacked; with a baseline, its total as a mark over each bar."""
    blocks = list(range(len(cost.blocks)))
    figure = go.Figure()
    for name, values in (
        ("Attention", [block.attention_macs for block in cost.blocks]), ("Feed-forward", [block.ffn_macs for block in cost.blocks])
    ):
        figure.add_bar(
            x=blocks, y=[macs / 1e9 for macs in values], name=name, marker_color=PART_COLOURS[name],
            hovertemplate=f"Block %{{x}}, {name.lower()}: %{{y:.4g}} GMACs<extra></extra>",
        )
    if baseline is not None:
        figure.add_scatter(
            x=blocks, y=[block.macs / 1e9 for block in baseline.blocks], name="Baseline", mode="markers",
            marker={"symbol": "line-ew", "size": 16, "line": {"width": 3, "color": NEUTRAL}, "color": NEUTRAL},
            hovertemplate="Block %{x}, baseline: %{y:.4g} GMACs<extra></extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="Block", range=[-0.6, len(blocks) - 0.4], tickmode="linear", tick0=0, dtick=max(1, len(blocks) // 12))
    figure.update_yaxes(title="GMACs per image", rangemode="tozero")
    return finish(figure, 300)


def _share(fraction: float) -> str:
    return f"{100 * fraction:.1f} %" if fraction >= 0.0005 else "below 0.1 %"
