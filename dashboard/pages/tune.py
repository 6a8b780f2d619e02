"""Tune: edit the schedule block by block; costs follow at once, measured accuracy within moments."""

import shlex
from dataclasses import replace

import streamlit as st

from dashboard import state, wording
from dashboard.charts.cost import blocks_figure
from dashboard.charts.ratios import ratios_figure
from dashboard.charts.style import chart_config
from dashboard.client import EngineOptions
from dashboard.editor import show_editor
from dashboard.engine_status import show_engine_status
from dashboard.measurement import follow, open_slots
from dashboard.starting_points import starting_points
from toast_core.errors import ToastError
from toast_core.schedule.cost import Cost, count_cost
from toast_core.schedule.schedule import SELECTIONS, Schedule
from toast_core.schedule.shapes import ModelShape

_SELECTION_NAMES = {"calibrated": "Calibrated", "per_image": "Per image", "per_batch": "Per batch"}
_SCHEDULE_FILE = "schedule.json"


def render() -> None:
    """Show the page, then follow the measurement until it is done or the next edit comes."""
    st.title("Tune", anchor=False)
    shape = state.model_shape()
    if shape is None:
        show_engine_status()
        return
    schedule, baseline = state.schedule(), count_cost(shape)
    cost = count_cost(shape, schedule)
    columns = [column.container(border=True, height="stretch") for column in st.columns(4)]
    _show_cost(columns[0], columns[1], cost, baseline)
    slots = open_slots(columns[2], columns[3], st.container())
    _show_toolbar(shape)
    editing, pictures = st.columns([3, 2])
    with editing.container(border=True, height="stretch"):
        show_editor()
    with pictures.container(border=True, height="stretch"):
        st.markdown("**Dropped at every site, in percent**")
        st.plotly_chart(ratios_figure(schedule), key="tune-ratios", config=chart_config(f"{shape.name}-ratios"))
        st.markdown(f"**GMACs kept in every block** {wording.BADGES['computed']}")
        st.plotly_chart(blocks_figure(cost, baseline), key="tune-blocks", config=chart_config(f"{shape.name}-kept-gmacs"))
    with st.container(border=True):
        _show_exchange(schedule, shape)
    follow(slots)


def _show_cost(left: object, right: object, cost: Cost, baseline: Cost) -> None:
    badge = wording.BADGES["computed"]
    with left:
        st.metric(f"GMACs per image {badge}", wording.gmacs(cost.macs))
        st.caption(f"{wording.change(cost.macs, baseline.macs)} against {wording.gmacs(baseline.macs)}")
    with right:
        st.metric(f"Parameters {badge}", wording.parameters(cost.params))
        st.caption(f"{wording.change(cost.params, baseline.params)} against {wording.parameters(baseline.params)}")


def _show_toolbar(shape: ModelShape) -> None:
    history = state.history()
    start, mode, undo, redo = st.columns([3, 4, 1, 1], vertical_alignment="bottom")
    names = [point.name for point in starting_points(shape, history.present.selection)]
    start.selectbox("Start from", names, index=None, placeholder="Choose a schedule", key="start", on_change=_start_from, args=(shape,))
    if st.session_state.get("selection") != history.present.selection:
        st.session_state["selection"] = history.present.selection
    mode.segmented_control(
        "Channels are chosen", list(_SELECTION_NAMES), format_func=_SELECTION_NAMES.get, required=True, key="selection",
        on_change=_select, help="  \n".join(f"{_SELECTION_NAMES[name]}: {text}" for name, text in SELECTIONS.items()),
    )
    undo.button("Undo", on_click=state.undo, disabled=not history.past, width="stretch", key="undo")
    redo.button("Redo", on_click=state.redo, disabled=not history.future, width="stretch", key="redo")


def _start_from(shape: ModelShape) -> None:
    """Take the chosen schedule in hand; the box is empty again, since the next edit makes its name untrue."""
    chosen = st.session_state["start"]
    st.session_state["start"] = None
    for point in starting_points(shape, state.schedule().selection):
        if point.name == chosen:
            state.edit(point.schedule)


def _select() -> None:
    state.edit(replace(state.schedule(), selection=st.session_state["selection"]))


def _show_exchange(schedule: Schedule, shape: ModelShape) -> None:
    take, give = st.columns(2)
    with take:
        st.markdown("**Take the schedule with you**")
        st.download_button(
            "Download schedule", schedule.to_json, file_name=_SCHEDULE_FILE, mime="application/json", on_click="ignore", key="download"
        )
        st.caption("The address of this page reproduces it, too. The same measurement on the command line, over all images:")
        st.code(command_line(engine_options(), schedule), language="bash", wrap_lines=True)
    with give:
        st.markdown("**Bring one**")
        st.file_uploader(
            "Schedule file (JSON; the reference implementation's entries are read, too)", type="json", key="upload",
            on_change=_upload, args=(shape,),
        )
        if error := st.session_state.get("upload-error"):
            st.error(error)


def _upload(shape: ModelShape) -> None:
    """Take an uploaded schedule in hand, or say in one line why not and change nothing."""
    st.session_state.pop("upload-error", None)
    file = st.session_state["upload"]
    if file is None:
        return
    try:
        schedule = Schedule.from_json(file.getvalue())
        schedule.check_length(len(shape.blocks), shape.name)
    except ToastError as error:
        st.session_state["upload-error"] = f"{file.name} was not used: {error}"
        return
    state.edit(schedule)


def engine_options() -> EngineOptions:
    """What the engine was started with."""
    return state.engine_client().options


def command_line(options: EngineOptions, schedule: Schedule) -> str:
    """The `toast evaluate` call that measures the same model, data and schedule."""
    demo_data = state.DEMO_DATA if state.default_selection(options) == "calibrated" and options.data is None else None
    words = ["toast", "evaluate", "--model", options.model]
    for flag, value in (
        ("--weights", options.weights), ("--num-classes", options.num_classes), ("--img-size", options.img_size),
        ("--data", options.data or demo_data), ("--calibration", options.calibration if schedule.needs_calibration else None),
        ("--schedule", _SCHEDULE_FILE), ("--selection", schedule.selection),
    ):
        words += [flag, str(value)] if value is not None else []
    return shlex.join([*words, "--json"])
