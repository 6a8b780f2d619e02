"""Overview: what the model costs and scores, what can be saved for nothing, and which analyses say so."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.block import block_drawing
from dashboard.charts.cost import blocks_figure, parts_figure
from dashboard.charts.sketch import blocks_heatmap
from dashboard.charts.tolerance import Tolerance, tolerance_figure, tolerances
from dashboard.components import accelerator
from dashboard.components.drawing import show_drawing
from dashboard.components.engine_status import show_engine_status
from dashboard.components.exchange import show_exchange
from dashboard.components.figure import show_figure, show_table
from dashboard.components.heading import show_heading
from dashboard.components.sketch_map import images_of, map_in_hand
from dashboard.evidence.candidates import stored_evaluations
from dashboard.evidence.commands import analyze_command
from dashboard.evidence.find import Evidence, Found, find_by_card
from dashboard.evidence.latency import stored_latency
from dashboard.evidence.sketch import DamageMap
from dashboard.evidence.starting_points import StartingPoint, starting_points
from dashboard.navigation import metrics, page
from dashboard.pages.overview.model import show_model
from dashboard.pages.overview.savings import show_savings
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.cost.macs import Cost, count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.schedule.sites import SITES

_SHORT_DIGEST = 12
_LIMIT_POINTS = 1.0
_SHOWN_RATIO = 0.5
_PURPOSE = (
    "Make a Vision Transformer cheaper without retraining it: drop channels block by block, and see at once what that saves and "
    "what it does to accuracy."
)


def render() -> None:
    """Show the page. What needs no engine is there at once; the rest follows when the engine is ready."""
    show_heading("ToaSt Studio")
    words, action = st.columns([5, 1], vertical_alignment="center")
    words.markdown(_PURPOSE)
    action.button("Tune", type="primary", width="stretch", key="go-tune", on_click=whole(st.switch_page), args=(page("tune"),))
    show_engine_status()
    shape = state.model_shape()
    if shape is None:
        return
    cost, found = count_cost(shape), find_by_card(state.engine_client().setup, shape.name, state.engine_state())
    evaluations, latency = stored_evaluations(found), stored_latency(state.engine_client().setup, shape)
    with st.container(border=True):
        show_model(shape, cost, evaluations, latency)
    with st.container(border=True):
        show_savings(shape, found, evaluations, latency)
    drawing, alone = st.columns(2)
    with drawing.container(border=True, height="stretch"):
        _show_block(shape)
    with alone.container(border=True, height="stretch"):
        _show_tolerance(shape, found)
    parts, blocks = st.columns(2)
    with parts.container(border=True, height="stretch"):
        st.subheader("Where the compute is", anchor=False)
        st.markdown(f"GMACs by part {wording.BADGES['computed']}")
        show_figure(parts_figure(cost), "overview-parts", f"{shape.name}-gmacs-by-part", "GMACs by part of the model")
        if len(set(shape.blocks)) > 1:
            st.markdown("GMACs of every block")
            show_figure(blocks_figure(cost), "overview-blocks", f"{shape.name}-gmacs-per-block", "GMACs of every block")
    with blocks.container(border=True, height="stretch"):
        _show_schedules(shape, cost)
    analyses, data = st.columns([3, 2])
    with analyses.container(border=True, height="stretch"):
        _show_analyses(shape, found)
    with data.container(border=True, height="stretch"):
        _show_data(shape)
    accelerator.show_accelerator(accelerator.RESULTS)
    with st.container(border=True):
        show_exchange(found.evidence)


def _show_block(shape: ModelShape) -> None:
    kinds = list(dict.fromkeys(shape.blocks))
    st.subheader("One block", anchor=False)
    which = f"{len(shape.blocks)} blocks, all alike." if len(kinds) == 1 else f"Drawn is block 0 of {len(shape.blocks)}; others differ."
    st.markdown(f"Every site of every block can drop a share of its channels by itself. {which}")
    show_drawing(block_drawing(shape.blocks[0]), "overview-block")


def _show_tolerance(shape: ModelShape, found: Found) -> None:
    st.subheader("How far each site can go alone", anchor=False)
    rows, evidence = _best_sweep(found)
    if evidence is None:
        damage = map_in_hand(shape)
        if damage is not None:
            _show_predicted(shape, damage)
        else:
            st.caption("The engine draws a first map of it while it is idle; a sensitivity sweep, on the Runs page, measures it.")
        with st.expander("Measure it on the command line"):
            st.code(analyze_command(state.engine_client().setup, "sensitivity"), language="bash", wrap_lines=True)
        return
    sites = list(dict.fromkeys(row["site"] for row in rows if "+" not in row["site"]))
    stood = tolerances([row for row in rows if row["site"] in sites], _LIMIT_POINTS)
    st.markdown(
        f"The most that each site of each block can drop alone for less than {_LIMIT_POINTS:g} point of top-1 {_badges(rows)}  \n"
        f"{_tolerance_in_words(stood, evidence)}"
    )
    show_figure(
        tolerance_figure(stood, sites), "overview-tolerance", f"{shape.name}-tolerance",
        "Heat map: the largest ratio dropped at each site of each block that costs less than 1 point of top-1",
    )
    st.page_link(page("sensitivity"), label="All cells, with intervals", icon=":material/arrow_forward:")


def _show_predicted(shape: ModelShape, damage: DamageMap) -> None:
    figure = damage.task.damage
    st.markdown(
        f"{figure.label} of each site alone with {_SHOWN_RATIO:.0%} dropped{f', in {figure.unit}' if figure.unit else ''} "
        f"{wording.BADGES['predicted']}  \n{wording.plain(damage.basis(images_of(damage)).capitalize())}."
    )
    sites = list(dict.fromkeys(site for site, _ in damage.points))
    show_figure(
        blocks_heatmap(damage, sorted(sites, key=SITES.index), _SHOWN_RATIO), "overview-sketch", f"{shape.name}-sketch",
        f"Heat map: the predicted {figure.label} of each site of each block with half of it dropped",
    )


def _best_sweep(found: Found) -> tuple[list[dict], Evidence | None]:
    """The rows of the first sweep that has any; a source that went away is passed over, since the list of analyses says so."""
    for evidence in found.of("sensitivity"):
        try:
            if rows := evidence.rows():
                return rows, evidence
        except StoreError:
            continue
    return [], None


def _badges(rows: list[dict]) -> str:
    """Measured, and predicted where an adaptive sweep did not measure every cell to its end."""
    return " ".join([wording.BADGES["measured"], *([wording.BADGES["predicted"]] if any(row.get("predicted") for row in rows) else [])])


def _tolerance_in_words(stood: list[Tolerance], evidence: Evidence) -> str:
    rows = [one.row for one in stood if one.row]
    images = max((row["images"] for row in rows), default=0) or evidence.images
    up_to = "Predicted, or measured on up to " if any(row.get("predicted") for row in rows) else ""
    chosen = f"{evidence.selection.replace('_', ' ')} selection"
    basis = f"{up_to}{images:,} images, {chosen}; the whole 95 % interval stays above the limit."
    if not rows:
        return f"No measured ratio does: {images:,} images may be too few to tell 1 point from noise. {basis}"
    half = sum(one.ratio >= 0.5 for one in stood)
    return f"{half} of {len(stood)} sites of blocks stand 50 % or more. {basis}"


def _show_analyses(shape: ModelShape, found: Found) -> None:
    st.subheader("Analyses", anchor=False)
    for problem in found.problems:
        st.warning(problem)
    if not found.evidence:
        st.markdown(f"None of {wording.plain(shape.name)} is stored yet.")
        lines = (analyze_command(state.engine_client().setup, metric) for metric in metrics())
        with st.expander("Make them on the command line"):
            st.code("\n".join(lines), language="bash", wrap_lines=True)
        return
    show_table(pd.DataFrame([_analysis_row(one) for one in found.evidence]), "overview-analyses", f"{shape.name}-analyses")
    for column, (name, title) in zip(st.columns(len(metrics())), metrics().items(), strict=True):
        if found.of(name):
            column.page_link(page(name), label=title, icon=":material/arrow_forward:")


def _analysis_row(one: Evidence) -> dict[str, str]:
    return {
        "Analysis": one.metric.replace("_", " ").capitalize(), "Measured": wording.age(one.analysis.created_utc),
        "Images": f"{one.images:,}",
        "How": one.mode, "Done": "all" if one.finished else f"{one.stored} of {one.listed} cells", "Stale": "; ".join(one.concerns) or "no",
        "From": one.source, "Id": one.short_id,
    }


def _show_data(shape: ModelShape) -> None:
    st.subheader("Data", anchor=False)
    engine = state.engine_state()
    if not engine.is_ready:
        st.caption("Read when the engine is ready.")
        return
    data, calibration = engine.data, engine.calibration
    if data is None:
        st.info(f"No images were given for {shape.name}: costs are computed, accuracy is not measured. Start with --data FOLDER.")
        return
    drawn = f"class-balanced, {data.order} with seed {data.seed}, in batches of {data.batch_size}"
    rows = {
        "Set": f"{wording.plain(data.name)}, {data.images:,} images", "Classes": _classes(data.classes),
        "Measured on": f"{data.measured:,} of them, {drawn}",
        "Becomes input by": f"`{data.transform}`",
        "Digest": f"`{data.digest[:_SHORT_DIGEST]}`",
        "Calibration": f"{calibration.images:,} images of {wording.plain(calibration.name)}" if calibration else "none given",
        "Device": engine.device,
    }
    for column, part in zip(st.columns(2), (list(rows.items())[::2], list(rows.items())[1::2]), strict=True):
        for label, value in part:
            column.markdown(f":gray[{label}]  \n{value}")
    for line in data.notes:
        st.warning(wording.plain(line))


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(map(wording.plain, names[:10]))
    return f"{len(names)}: {shown}" + (", ..." if len(names) > 10 else "")


def _show_schedules(shape: ModelShape, cost: Cost) -> None:
    st.subheader("Other schedules to start from", anchor=False)
    offered = starting_points(shape, state.schedule())
    published = any(point.reported for point in offered)
    note = f", top-1 {wording.BADGES['reported']} by the paper (ImageNet-1k, H100)" if published else ""
    st.markdown(f"GMACs and parameters {wording.BADGES['computed']}{note}. Accuracy is measured on the Tune page.")
    show_table(pd.DataFrame([_saving(point, shape, cost, published) for point in offered]), "overview-schedules", f"{shape.name}-schedules")


def _saving(point: StartingPoint, shape: ModelShape, baseline: Cost, published: bool) -> dict[str, str]:
    cost = count_cost(shape, point.schedule)
    row = {
        "Schedule": point.name, "Selection": point.schedule.selection.replace("_", " "), "GMACs": wording.gmacs(cost.macs),
        "Change": wording.change(cost.macs, baseline.macs), "Parameters": wording.parameters(cost.params),
    }
    if published:
        row["Top-1, reported"] = f"{point.reported.top1:.2f} %" if point.reported else ""
    return row
