"""Tune: edit the schedule block by block; costs and prediction follow while dragging, measured accuracy on release."""

from pathlib import Path

import streamlit as st

from dashboard import wording
from dashboard.charts.cost import blocks_figure
from dashboard.charts.style import chart_config
from dashboard.components.engine_status import show_engine_status
from dashboard.components.heading import FIGURES, show_heading
from dashboard.components.measurement import begin, follow, open_slots
from dashboard.components.sketch_map import images_of, map_in_hand
from dashboard.equaliser.editor import show_editor
from dashboard.equaliser.mount import Stored, data_in_hand, show_figures
from dashboard.evidence.commands import evaluate_command
from dashboard.evidence.curves import stored_curves
from dashboard.evidence.latency import stored_latency
from dashboard.pages.tune.choices import compared_schedule, show_choices, show_compensation
from dashboard.pages.tune.fit import show_fit
from dashboard.pages.tune.map import follow_map
from dashboard.session import state
from dashboard.session.whole import whole
from dashboard.uploads import MAX_SCHEDULE_MB
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ToastError
from toast_core.schedule.schedule import Schedule

_SCHEDULE_FILE = "schedule.json"


def render() -> None:
    """Show the page, then follow the measurement until it is done or the next edit comes."""
    shape = state.model_shape()
    if shape is None:
        show_heading("Tune", st.header)
        show_engine_status()
        return
    schedule, setup = state.schedule(), state.engine_client().setup
    curves = stored_curves(setup, shape.name, schedule.selection)
    card = state.map_card()
    damage = map_in_hand(shape, card)
    stored = Stored(curves, damage, images_of(damage), stored_latency(setup, shape), compared_schedule(shape))
    data = data_in_hand(shape, stored)
    show_heading("Tune", st.header)
    with st.container(key=FIGURES):
        show_figures()
    editing, beside = st.columns([5, 2])
    with editing, st.container(border=True):
        show_editor(data)
        told, below = st.container(gap="xxsmall"), st.container()
    messages = begin()
    # Counted here, which gives the browser the time to show the totals before the rest comes and keeps it busy.
    kept = blocks_figure(count_cost(shape, schedule), count_cost(shape))
    slots = open_slots(told, messages)
    with beside:
        with st.container(border=True):
            show_compensation()
            show_fit(shape)
        with st.container(border=True):
            show_choices(shape)
    with st.container(border=True):
        st.markdown(f"**GMACs kept in every block** {wording.BADGES['computed']}")
        st.plotly_chart(kept, key="tune-blocks", config=chart_config(f"{shape.name}-kept-gmacs"))
    with st.container(border=True):
        _show_exchange(schedule, shape)
    with below:
        follow_map(damage, card)  # once everything stands: it may draw the page anew
    follow(slots, messages)


def _show_exchange(schedule: Schedule, shape: ModelShape) -> None:
    take, give = st.columns(2)
    with take:
        st.markdown("**Export the schedule**")
        st.download_button(
            "Download schedule", schedule.to_json, file_name=_SCHEDULE_FILE, mime="application/json",
            on_click=whole(state.freeze), key="download",
        )
        st.caption("The address of this page reproduces it, too. The same on the command line, over all images without --images:")
        st.code(evaluate_command(state.engine_client().setup, schedule), language="bash", wrap_lines=True)
    with give:
        st.markdown("**Import a schedule**")
        st.file_uploader(
            "Schedule file (JSON; the reference implementation's entries are read, too)", type="json", key="upload",
            max_upload_size=MAX_SCHEDULE_MB, on_change=whole(_upload), args=(shape,),
        )
        if error := st.session_state.get("upload-error"):
            st.error(error)


def _upload(shape: ModelShape) -> None:
    """Take an uploaded schedule in hand, or say in one line why not and change nothing."""
    st.session_state.pop("upload-error", None)
    file = st.session_state["upload"]
    if file is None:
        return
    # the browser's limit is only asked for there
    if file.size > MAX_SCHEDULE_MB << 20:
        size = f"{file.size / 1e6:.0f} MB, more than {MAX_SCHEDULE_MB}"
        st.session_state["upload-error"] = f"{file.name} was not used: it has {size}; choose a schedule file"
        return
    try:
        schedule = Schedule.from_json(file.getvalue())
        schedule.check_length(len(shape.blocks), shape.name)
    except ToastError as error:
        st.session_state["upload-error"] = f"{file.name} was not used: {error}"
        return
    state.take(schedule, Path(file.name).stem)
