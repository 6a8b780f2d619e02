"""Overview: what the model costs, on which images it is measured, and what a schedule would save."""

import pandas as pd
import streamlit as st

from dashboard import state, wording
from dashboard.charts.cost import blocks_figure, parts_figure
from dashboard.charts.style import chart_config
from dashboard.engine_status import show_engine_status
from dashboard.pages import page
from dashboard.starting_points import StartingPoint, starting_points
from toast_core.schedule.cost import Cost, count_cost
from toast_core.schedule.shapes import ModelShape

_SHORT_DIGEST = 12
_PURPOSE = (
    "Make a Vision Transformer cheaper without retraining it: drop channels block by block, and see at once what that saves and "
    "what it does to accuracy."
)


def render() -> None:
    """Show the page. What needs no engine is there at once; the rest follows when the engine is ready."""
    st.title("ToaSt Studio")
    words, action = st.columns([5, 1], vertical_alignment="center")
    words.markdown(_PURPOSE)
    if action.button("Tune", type="primary", width="stretch", key="go-tune"):
        st.switch_page(page("tune"))
    show_engine_status()
    shape = state.model_shape()
    if shape is None:
        return
    cost = count_cost(shape)
    model, data = st.columns([3, 2])
    with model.container(border=True, height="stretch"):
        _show_model(shape, cost)
    with data.container(border=True, height="stretch"):
        _show_data(shape)
    savings, blocks = st.columns([3, 2])
    with savings.container(border=True, height="stretch"):
        _show_savings(shape, cost)
    with blocks.container(border=True, height="stretch"):
        st.subheader("Where the compute is", anchor=False)
        st.markdown(f"GMACs of every block {wording.BADGES['computed']}")
        st.plotly_chart(blocks_figure(cost), key="overview-blocks", config=chart_config(f"{shape.name}-gmacs-per-block"))


def _show_model(shape: ModelShape, cost: Cost) -> None:
    st.subheader(f"Model: {shape.name}", anchor=False)
    widths = sorted({block.width for block in shape.blocks})
    heads = sorted({block.heads for block in shape.blocks})
    facts = {
        "Blocks": str(len(shape.blocks)), "Width": _listed(widths), "Heads": _listed(heads), "Parameters": wording.parameters(cost.params),
        "Input": f"{shape.image_size} px", "Classes": str(shape.num_classes),
    }
    for column, (label, value) in zip(st.columns(len(facts)), facts.items(), strict=True):
        column.markdown(f":gray[{label}]  \n**{value}**")
    st.markdown(f"**{wording.gmacs(cost.macs)} GMACs** per image, by part {wording.BADGES['computed']}")
    st.plotly_chart(parts_figure(cost), key="overview-parts", config=chart_config(f"{shape.name}-gmacs-by-part"))
    engine = state.engine_state()
    if engine["state"] == "ready":
        st.caption(f"Weights: {engine['model']['weights']}")


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))


def _show_data(shape: ModelShape) -> None:
    st.subheader("Data", anchor=False)
    engine = state.engine_state()
    if engine["state"] != "ready":
        st.caption("Read when the engine is ready.")
        return
    data, calibration = engine["data"], engine["calibration"]
    if data is None:
        st.info(f"No images were given for {shape.name}: costs are computed, accuracy is not measured. Start with --data FOLDER.")
        return
    drawn = f"class-balanced, {data['order']} with seed {data['seed']}, in batches of {data['batch_size']}"
    rows = {
        "Set": f"{data['name']}, {data['images']:,} images", "Classes": _classes(data["classes"]),
        "Measured on": f"{data['measured']:,} of them, {drawn}",
        "Digest": f"`{data['digest'][:_SHORT_DIGEST]}`",
        "Calibration": f"{calibration['images']:,} images of {calibration['name']}" if calibration else "none given",
        "Device": engine["device"],
    }
    for label, value in rows.items():
        st.markdown(f":gray[{label}]  \n{value}")


def _classes(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return f"{len(names)}: {shown}" + (", ..." if len(names) > 10 else "")


def _show_savings(shape: ModelShape, cost: Cost) -> None:
    st.subheader("What a schedule would save", anchor=False)
    offered = starting_points(shape, state.schedule().selection)
    published = any(point.reported for point in offered)
    note = f", top-1 {wording.BADGES['reported']} by the paper (ImageNet-1k, H100)" if published else ""
    st.markdown(f"GMACs and parameters {wording.BADGES['computed']}{note}. Accuracy is measured on the Tune page.")
    st.dataframe(pd.DataFrame([_saving(point, shape, cost, published) for point in offered]), hide_index=True)


def _saving(point: StartingPoint, shape: ModelShape, baseline: Cost, published: bool) -> dict[str, str]:
    cost = count_cost(shape, point.schedule)
    row = {
        "Schedule": point.name, "Selection": point.schedule.selection.replace("_", " "), "GMACs": wording.gmacs(cost.macs),
        "GMACs vs baseline": wording.change(cost.macs, baseline.macs), "Parameters": wording.parameters(cost.params),
    }
    if published:
        row["Top-1, reported"] = f"{point.reported.top1:.2f} %" if point.reported else ""
    return row
