"""Overview: what the model costs, where it is redundant, what a schedule would save, and which analyses say so."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.cost import blocks_figure, parts_figure
from dashboard.charts.sketch import blocks_heatmap
from dashboard.charts.tolerance import Tolerance, tolerance_figure, tolerances
from dashboard.components import accelerator
from dashboard.components.engine_status import show_engine_status
from dashboard.components.exchange import show_exchange
from dashboard.components.figure import show_figure, show_table
from dashboard.components.heading import show_heading
from dashboard.components.sketch_map import images_of, map_in_hand
from dashboard.evidence.commands import analyze_command
from dashboard.evidence.find import Evidence, Found, find_by_card
from dashboard.evidence.sketch import DamageMap
from dashboard.evidence.starting_points import StartingPoint, starting_points
from dashboard.navigation import metrics, page
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
    model, redundant = st.columns(2)
    with model.container(border=True, height="stretch"):
        _show_model(shape, cost)
    with redundant.container(border=True, height="stretch"):
        _show_redundancy(shape, found)
    savings, blocks = st.columns([3, 2])
    with savings.container(border=True, height="stretch"):
        _show_savings(shape, cost)
    with blocks.container(border=True, height="stretch"):
        st.subheader("Where the compute is", anchor=False)
        st.markdown(f"GMACs of every block {wording.BADGES['computed']}")
        show_figure(blocks_figure(cost), "overview-blocks", f"{shape.name}-gmacs-per-block", "GMACs of every block")
    analyses, data = st.columns([3, 2])
    with analyses.container(border=True, height="stretch"):
        _show_analyses(shape, found)
    with data.container(border=True, height="stretch"):
        _show_data(shape)
    accelerator.show_accelerator(accelerator.RESULTS)
    with st.container(border=True):
        show_exchange(found.evidence)


def _show_model(shape: ModelShape, cost: Cost) -> None:
    st.subheader(f"Model: {shape.name}", anchor=False)
    widths = sorted({block.width for block in shape.blocks})
    heads = sorted({block.heads for block in shape.blocks})
    facts = {
        "Blocks": str(len(shape.blocks)), "Width": _listed(widths), "Heads": _listed(heads), "Parameters": wording.parameters(cost.params),
        "Input": f"{shape.image_size} px", "Classes": str(shape.num_classes),
    }
    with st.container(horizontal=True, horizontal_alignment="distribute", gap="xsmall"):
        for label, value in facts.items():
            st.markdown(f":gray[{label}]  \n**{value}**", width="content")
    st.markdown(f"**{wording.gmacs(cost.macs)} GMACs** per image, by part {wording.BADGES['computed']}")
    show_figure(parts_figure(cost), "overview-parts", f"{shape.name}-gmacs-by-part", "GMACs by part of the model")
    engine = state.engine_state()
    if engine.is_ready:
        st.caption(f"Weights: {wording.plain(engine.model.weights)}")


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))


def _show_redundancy(shape: ModelShape, found: Found) -> None:
    st.subheader("Where it is redundant", anchor=False)
    rows, evidence = _best_sweep(found)
    if evidence is None:
        damage = map_in_hand(shape)
        if damage is not None:
            _show_predicted(shape, damage)
        st.info("Not measured yet. A sensitivity sweep tells which blocks can be pruned, and how far. Type this in a terminal:")
        st.code(analyze_command(state.engine_client().setup, "sensitivity"), language="bash", wrap_lines=True)
        st.page_link(page("runs"), label="Or start it on the Runs page")
        return
    sites = list(dict.fromkeys(row["site"] for row in rows if "+" not in row["site"]))
    stood = tolerances([row for row in rows if row["site"] in sites], _LIMIT_POINTS)
    st.markdown(
        f"The most that each place can drop alone for less than {_LIMIT_POINTS:g} point of top-1 {_badges(rows)}  \n"
        f"{_tolerance_in_words(stood, evidence)}"
    )
    show_figure(
        tolerance_figure(stood, sites), "overview-tolerance", f"{shape.name}-tolerance",
        "Heat map: the largest ratio dropped at each site of each block that costs less than 1 point of top-1",
    )
    st.page_link(page("sensitivity"), label="Every cell with its interval")


def _show_predicted(shape: ModelShape, damage: DamageMap) -> None:
    figure = damage.task.damage
    st.markdown(
        f"{figure.label} of each place alone with {_SHOWN_RATIO:.0%} dropped{f', in {figure.unit}' if figure.unit else ''} "
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
    chosen = f"channels chosen {evidence.selection.replace('_', ' ')}"
    basis = f"{up_to}{images:,} images, {chosen}; the whole 95 % interval stays above the limit."
    if not rows:
        return f"No measured ratio does: {images:,} images may be too few to tell 1 point from noise. {basis}"
    half = sum(one.ratio >= 0.5 for one in stood)
    return f"{half} of {len(stood)} places stand 50 % or more. {basis}"


def _show_analyses(shape: ModelShape, found: Found) -> None:
    st.subheader("Analyses", anchor=False)
    for problem in found.problems:
        st.warning(problem)
    if not found.evidence:
        st.markdown(f"None of {shape.name} is stored yet. Each of these makes one:")
        lines = (analyze_command(state.engine_client().setup, metric) for metric in metrics())
        st.code("\n".join(lines), language="bash", wrap_lines=True)
        return
    show_table(pd.DataFrame([_analysis_row(one) for one in found.evidence]), "overview-analyses", f"{shape.name}-analyses")
    for column, (name, title) in zip(st.columns(len(metrics())), metrics().items(), strict=True):
        if found.of(name):
            column.page_link(page(name), label=f"{title} in full")


def _analysis_row(one: Evidence) -> dict[str, str]:
    return {
        "Analysis": one.metric.capitalize(), "Measured": wording.age(one.analysis.created_utc), "Images": f"{one.images:,}",
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


def _show_savings(shape: ModelShape, cost: Cost) -> None:
    st.subheader("What a schedule would save", anchor=False)
    offered = starting_points(shape, state.schedule())
    published = any(point.reported for point in offered)
    note = f", top-1 {wording.BADGES['reported']} by the paper (ImageNet-1k, H100)" if published else ""
    st.markdown(f"GMACs and parameters {wording.BADGES['computed']}{note}. Accuracy is measured on the Tune page.")
    show_table(pd.DataFrame([_saving(point, shape, cost, published) for point in offered]), "overview-savings", f"{shape.name}-savings")


def _saving(point: StartingPoint, shape: ModelShape, baseline: Cost, published: bool) -> dict[str, str]:
    cost = count_cost(shape, point.schedule)
    row = {
        "Schedule": point.name, "Selection": point.schedule.selection.replace("_", " "), "GMACs": wording.gmacs(cost.macs),
        "Change": wording.change(cost.macs, baseline.macs), "Parameters": wording.parameters(cost.params),
    }
    if published:
        row["Top-1, reported"] = f"{point.reported.top1:.2f} %" if point.reported else ""
    return row
