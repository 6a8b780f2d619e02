"""What the equaliser in the browser sends, taken into the session: edits, locks and ranges, links, undo and redo."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import streamlit as st

from dashboard.limits import Limit
from dashboard.session import state
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import BlockSchedule
from toast_core.schedule.sites import SITES

KEY = "equaliser"


@dataclass(frozen=True)
class EditorState:
    """What a session keeps for the equaliser: `seen` numbers the last message taken, `linked` names the pairs that move together."""

    seen: int = 0
    linked: tuple[str, ...] = ()


def take_sent() -> None:
    """Take the messages that have not been taken yet, in their order; one that is no schedule changes nothing."""
    editor: EditorState = st.session_state.get("editor", EditorState())
    sent = (st.session_state.get(KEY) or {}).get("sent") or ()
    for message in (one for one in sent if one["number"] > editor.seen):
        editor = replace(editor, seen=message["number"])
        if "linked" in message:
            editor = replace(editor, linked=tuple(message["linked"]))
        try:
            _take(message)
        except ScheduleError as error:
            st.session_state["notice"] = f"Not changed: {error}"
        st.session_state["editor"] = editor


def _take(message: Mapping) -> None:
    if "limits" in message:
        state.set_limits({(site, block): Limit(low, high, locked) for site, block, low, high, locked in message["limits"]})
    if "ratios" in message:
        rows = zip(*(message["ratios"][site] for site in SITES), strict=True)
        state.edit_within_limits(replace(state.schedule(), blocks=tuple(BlockSchedule(*row) for row in rows)))
    match message.get("step"):
        case "undo":
            state.undo()
        case "redo":
            state.redo()
