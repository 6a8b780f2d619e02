"""What a visitor sees who must sign in first: a button for each identity provider of secrets.toml, and nothing else."""

from collections.abc import Mapping

import streamlit as st

from dashboard.components.heading import show_heading
from dashboard.server.sharing import Sharing
from dashboard.session.whole import whole


def admits() -> bool:
    """Whether the visitor may see the pages; where people must sign in first and this one has not, the page that asks for it is drawn."""
    return not Sharing.from_environment().sign_in or is_signed_in()


def is_signed_in() -> bool:
    """Whether the visitor has signed in; where not, the page that asks for it is drawn."""
    if getattr(st.user, "is_logged_in", False):
        return True
    show_heading("ToaSt Studio")
    st.markdown("This dashboard is shared with people who sign in.")
    for name in providers(st.secrets["auth"]):
        label = f"Sign in with {name}" if name else "Sign in"
        st.button(label, type="primary", on_click=whole(st.login), args=(name,) if name else (), key=f"sign-in-{name}")
    return False


def providers(auth: Mapping) -> list[str | None]:
    """The names of the configured providers; None is the one that has no name."""
    named: list[str | None] = [name for name, value in auth.items() if isinstance(value, Mapping)]
    return [None, *named] if "client_id" in auth else named
