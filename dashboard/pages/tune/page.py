"""Tune: edit the schedule block by block; costs and prediction follow while dragging, measured accuracy on release."""

from dataclasses import replace

import streamlit as st

from dashboard import wording
from dashboard.charts.cost import blocks_figure
from dashboard.charts.ratios import ratios_figure
from dashboard.charts.style import chart_config
from dashboard.components.draft_menu import show_draft_menu
from dashboard.components.engine_status import show_engine_status
from dashboard.components.heading import show_heading
from dashboard.components.measurement import begin, follow, open_slots
from dashboard.equaliser.editor import show_editor, show_everywhere
from dashboard.equaliser.mount import data_in_hand
from dashboard.evidence.commands import evaluate_command
from dashboard.evidence.curves import stored_curves
from dashboard.evidence.latency import stored_latency
from dashboard.evidence.starting_points import starting_points
from dashboard.pages.tune.fit import show_fit
from dashboard.session import state
from dashboard.session.knowledge import with_interaction
from dashboard.uploads import MAX_SCHEDULE_MB
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ToastError
from toast_core.schedule.compensation import FULL, NONE
from toast_core.schedule.schedule import SELECTIONS, Schedule

_SELECTION_NAMES = {"calibrated": "Calibrated", "per_image": "Per image", "per_batch": "Per batch"}
_MULTIPLES = (1, 4, 8, 16)
_COMPARE_HELP = "Dotted marks on the bars show its ratios; the totals are compared with it."
_SCHEDULE_FILE = "schedule.json"
_COMPENSATION_HELP = (
    "Without training and without labels: heads keep their best directions instead of a choice of dimensions, dropped hidden units are "
    "folded into the kept ones, and every block is fitted to bring the pruned model back to the baseline's activations. Same cost; "
    "takes some seconds of calibration for each schedule."
)


def render() -> None:
    """Show the page, then follow the measurement until it is done or the next edit comes."""
    shape = state.model_shape()
    if shape is None:
        show_heading("Tune", st.header)
        show_engine_status()
        return
    schedule, setup = state.schedule(), state.engine_client().setup
    curves = with_interaction(stored_curves(setup, shape.name, schedule.selection), shape)
    data = data_in_hand(shape, curves, stored_latency(setup, shape), _compared(shape))
    show_heading("Tune", st.header)
    editing, beside = st.columns([5, 2])
    with editing:
        with st.container(border=True):
            show_editor(data)
        fitting = st.container(border=True)
    messages = begin()
    # Counted here, which gives the browser the time to show the totals before the rest comes and keeps it busy.
    ratios, kept = ratios_figure(schedule), blocks_figure(count_cost(shape, schedule), count_cost(shape))
    with beside:
        slots = open_slots(st.container(border=True), messages)
        with st.container(border=True):
            _show_choices(shape)
    with fitting:
        show_fit(shape)
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.markdown("**Dropped at every site, in percent**")
        st.plotly_chart(ratios, key="tune-ratios", config=chart_config(f"{shape.name}-ratios"))
    with right.container(border=True, height="stretch"):
        st.markdown(f"**GMACs kept in every block** {wording.BADGES['computed']}")
        st.plotly_chart(kept, key="tune-blocks", config=chart_config(f"{shape.name}-kept-gmacs"))
    with st.container(border=True):
        _show_exchange(schedule, shape)
    follow(slots, messages)


def _compared(shape: ModelShape) -> Schedule | None:
    """The schedule that the box further down names to compare with."""
    offered = {point.name: point.schedule for point in starting_points(shape, state.schedule().selection)}
    return offered.get(st.session_state.get("compare"))


def _show_choices(shape: ModelShape) -> None:
    """Where to start from, how channels are chosen and counted, what to compare with."""
    history = state.history()
    undo, redo = st.columns(2)
    undo.button("Undo", on_click=state.undo, disabled=not history.past, width="stretch", key="undo")
    redo.button("Redo", on_click=state.redo, disabled=not history.future, width="stretch", key="redo")
    show_draft_menu(shape)
    names = [point.name for point in starting_points(shape, history.present.selection)]
    st.selectbox("Start from", names, index=None, placeholder="Choose a schedule", key="start", on_change=_start_from, args=(shape,))
    st.selectbox("Compare with", names, index=None, placeholder="Nothing", key="compare", help=_COMPARE_HELP)
    show_everywhere()
    _keep_in_step("selection", history.present.selection)
    st.segmented_control(
        "Channels are chosen", list(_SELECTION_NAMES), format_func=_SELECTION_NAMES.get, required=True, key="selection",
        on_change=_select, help="  \n".join(f"{_SELECTION_NAMES[name]}: {text}" for name, text in SELECTIONS.items()),
    )
    if history.present.selection == "calibrated":
        _keep_in_step("compensated", not history.present.compensation.is_none)
        st.toggle("Make up for what is dropped", key="compensated", on_change=_compensate, help=_COMPENSATION_HELP)
    _keep_in_step("multiple", history.present.multiple_of)
    st.segmented_control(
        "Keep a multiple of", sorted({*_MULTIPLES, history.present.multiple_of}), required=True, key="multiple", on_change=_round,
        help="Kept counts are rounded up to it: hardware likes multiples of 8 and 16.",
    )


def _keep_in_step(key: str, value: object) -> None:
    """Show what the schedule says, whoever changed it; setting it always would undo a click that is on its way."""
    if st.session_state.get(key) != value:
        st.session_state[key] = value


def _start_from(shape: ModelShape) -> None:
    """Take the chosen schedule in hand; the box is empty again, since the next edit makes its name untrue."""
    chosen = st.session_state["start"]
    st.session_state["start"] = None
    for point in starting_points(shape, state.schedule().selection):
        if point.name == chosen:
            state.edit_within_limits(point.schedule)


def _select() -> None:
    chosen, schedule = st.session_state["selection"], state.schedule()
    state.edit(replace(schedule, selection=chosen, compensation=schedule.compensation if chosen == "calibrated" else NONE))


def _compensate() -> None:
    state.edit(replace(state.schedule(), compensation=FULL if st.session_state["compensated"] else NONE))


def _round() -> None:
    state.edit(replace(state.schedule(), multiple_of=st.session_state["multiple"]))


def _show_exchange(schedule: Schedule, shape: ModelShape) -> None:
    take, give = st.columns(2)
    with take:
        st.markdown("**Take the schedule with you**")
        st.download_button(
            "Download schedule", schedule.to_json, file_name=_SCHEDULE_FILE, mime="application/json", on_click="ignore", key="download"
        )
        st.caption("The address of this page reproduces it, too. The same on the command line, over all images without --images:")
        st.code(evaluate_command(state.engine_client().setup, schedule), language="bash", wrap_lines=True)
    with give:
        st.markdown("**Bring one**")
        st.file_uploader(
            "Schedule file (JSON; the reference implementation's entries are read, too)", type="json", key="upload",
            max_upload_size=MAX_SCHEDULE_MB, on_change=_upload, args=(shape,),
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
    state.edit(schedule)
