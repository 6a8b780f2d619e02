"""The web application that Streamlit serves: the pages, behind checks of who asks and under which name."""

import gc
import logging
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.middleware import Middleware

from dashboard.navigation import import_pages
from dashboard.owner import OwnerCookie
from dashboard.server import live
from dashboard.server.sharing import OWN_HOSTS, Sharing

_log = logging.getLogger("dashboard")
_MAX_FAILURES = 10
_FAILURES_S = 60.0
_MAX_ADDRESSES = 10_000
_REALM = b'Basic realm="ToaSt Studio", charset="UTF-8"'


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
        else:
            await _refuse(scope, send, 403, b"The dashboard answers only under its own address.\n")


def is_own(headers: dict[bytes, bytes], hosts: tuple[str, ...]) -> bool:
    """Whether Host is one of `hosts` and Origin, where there is one, is that same address."""
    host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin", b"").decode("latin-1")
    try:
        name = urlsplit(f"//{host}").hostname
        return name in hosts and (not origin or urlsplit(origin).netloc == host)
    except ValueError:
        return False


class Password:
    """Asks for the password (HTTP Basic, any user name) before anything is served: pages, files, uploads, web sockets.

    An address that has sent `_MAX_FAILURES` wrong ones within `_FAILURES_S` seconds is answered no more until they are that old, not
    even with the right one. A request without a password is no failure: that is how browsers begin.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], sharing: Sharing, clock: Callable[[], float] = time.monotonic) -> None:
        self.app, self.sharing, self.clock = app, sharing, clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    async def __call__(self, scope: MutableMapping, receive: Callable, send: Callable) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        address = (scope.get("client") or ("unknown",))[0]
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if self._is_shut_out(address):
            retry = (b"retry-after", str(round(_FAILURES_S)).encode())
            await _refuse(scope, send, 429, b"Too many wrong passwords; wait a minute.\n", retry)
        elif len(given) == 1 and self.sharing.knows(given[0].decode("latin-1")):
            await self.app(scope, receive, send)
        else:
            if given:
                self._count(address)
            await _refuse(scope, send, 401, b"This dashboard asks for a password.\n", (b"www-authenticate", _REALM))

    def _is_shut_out(self, address: str) -> bool:
        times = self._failures.get(address)
        while times and self.clock() - times[0] > _FAILURES_S:
            times.popleft()
        return times is not None and len(times) >= _MAX_FAILURES

    def _count(self, address: str) -> None:
        times = self._failures.setdefault(address, deque())
        times.append(self.clock())
        self._failures.move_to_end(address)
        while len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        _log.warning("wrong password from %s, %d in the last minute", address, len(times))


async def _refuse(scope: MutableMapping, send: Callable, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Answer with a status; for a web socket with that status where the server can, else with 403."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    prefix = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    plain = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store"), *headers]
    await send({"type": f"{prefix}.start", "status": status, "headers": plain})
    await send({"type": f"{prefix}.body", "body": body})


@asynccontextmanager
async def _prepared(_: st.App) -> AsyncIterator[None]:
    """Import what the pages need before the first one is asked for, and keep the collector that runs after every page off it."""
    import_pages()
    gc.collect()
    gc.freeze()
    yield


def guards(sharing: Sharing) -> list[Middleware]:
    """The checks that every request passes, the first one first."""
    asked = [Middleware(Password, sharing=sharing)] if sharing.digest else []
    return [Middleware(OwnHosts, hosts=sharing.hosts), *asked]


_middleware = [*guards(Sharing.from_environment()), Middleware(OwnerCookie)]
app = st.App(Path(__file__).parents[1] / "entry" / "session.py", middleware=_middleware, routes=[live.ROUTE], lifespan=_prepared)
