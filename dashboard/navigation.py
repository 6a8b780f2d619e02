"""The pages, one line each, ours first and then those of other installed packages. Imports no page and no Streamlit until one is shown.

A page is a module with a `render` function. Another package adds one as an entry point, whose name stands in the address:

    [project.entry-points."toast_studio.pages"]
    attention = "my_package.attention"
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from toast_core.errors import ToastError
from toast_core.registry import Registry

if TYPE_CHECKING:
    from streamlit.navigation.page import Page as StreamlitPage

FIRST = "overview"


class NavigationError(ToastError, RuntimeError):
    """Two packages add the same page, or a page of another package cannot be loaded."""


@dataclass(frozen=True)
class Page:
    """One page: its name in the address, its title, and whether it shows the stored analyses of the metric that it is named after."""

    name: str
    title: str
    metric: bool = False


def _render_of(module: Any) -> Callable[[], None]:
    return module.render


_OWN = {
    "overview": ("Overview", "dashboard.pages.overview.page"),
    "redundancy": ("Redundancy", "dashboard.pages.redundancy"),
    "sensitivity": ("Sensitivity", "dashboard.pages.sensitivity"),
    "tune": ("Tune", "dashboard.pages.tune.page"),
    "compare": ("Compare", "dashboard.pages.compare.page"),
    "deliver": ("Deliver", "dashboard.pages.deliver.page"),
    "runs": ("Runs", "dashboard.pages.runs.page"),
}
_METRICS = ("redundancy", "sensitivity")
_MOVED = {"apply": "deliver"}  # addresses that a page had before, in links that people have kept
_OF_RUNS = {"apply": "deliver", "export": "deliver", "certificate": "deliver"}
RENDERERS: Registry[Callable[[], None]] = Registry(
    "toast_studio.pages", "page", {name: module for name, (_, module) in _OWN.items()}, NavigationError, _render_of
)


def pages() -> Mapping[str, Page]:
    """All pages by name, in the order of the navigation.

    Raises:
        NavigationError: two packages add a page of the same name.
    """
    for name in RENDERERS:
        if len(RENDERERS.sources(name)) > 1:
            RENDERERS[name]  # says which two
    titles = {name: _OWN[name][0] if name in _OWN else name.replace("_", " ").capitalize() for name in RENDERERS}
    return {name: Page(name, title, name in _METRICS) for name, title in titles.items()}


def metrics() -> dict[str, str]:
    """The titles of the pages that show stored analyses, by the metric."""
    return {name: page.title for name, page in pages().items() if page.metric}


def page_of_run(kind: str) -> str | None:
    """The page that shows what a kind of run has measured; None where there is none of its own."""
    return _OF_RUNS.get(kind, kind if kind in pages() else None)


def moved_pages() -> "list[StreamlitPage]":
    """Pages that the navigation does not list: an earlier address of a page leads on to it, with all that the link says."""
    import streamlit as st

    def leads_to(name: str) -> Callable[[], None]:
        return lambda: st.switch_page(page(name), query_params=st.query_params.to_dict())

    return [
        st.Page(leads_to(name), title=pages()[name].title, url_path=old, visibility="hidden")
        for old, name in _MOVED.items() if old not in RENDERERS
    ]


def page(name: str) -> "StreamlitPage":
    """The Streamlit page of that name, whose module is imported now; also what `st.switch_page` takes.

    A page of another package that cannot be loaded says so in one line where it would be, and harms no other page.
    """
    import streamlit as st

    try:
        render = RENDERERS[name]
    except NavigationError as error:
        if name in _OWN:
            raise
        render = partial(st.error, str(error))  # type: ignore[assignment]  # Streamlit passes over what a page returns
    return st.Page(render, title=pages()[name].title, url_path=name, default=name == FIRST)


def import_pages() -> None:
    """Import every page's module, so that the first visitor does not wait for it."""
    for name in RENDERERS:
        with suppress(NavigationError):  # said where the page would be
            RENDERERS[name]
