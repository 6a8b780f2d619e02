"""Sensitivity: what pruning one site of one block costs, measured cell by cell (the paper's Fig. 5), also while a sweep still runs."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.sensitivity import (
    UNDECIDED,
    Metric,
    Row,
    basis_in_words,
    estimate_of,
    figure_text,
    is_predicted,
    is_undecided,
    metrics_of,
    of_site,
    percent,
    sensitivity_curves,
    sensitivity_heatmap,
)
from dashboard.components.analysis_choice import choose_analysis, show_command
from dashboard.components.figure import show_figure, show_table
from dashboard.components.heading import show_heading
from dashboard.components.sketch_map import show_sketch_map
from dashboard.evidence.find import Evidence, find_evidence
from dashboard.evidence.intervals import with_intervals
from dashboard.evidence.sweep import planned_cells
from dashboard.session import state, view
from dashboard.session.whole import whole
from toast_core.cost.macs import count_cost
from toast_core.schedule.schedule import Schedule
from toast_core.studies.tasks.base import Figure
from toast_core.studies.tasks.registry import task_of_row

_REFRESH_S = 2.0
_SITE_HELP = {
    "qk": "query and key dimensions of every head", "vo": "value and output dimensions of every head", "qk+vo": "both halves of attention",
    "fc1": "input channels of the feed-forward network", "fc2": "its hidden units", "fc1+fc2": "both",
}
_METRIC_LABELS = {"top1": "Top-1", "top5": "Top-5", "loss": "Loss", "kl": "KL", "cosine": "Features", "tokens": "Tokens"}
_METRIC_HELP = {
    "top1": "Differences to the unpruned model on the same images; KL is how far the class probabilities move, in nats.",
    "cosine": "Cosine similarity to the unpruned model's pooled features and patch tokens on the same images, less 1.",
}
_ALL = "all"
_SMALLEST_SHOWN = 0.001
_MEASURED = wording.BADGES["measured"]
_HEATMAP_KEY = "sensitivity-heatmap"
_WHAT = "One site of one block is pruned, everything else is left alone, and the same images go through both models."


def render() -> None:
    """Show the page; the figures of a sweep that still runs are drawn again every two seconds."""
    show_heading("Sensitivity")
    st.markdown(_WHAT)
    evidence = choose_analysis("sensitivity")
    if evidence is None:
        show_sketch_map()
        return
    sites = _sites(evidence)
    if not sites:
        st.info("This analysis has no cell yet.")
        return
    left, right = st.columns(2)
    help_text = "  \n".join(f"{site}: {_SITE_HELP[site]}" for site in sites)
    key = view.choice_key("sensitivity", "site", sites, "fc2" if "fc2" in sites else sites[0])
    site = left.segmented_control("Site", sites, required=True, key=key, help=help_text, wrap=True)
    names = list(metrics_of(evidence.rows()))
    key = view.choice_key("sensitivity", "metric", names, names[0])
    metric = right.segmented_control(
        "Metric", names, format_func=_METRIC_LABELS.__getitem__, required=True, key=key,
        help=_METRIC_HELP[names[0]],
    )
    st.fragment(_show_cells, run_every=None if evidence.finished else _REFRESH_S)(evidence, site, metric)
    show_command(evidence)


def _sites(evidence: Evidence) -> list[str]:
    """The sites that the analysis is about; where its request does not list them, those of its cells."""
    planned = [site for _, site, _ in planned_cells(evidence.analysis)]
    return list(dict.fromkeys(planned or [row["site"] for row in evidence.rows()]))


def _show_cells(evidence: Evidence, site: str, name: str) -> None:
    """The part of the page that follows a running sweep."""
    if not evidence.finished and _is_finished_now(evidence):
        st.rerun()
    try:
        rows = of_site(evidence.rows(), site)
        rows = with_intervals(evidence, rows) if name in ("top5", "loss") else rows
    except StoreError as error:
        st.error(str(error))
        return
    if not evidence.finished:
        _show_progress(evidence, rows, site)
    if not rows:
        st.info("No cell of this site is measured yet.")
        view.publish(analysis=evidence.short_id, site=site, metric=name)
        return
    metric = metrics_of(rows).get(name)
    if metric is None:
        st.info("No cell of this site is measured in this metric: predicted cells have top-1 and KL alone.")
        view.publish(analysis=evidence.short_id, site=site, metric=name)
        return
    block, ratio = _chosen_cell(rows)
    left, right = st.columns([3, 2])
    with left.container(border=True, height="stretch"):
        st.markdown(f"**{metric.label} by block and ratio** {_badges(rows)}  \n{_noise_in_words(rows, metric)}")
        figure = sensitivity_heatmap(rows, site, metric=name, outlined=(block, ratio))
        show_figure(figure, _HEATMAP_KEY, f"sensitivity-{evidence.short_id}-{site}-{name}-heatmap", _alt(site, metric), _take_selected)
    with right.container(border=True, height="stretch"):
        _show_cell(evidence, rows, site, block, ratio)
    with st.container(border=True):
        _show_curves(evidence, rows, site, name)
    with st.expander("As a table"):
        show_table(_table(rows), "sensitivity-table", f"sensitivity-{evidence.short_id}-{site}")
    view.publish(analysis=evidence.short_id, site=site, metric=name, block=str(block), ratio=f"{ratio:g}")


def _is_finished_now(evidence: Evidence) -> bool:
    shape = state.model_shape()
    found = find_evidence(state.engine_client().setup, shape.name)
    return any(one.short_id == evidence.short_id and one.finished for one in found.evidence)


def _show_progress(evidence: Evidence, rows: Sequence[Row], site: str) -> None:
    """How much of the site is measured; cells of a sweep that runs have seen fewer images than it will give them."""
    planned = sum(one == site for _, one, _ in planned_cells(evidence.analysis))
    # a predicted cell is done, whatever it has seen
    share = sum(evidence.images if is_predicted(row) else row["images"] for row in rows) / max(1, evidence.images * planned)
    seen = min((row["images"] for row in rows if not is_predicted(row)), default=0)
    st.progress(min(1.0, share), text=(
        f"This sweep is not finished: {share:.0%} of {site}. Figures are of the images so far (at least {seen:,} of {evidence.images:,}) "
        "and are drawn again every two seconds."
    ))


def _noise_in_words(rows: Sequence[Row], metric: Metric) -> str:
    predicted = sum(map(is_predicted, rows))
    first = f"{predicted} of {len(rows)} cells are predicted, those in brackets. " if predicted else ""
    rows = [row for row in rows if metric.value in row]
    images = max(row["images"] for row in rows)
    estimates = [estimate for row in rows if (estimate := estimate_of(row, metric))]
    if not estimates:
        return f"{first}{images:,} images. The store keeps no interval of this metric, so noise cannot be told from effect here."
    undecided = sum(is_undecided(row, metric) for row in rows)
    halves = sorted((estimate.ci95[1] - estimate.ci95[0]) / 2 for estimate in estimates)
    return (
        f"{first}{undecided} of {len(rows)} cells cannot be told apart from the baseline ({UNDECIDED}). "
        f"{f'With {images:,} images half' if images else 'Half'} of the 95 % intervals are within "
        f"{_plus_minus(halves[len(halves) // 2])} {metric.unit}, the widest is {_plus_minus(halves[-1])}."
    )


def _plus_minus(half: float) -> str:
    return f"\N{PLUS-MINUS SIGN}{half:.2g}" if half >= _SMALLEST_SHOWN else f"\N{PLUS-MINUS SIGN}{_SMALLEST_SHOWN}"


def _alt(site: str, metric: Metric) -> str:
    return f"Heat map of the {metric.label.lower()} of {site} by block and ratio; the table below has the same figures"


def _chosen_cell(rows: Sequence[Row]) -> tuple[int, float]:
    """The cell whose details are shown: chosen by a click on the heat map or in the boxes beside it."""
    blocks = [str(block) for block in dict.fromkeys(row["block"] for row in rows)]
    block = int(st.session_state[view.choice_key("sensitivity", "block", blocks, blocks[0])])
    ratios = [f"{row['ratio']:g}" for row in rows if row["block"] == block]
    return block, float(st.session_state[view.choice_key("sensitivity", "ratio", ratios, ratios[len(ratios) // 2])])


def _take_selected() -> None:
    points = st.session_state[_HEATMAP_KEY]["selection"]["points"]
    if points:
        block, ratio, _ = points[-1]["customdata"]
        view.choose("sensitivity", "block", str(block))
        view.choose("sensitivity", "ratio", f"{ratio:g}")


def _show_cell(evidence: Evidence, rows: Sequence[Row], site: str, block: int, ratio: float) -> None:
    blocks = [str(value) for value in dict.fromkeys(row["block"] for row in rows)]
    ratios = [f"{row['ratio']:g}" for row in rows if row["block"] == block]
    shown = next(row for row in rows if (row["block"], row["ratio"]) == (block, ratio))
    st.markdown(f"**One cell** {_badges([shown])}  \nClick one in the heat map, or choose it here.")
    left, right = st.columns(2)
    left.selectbox("Block", blocks, key="view-sensitivity-block")
    right.selectbox("Ratio dropped", ratios, key="view-sensitivity-ratio", format_func=lambda text: percent(float(text)))
    row = with_intervals(evidence, [shown])[0] if "top1" in shown else shown
    for metric in metrics_of([row]).values():
        value = f"{figure_text(row, metric)} {metric.unit}".rstrip()
        st.markdown(f":gray[{metric.label}]  \n**{value}**{_interval_in_words(row, metric)}")
    figures = [f"{one.label} {one.number(row[one.key])} {one.unit}".rstrip() for one in _figures_of(row)]
    line = ", ".join(figures)
    st.caption(f"{line[:1].upper()}{line[1:]}{', ' if is_predicted(row) else ' on '}{basis_in_words(row)}")
    _show_saving(site, block, ratio)


def _interval_in_words(row: Row, metric: Metric) -> str:
    estimate = estimate_of(row, metric)
    if estimate is None:
        return ", no interval stored"
    digits = wording.decimals(estimate, metric.digits)
    low, high = (wording.signed(end, digits) for end in estimate.ci95)
    return f", 95 %: {low} to {high}" + ("; cannot tell apart from the baseline" if is_undecided(row, metric) else "")


def _show_saving(site: str, block: int, ratio: float) -> None:
    """What the cell saves by itself, and a way to take it into the schedule in hand."""
    shape, schedule = state.model_shape(), state.schedule()
    baseline, taken = count_cost(shape), schedule
    alone = Schedule.uniform(len(schedule.blocks), selection=schedule.selection)
    for name in site.split("+"):
        alone, taken = alone.with_ratio(block, name, ratio), taken.with_ratio(block, name, ratio)
    macs = count_cost(shape, alone).macs
    saved = wording.change(macs, baseline.macs)
    st.markdown(
        f":gray[Alone it saves]  \n**{(baseline.macs - macs) / 1e9:.2g} GMACs** per image ({saved}) {wording.BADGES['computed']}  \n"
        f":gray[counted for {schedule.selection.replace('_', ' ')} selection, as in the schedule in hand]"
    )
    label = f"Put block {block} {site} {100 * ratio:.3g} % into the schedule"
    st.button(label, on_click=whole(state.edit), args=(taken,), disabled=taken == schedule, key="take-cell")


def _show_curves(evidence: Evidence, rows: Sequence[Row], site: str, name: str) -> None:
    blocks = [_ALL, *(str(block) for block in dict.fromkeys(row["block"] for row in rows))]
    words, choice = st.columns([2, 3], vertical_alignment="bottom")
    words.markdown(f"**{metrics_of(rows)[name].label} over the ratio, with 95 % bands** {_badges(rows)}")
    highlighted = choice.segmented_control("Stands out", blocks, default=_ALL, required=True, key="sensitivity-stands-out", wrap=True)
    figure = sensitivity_curves(rows, site, metric=name, block=None if highlighted == _ALL else int(highlighted))
    show_figure(
        figure, "sensitivity-curves", f"sensitivity-{evidence.short_id}-{site}-{name}-curves",
        f"Curves of the {metrics_of(rows)[name].label.lower()} of {site} over the ratio, one a block",
    )


def _figures_of(row: Row) -> list[Figure]:
    """The task's figures that a row has a mean of."""
    return [figure for figure in task_of_row(row).figures if figure.key in row]


