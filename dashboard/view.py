"""What a page shows, in the address: a choice comes from the link, then from what was chosen before, and goes back into the link."""

from collections.abc import Callable, Sequence

import streamlit as st

NAMES = ("analysis", "site", "metric", "block", "ratio", "threshold", "dropped", "cost", "reference", "candidate", "without", "class")


def choice_key(name: str, options: Sequence[str], default: str, same: Callable[[str, str], bool] = str.__eq__) -> str:
    """Return the key of the widget that chooses `name`, with a value in place: the session's, the link's, or the default.

    Args:
        options: the values that there are, as texts.
        same: whether an option is what a link's text asks for; equality by default.
    """
    key = f"view-{name}"
    if st.session_state.get(key) not in options:
        asked = (st.query_params.get(name), st.session_state.get("view", {}).get(name))
        found = (option for text in asked if text for option in options if same(option, text))
        st.session_state[key] = next(found, default)
    return key


def choose(name: str, value: str) -> None:
    """Make a choice in the widget's stead; for callbacks."""
    st.session_state[f"view-{name}"] = value


def publish(**chosen: str) -> None:
    """Write the page's choices into the address bar, and remember them for when the page is shown again."""
    st.session_state["view"] = {**st.session_state.get("view", {}), **chosen}
    for name in NAMES:
        if name not in chosen and name in st.query_params:
            del st.query_params[name]
    for name, value in chosen.items():
        if st.query_params.get(name) != value:
            st.query_params[name] = value
