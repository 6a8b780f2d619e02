"""The web application that Streamlit serves: the pages, behind a check that requests come from the dashboard's own address."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.middleware import Middleware

from dashboard.pages import PAGES

OWN_HOSTS = ("localhost", "127.0.0.1")


class OwnHosts:
    """Refuses requests for other host names, and those that another site's page sends, before Streamlit sees them.

    Streamlit's own allow-list covers web sockets only, and it asks an outside server for the machine's address to judge a
    foreign Origin.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], hosts: tuple[str, ...] = OWN_HOSTS) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: MutableMapping, receive: Callable, send: Callable) -> None:
        if scope["type"] not in ("http", "websocket") or is_own(dict(scope["headers"]), self.hosts):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"The dashboard answers only under its own address.\n"})


def is_own(headers: dict[bytes, bytes], hosts: tuple[str, ...]) -> bool:
    """Whether Host is one of `hosts` and Origin, where there is one, is that same address."""
    host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin", b"").decode("latin-1")
    try:
        name = urlsplit(f"//{host}").hostname
        return name in hosts and (not origin or urlsplit(origin).netloc == host)
    except ValueError:
        return False


@asynccontextmanager
async def _prepared(_: st.App) -> AsyncIterator[None]:
    """Import what the pages need before the first one is asked for, and keep the collector that runs after every page off it."""
    for name in PAGES:
        import_module(f"dashboard.pages.{name}")
    gc.collect()
    gc.freeze()
    yield


app = st.App(Path(__file__).parent / "entry" / "session.py", middleware=[Middleware(OwnHosts)], lifespan=_prepared)
