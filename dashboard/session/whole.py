"""Callbacks that run to their end. Streamlit breaks off a run at whatever it asks of the session or the page once the browser has sent
something newer, and a callback with it: half done, and the click that called it forgotten. Breaking off is for drawing, not for acts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from streamlit.runtime.scriptrunner import get_script_run_ctx

from dashboard.session.inbox import take_sent

P = ParamSpec("P")
R = TypeVar("R")


def whole(act: Callable[P, R]) -> Callable[P, R]:
    """The same act, which nothing breaks off: what the browser sends meanwhile is taken up when it is done.

    What the equaliser has sent comes first: a click comes after the edits before it, but Streamlit may hand both over at once, and calls
    components last. Every callback of a widget goes through here, and whatever a page does that must not be half done.
    """

    @wraps(act)
    def done(*args: P.args, **kwargs: P.kwargs) -> R:
        with _undisturbed():
            take_sent()
            return act(*args, **kwargs)

    return done


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let the run find no newer request, which stays where it waits. Streamlit has no word for that (its issue 10578)."""
    session = get_script_run_ctx(suppress_warning=True)
    requests: Any = session.script_requests if session else None
    if requests is None or "on_scriptrunner_yield" in vars(requests):
        yield
        return
    requests.on_scriptrunner_yield = lambda: None
    try:
        yield
    finally:
        del requests.on_scriptrunner_yield