def _table(rows: Sequence[Row]) -> pd.DataFrame:
    return _accuracy_table(rows) if "top1" in rows[0] else _feature_table(rows)


def _badges(rows: Sequence[Row]) -> str:
    """What the rows are: measured, predicted, or some of each."""
    predicted = [is_predicted(row) for row in rows]
    return " ".join([*([] if all(predicted) else [_MEASURED]), *([wording.BADGES["predicted"]] if any(predicted) else [])])


def _basis(row: Row) -> str:
    return "predicted" if is_predicted(row) else "measured"


def _rounded(row: Row, name: str, digits: int) -> float | None:
    return round(row[name], digits) if name in row else None


def _feature_table(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame([{
        "Block": row["block"], "Ratio": row["ratio"], "Feature cosine": round(row["cosine"], 5),
        "Difference": round(row["cosine_delta"], 5), "95 % low": round(row["ci95"][0], 5), "95 % high": round(row["ci95"][1], 5),
        "Token cosine": _rounded(row, "tokens", 5), "Images": row["images"], "Basis": _basis(row),
    } for row in rows])


def _accuracy_table(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame([{
        "Block": row["block"], "Ratio": row["ratio"], "Top-1 (%)": round(row["top1"], 2),
        "Top-1 difference (points)": round(row["top1_delta"], 2),
        "95 % low": round(row["ci95"][0], 2), "95 % high": round(row["ci95"][1], 2),
        "Top-5 difference (points)": _rounded(row, "top5_delta", 2),
        "Loss difference (nats)": _rounded(row, "loss_delta", 4),
        "KL (nats)": round(row["kl"], 4), "Images": row["images"], "Basis": _basis(row),
        "Reading": "cannot tell apart" if is_undecided(row, metrics_of(rows)["top1"]) else "worse" if row["ci95"][1] < 0 else "better",
    } for row in rows])
