"""What every run of a browser session goes through: session, navigation, page."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st
from streamlit.delta_generator_singletons import context_dg_stack, get_default_dg_stack_value

from dashboard.navigation import moved_pages, page, pages
from dashboard.session import autosave, link, state

# A local file: an icon given by name makes the browser ask a font host for it.
ICON = Path(__file__).parent / "static" / "icon.png"


def main(admits: Callable[[], bool]) -> None:
    """Show the page that the address names to a visitor whom `admits` lets in; it draws what anyone else sees."""
    # A part of a page that was drawn anew just before, on this thread, leaves Streamlit's pen where it stood: in that part.
    context_dg_stack.set(get_default_dg_stack_value())
    st.set_page_config(page_title="ToaSt Studio", page_icon=str(ICON), layout="wide")
    if not admits():
        return
    chosen = st.navigation([*map(page, pages()), *moved_pages()], position="top")
    shape = state.model_shape()
    if shape is not None:
        state.open_session(shape)
        link.publish_link(state.schedule(), shape)
        autosave.autosave(state.engine_client().setup, shape, state.history())
    # A place of its own, there or not: what follows would be mounted anew if it moved by one.
    place = st.empty()
    if notice := st.session_state.pop("notice", None):
        place.warning(notice)
    chosen.run()
