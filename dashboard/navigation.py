"""The pages, one line each, ours first and then those of other installed packages. Imports no page and no Streamlit until one is shown.

A page is a module with a `render` function. Another package adds one as an entry point, whose name stands in the address:

    [project.entry-points."toast_studio.pages"]
    attention = "my_package.attention"
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points

from toast_core.errors import ToastError
from toast_core.files import first_line

GROUP = "toast_studio.pages"
FIRST = "overview"
_OURS = "toast-studio"


class NavigationError(ToastError, RuntimeError):
    """Two packages add the same page, or a page of another package cannot be loaded."""


@dataclass(frozen=True)
class Page:
    """One page.

    name     in the address
    title    in the navigation
    module   has the `render` function that draws it; imported when it is first shown
    metric   whether it shows the stored analyses of the metric that it is named after
    package  that it comes with
    """

    name: str
    title: str
    module: str
    metric: bool = False
    package: str = _OURS

    def load(self) -> Callable[[], None]:
        """Import the module and return its `render`.

        Raises:
            NavigationError: another package's module cannot be imported or has no such function.
        """
        if self.package == _OURS:
            return import_module(self.module).render
        try:
            return import_module(self.module).render
        except Exception as error:  # another package's import may fail in any way
            raise NavigationError(
                f"page {self.name!r} cannot be loaded from {self}, entry point of {GROUP}: {type(error).__name__}: {first_line(error)}; "
                f"repair or uninstall {self.package}"
            ) from error

    def __str__(self) -> str:
        return f"{self.package} ({self.module})"


_OWN = (
    Page("overview", "Overview", "dashboard.pages.overview"),
    Page("redundancy", "Redundancy", "dashboard.pages.redundancy", metric=True),
    Page("sensitivity", "Sensitivity", "dashboard.pages.sensitivity", metric=True),
    Page("tune", "Tune", "dashboard.pages.tune.page"),
    Page("compare", "Compare", "dashboard.pages.compare.page"),
    Page("apply", "Apply", "dashboard.pages.apply"),
    Page("runs", "Runs", "dashboard.pages.runs.page"),
)


def pages() -> Mapping[str, Page]:
    """All pages by name, in the order of the navigation.

    Raises:
        NavigationError: two packages add a page of the same name.
    """
    return _pages(tuple(sys.path))


def metrics() -> dict[str, str]:
    """The titles of the pages that show stored analyses, by the metric."""
    return {name: page.title for name, page in pages().items() if page.metric}


def page(name: str) -> object:
    """The Streamlit page of that name, whose module is imported now; also what `st.switch_page` takes.

    A page of another package that cannot be loaded says so in one line where it would be, and harms no other page.
    """
    import streamlit as st

    found = pages()[name]
    try:
        render = found.load()
    except NavigationError as error:
        render = partial(st.error, str(error))
    return st.Page(render, title=found.title, url_path=name, default=name == FIRST)


def import_pages() -> None:
    """Import every page's module, so that the first visitor does not wait for it."""
    for one in pages().values():
        with suppress(NavigationError):  # said where the page would be
            one.load()


@cache
def _pages(path: tuple[str, ...]) -> dict[str, Page]:
    """Read once for each `sys.path`: the metadata of all installed packages take tens of milliseconds."""
    found = {one.name: one for one in _OWN}
    for one in sorted(_added(), key=lambda one: (one.name, one.package, one.module)):
        if found.setdefault(one.name, one) != one:
            raise NavigationError(f"page {one.name!r} is added twice, by {found[one.name]} and {one}; uninstall one of them")
    return found


def _added() -> list[Page]:
    return [
        Page(point.name, point.name.replace("_", " ").capitalize(), point.module, package=point.dist.name if point.dist else "no package")
        for point in entry_points(group=GROUP)
    ]
