"""The pages: their names in the address, their titles, and the file of each, which is imported when it is first shown."""

from importlib import import_module

import streamlit as st

# A page is a file with a `render` function and a line in each of these two.
PAGES = {
    "overview": "Overview", "redundancy": "Redundancy", "sensitivity": "Sensitivity", "tune": "Tune", "compare": "Compare",
    "apply": "Apply", "runs": "Runs",
}
_MODULES = {
    "overview": "dashboard.pages.overview", "redundancy": "dashboard.pages.redundancy", "sensitivity": "dashboard.pages.sensitivity",
    "tune": "dashboard.pages.tune.page", "compare": "dashboard.pages.compare.page", "apply": "dashboard.pages.apply",
    "runs": "dashboard.pages.runs.page",
}
FIRST = "overview"


def page(name: str) -> object:
    """The Streamlit page of that name, whose file is imported now; also what `st.switch_page` takes."""
    return st.Page(import_module(_MODULES[name]).render, title=PAGES[name], url_path=name, default=name == FIRST)


def import_pages() -> None:
    """Import every page's file, so that the first visitor does not wait for it."""
    for module in _MODULES.values():
        import_module(module)
