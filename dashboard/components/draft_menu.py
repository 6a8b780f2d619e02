"""The draft in hand on the Tune page: its name, Save, and the other drafts to take in hand."""

import streamlit as st

from dashboard.evidence.draft import Draft
from dashboard.session import autosave, state
from dashboard.session.drafts import MAX_NAME, DraftError
from dashboard.session.whole import whole
from toast_core.cost.shapes import ModelShape

_KEPT = "Every edit is kept by itself, for this browser only. Saved under a name it stays as it is: your next edit begins a new one."


def show_draft_menu(shape: ModelShape) -> None:
    """A button with the draft's name that opens the menu; nothing for a browser that refuses cookies."""
    if autosave.owner() is None:
        return
    held = autosave.hand()
    try:
        others = [one for one in autosave.drafts(shape) if held.draft is None or one.number != held.draft.number]
    except DraftError:
        return  # autosave has said so
    with st.popover(held.draft.name if held.draft else f"Not a draft yet: {held.origin}", width="stretch"):
        if held.draft:
            key = f"draft-name-{held.draft.number}"
            name, save = st.columns([3, 1], vertical_alignment="bottom")
            name.text_input("Draft", held.draft.name, max_chars=MAX_NAME, key=key, on_change=whole(_save), args=(key,))
            save.button(
                "Saved" if held.draft.closed else "Save", on_click=whole(_save), args=(key,), disabled=_is_saved(key), key="draft-save",
                width="stretch",
            )
            st.caption(f"From {held.draft.origin}. {_KEPT}")
        else:
            st.caption(f"From {held.origin}. {_KEPT}")
        if error := st.session_state.pop("draft-error", None):
            st.error(error)
        if others:
            by_number = {one.number: one for one in others}
            st.selectbox(
                "Open another", list(by_number), index=None, placeholder="Choose a draft", key="draft-take",
                format_func=lambda number: by_number[number].name, on_change=whole(_take), args=(by_number,),
            )


def _is_saved(key: str) -> bool:
    held = autosave.hand()
    return held.draft.closed and st.session_state.get(key, held.draft.name) == held.draft.name


def _save(key: str) -> None:
    try:
        autosave.save(st.session_state[key])
    except DraftError as error:
        st.session_state["draft-error"] = str(error)


def _take(by_number: dict) -> None:
    draft, st.session_state["draft-take"] = by_number.get(st.session_state["draft-take"]), None
    try:
        if draft is not None:
            take(draft)
    except DraftError as error:
        st.session_state["draft-error"] = str(error)


def take(draft: Draft) -> None:
    """Take a draft in hand; it can be undone, and an edit begins a new draft that descends from it.

    Raises:
        DraftError: the book cannot be written; nothing has changed.
    """
    autosave.take(draft)
    state.edit(draft.schedule)
