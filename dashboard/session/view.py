"""What a page shows, in the address: a choice comes from the link, then from what was chosen before, and goes back into the link."""

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard.session.link import PARAMETERS


def choice_key(
    page: str, name: str, options: Sequence[str], default: str, same: Callable[[str, str], bool] = str.__eq__
) -> str:
    """Return the key of a page's widget that chooses `name`, with a value in place: the session's, the link's, or the default.

    Args:
        page: every page has a key of its own: under one key, a page would be handed the value of another page's widget.
        options: the values that there are, as texts.
        same: whether an option is what a link's text asks for; equality by default.
    """
    key = f"view-{page}-{name}"
    if st.session_state.get(key) not in options:
        asked = (st.query_params.get(name), st.session_state.get("view", {}).get(name))
        found = (option for text in asked if text for option in options if same(option, text))
        st.session_state[key] = next(found, default)
    return key


def settled(name: str, picked: str | None, options: Sequence[str], default: str) -> str:
    """A select box's choice; where an option's words have just changed and the box knows it no more, what was shown before."""
    return next(one for one in (picked, st.session_state.get("view", {}).get(name), default) if one in options)


def choose(page: str, name: str, value: str) -> None:
    """Make a choice in a page's widget's stead; for callbacks."""
    st.session_state[f"view-{page}-{name}"] = value


def publish(**chosen: str) -> None:
    """Write the page's choices into the address bar in place of another page's, and remember them for when the page is shown again."""
    st.session_state["view"] = {**st.session_state.get("view", {}), **chosen}
    for name in list(st.query_params):
        if name not in chosen and name not in PARAMETERS:
            del st.query_params[name]
    for name, value in chosen.items():
        if st.query_params.get(name) != value:
            st.query_params[name] = value
