"""The list of pages: a file in this folder with a `render` function, and a line here."""

from importlib import import_module

import streamlit as st

PAGES = {
    "overview": "Overview", "redundancy": "Redundancy", "sensitivity": "Sensitivity", "tune": "Tune", "compare": "Compare",
    "apply": "Apply", "runs": "Runs",
}
FIRST = "overview"


def page(name: str) -> object:
    """The Streamlit page of that name, whose file is imported now; also what `st.switch_page` takes."""
    return st.Page(import_module(f"dashboard.pages.{name}").render, title=PAGES[name], url_path=name, default=name == FIRST)
