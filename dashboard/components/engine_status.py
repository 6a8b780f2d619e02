"""What a page shows while the engine is not ready: what it is doing, or why it failed and what to press."""

import streamlit as st

from dashboard import wording
from dashboard.session import state
from dashboard.session.whole import whole

_REFRESH_S = 1.0


def show_engine_status() -> bool:
    """Say how the engine is unless it is ready; return whether it is."""
    found = state.engine_state()
    if found.state == "failed":
        st.error(wording.plain(found.error))
        st.button("Try again", on_click=whole(_retry), key="engine-retry")
    elif found.state == "starting":
        _show_progress()
    return found.is_ready


@st.fragment(run_every=_REFRESH_S)
def _show_progress() -> None:
    """Ask again every second; the whole page runs again once there is news."""
    found = state.engine_state()
    if found.state != "starting":
        st.rerun()
    waiting = "Computed figures are here already, measured ones" if state.model_shape() else "The figures"
    st.info(f"{found.progress}. {waiting} follow in a few seconds.")


def _retry() -> None:
    state.engine_client().start()
