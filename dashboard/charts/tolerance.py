"""How far each site of each block can be pruned alone before it costs more than a given loss: the short answer of a sensitivity sweep."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.charts.sensitivity import METRICS, Row, basis_in_words, figure_text, percent
from dashboard.charts.style import BLUE
from dashboard.charts.theme import empty_figure, themed
from dashboard.wording import points_interval
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.tasks.registry import task_of_row

_SCALE, _VEIL = [[0.0, "#EAF1F6"], [1.0, BLUE]], "rgba(138, 143, 152, 0.15)"
_ROW_HEIGHT = 34


@dataclass(frozen=True)
class Tolerance:
    """The largest ratio that a site of a block stands; `row` is the sweep's row of it, None where no measured ratio does."""

    block: int
    site: str
    row: Row | None

    @property
    def ratio(self) -> float:
        """The fraction dropped, 0 where none is stood."""
        return self.row["ratio"] if self.row else 0.0


def tolerances(rows: Sequence[Row], limit_points: float = 1.0) -> list[Tolerance]:
    """For every block and site, the largest ratio whose whole 95 % interval of the difference lies above -`limit_points`.

    Points of top-1; hundredths of the cosine of a model without a classifier.
    """
    places = sorted({(row["site"], row["block"]) for row in rows})
    kept = [row for row in rows if row["ci95"][0] > -limit_points / (1 if "top1_delta" in row else 100)]
    stood = {place: [row for row in kept if (row["site"], row["block"]) == place] for place in places}
    return [Tolerance(block, site, max(stood[site, block], key=lambda row: row["ratio"], default=None)) for site, block in places]


def tolerance_figure(found: Sequence[Tolerance], sites: Sequence[str], template: str | None = None) -> go.Figure:
    """A heat map of sites by blocks with the largest ratio stood, in percent; a dash where no measured ratio is."""
    if not found:
        return empty_figure("No sensitivity measured yet", template)
    blocks, places = sorted({one.block for one in found}), {(one.site, one.block): one for one in found}
    grid = [[places.get((site, block)) for block in blocks] for site in sites]
    figure = go.Figure(go.Heatmap(
        z=[[one.ratio if one else None for one in line] for line in grid], x=[str(block) for block in blocks], y=list(sites),
        zmin=0, zmax=1, colorscale=_SCALE, xgap=2, ygap=2, hoverongaps=False, showscale=False,
        text=[[_label(one) for one in line] for line in grid], texttemplate="%{text}", textfont={"size": 12},
        customdata=[[_words(one) for one in line] for line in grid], hovertemplate="%{customdata}<extra></extra>",
    ))
    figure.update_xaxes(title="Block", type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return themed(figure, 60 + _ROW_HEIGHT * len(sites), template).update_layout(margin_t=8, plot_bgcolor=_VEIL)


def _label(one: Tolerance | None) -> str:
    if one is None:
        return ""
    return percent(one.ratio) if one.row else "\N{EN DASH}"


def _words(one: Tolerance | None) -> str:
    if one is None:
        return "not measured"
    if one.row is None:
        return f"Block {one.block}, {one.site}: no measured ratio"
    shown = task_of_row(one.row).figures[0]
    estimate = Estimate(one.row[f"{shown.key}_delta"], tuple(one.row["ci95"]))
    difference = f"{figure_text(one.row, METRICS[shown.key])} {shown.change_unit}".rstrip()
    words = f"{shown.label} {difference}, 95 % {points_interval(estimate, shown)}"
    return f"Block {one.block}, {one.site}: {percent(one.ratio)} dropped<br>{words}<br>{basis_in_words(one.row)}"
