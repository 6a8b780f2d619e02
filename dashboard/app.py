"""What every run of a browser session goes through: session, navigation, page."""

from pathlib import Path

import streamlit as st

from dashboard.navigation import PAGES, page
from dashboard.server.sharing import Sharing
from dashboard.server.sign_in import is_signed_in
from dashboard.session import autosave, state

# A local file: an icon given by name makes the browser ask a font host for it.
ICON = Path(__file__).parent / "static" / "icon.png"


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config(page_title="ToaSt Studio", page_icon=str(ICON), layout="wide")
    if Sharing.from_environment().sign_in and not is_signed_in():
        return
    chosen = st.navigation([page(name) for name in PAGES], position="top")
    shape = state.model_shape()
    if shape is not None:
        state.open_session(shape)
        state.publish_link(shape)
        history = state.history()
        autosave.autosave(shape, history.present, history.past, history.future)
    # A place of its own, there or not: what follows would be mounted anew if it moved by one.
    place = st.empty()
    if notice := st.session_state.pop("notice", None):
        place.warning(notice)
    chosen.run()
