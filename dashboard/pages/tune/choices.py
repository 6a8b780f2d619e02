"""The choices beside the equaliser: where to start from, how channels are chosen and counted, and what to compare with."""

from dataclasses import replace

import streamlit as st

from dashboard.components.draft_menu import show_draft_menu
from dashboard.equaliser.editor import show_everywhere
from dashboard.evidence.savings import offered_points
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.cost.shapes import ModelShape
from toast_core.schedule.compensation import FULL, NONE
from toast_core.schedule.schedule import SELECTIONS, Schedule

_SELECTION_NAMES = {"calibrated": "Calibrated", "per_image": "Per image", "per_batch": "Per batch"}
_MULTIPLES = (1, 4, 8, 16)
_COMPARE_HELP = "Dotted marks on the bars show its ratios; the totals are compared with it."
_COMPENSATION_HELP = (
    "Makes up for what is dropped, without training and without labels: heads keep their best directions instead of a choice of "
    "dimensions, dropped hidden units are folded into the kept ones, and every block is fitted to bring the pruned model back to the "
    "baseline's activations. Same cost; takes some seconds of calibration for each schedule."
)


def compared_schedule(shape: ModelShape) -> Schedule | None:
    """The schedule that "Compare with" names; None where it names none."""
    offered = {point.name: point.schedule for point in offered_points(state.engine_client().setup, shape, state.schedule())}
    return offered.get(st.session_state.get("compare"))


def show_choices(shape: ModelShape) -> None:
    """Show the boxes and buttons; each of them edits the schedule in hand."""
    history = state.history()
    undo, redo = st.columns(2)
    undo.button("Undo", on_click=whole(state.undo), disabled=not history.past, width="stretch", key="undo")
    redo.button("Redo", on_click=whole(state.redo), disabled=not history.future, width="stretch", key="redo")
    show_draft_menu(shape)
    names = [point.name for point in offered_points(state.engine_client().setup, shape, history.present)]
    st.selectbox("Start from", names, index=None, placeholder="Choose a schedule", key="start", on_change=whole(_start_from), args=(shape,))
    st.selectbox("Compare with", names, index=None, placeholder="Nothing", key="compare", help=_COMPARE_HELP)
    show_everywhere()
    st.segmented_control(
        "Selection of channels", list(_SELECTION_NAMES), format_func=_SELECTION_NAMES.__getitem__, required=True, key="selection",
        default=_in_step("selection", history.present.selection), on_change=whole(_select),
        help="  \n".join(f"{_SELECTION_NAMES[name]}: {text}" for name, text in SELECTIONS.items()),
    )
    st.segmented_control(
        "Keep a multiple of", sorted({*_MULTIPLES, history.present.multiple_of}), required=True, key="multiple",
        default=_in_step("multiple", history.present.multiple_of), on_change=whole(_round),
        help="Kept counts are rounded up to it: hardware likes multiples of 8 and 16.",
    )


def _in_step(key: str, value: object) -> object:
    """Let a box show what the schedule says, whoever changed it, and return what it is to begin with; None where it has begun.

    What it begins with is no change that a browser could miss while it mounts the box; setting it always would undo a click on its way.
    """
    if key not in st.session_state:
        return value
    if st.session_state[key] != value:
        st.session_state[key] = value
    return None


def _start_from(shape: ModelShape) -> None:
    """Take the chosen schedule in hand; the box is empty again, since the next edit makes its name untrue."""
    chosen = st.session_state["start"]
    st.session_state["start"] = None
    for point in offered_points(state.engine_client().setup, shape, state.schedule()):
        if point.name == chosen:
            state.edit_within_limits(point.schedule)


def _select() -> None:
    chosen, schedule = st.session_state["selection"], state.schedule()
    if chosen is None:  # nobody can choose nothing: a browser that is mounting the buttons says so
        return
    state.edit(replace(schedule, selection=chosen, compensation=state.default_compensation(state.engine_client().setup, chosen)))


def show_compensation() -> None:
    """The one switch of compensation; of selections that have none, why."""
    schedule = state.schedule()
    has_it = schedule.selection == "calibrated"
    is_on = _in_step("compensated", not schedule.compensation.is_none)
    st.toggle(
        "Compensation", bool(is_on), key="compensated", on_change=whole(_compensate), disabled=not has_it,
        help=_COMPENSATION_HELP if has_it else "For calibrated selection alone: what is fitted to kept channels needs channels that stay.",
    )


def _compensate() -> None:
    state.edit(replace(state.schedule(), compensation=FULL if st.session_state["compensated"] else NONE))


def _round() -> None:
    if st.session_state["multiple"] is not None:
        state.edit(replace(state.schedule(), multiple_of=st.session_state["multiple"]))
