"""Gives every browser a random id that its drafts are kept under, as a cookie: it outlives a reload and a restart of the dashboard.

Streamlit's own cookies are read-only, so it is set on the answer that brings the page, before the web socket that reads it.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie

OWNER_COOKIE = "toast_owner"
_OWNER = re.compile(r"[0-9a-f]{32}")
_COOKIE_S = 365 * 24 * 3600


class OwnerCookie:
    """Sets the cookie on every answer to a page request, and so renews it.

    Scripts cannot read it. Lax and not strict: a link from elsewhere to a page must still find the drafts. Cookies know no ports, so
    all dashboards of one host name share it.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping, receive: Callable, send: Callable) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if b"text/html" not in headers.get(b"accept", b""):
            await self.app(scope, receive, send)
            return
        owner = owner_of(headers) or secrets.token_hex(16)
        cookie = f"{OWNER_COOKIE}={owner}; Path=/; Max-Age={_COOKIE_S}; HttpOnly; SameSite=Lax"

        async def send_with_cookie(event: MutableMapping) -> None:
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event.get("headers", ()), (b"set-cookie", cookie.encode())]}
            await send(event)

        await self.app(scope, receive, send_with_cookie)


def owner_of(headers: dict[bytes, bytes]) -> str | None:
    """The browser's id from a request's headers; None where it sends none, or something else under that name."""
    try:
        found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(OWNER_COOKIE)
    except CookieError:
        return None
    return found.value if found and is_owner(found.value) else None


def is_owner(found: object) -> bool:
    """Whether this is a text of an owner's id: 32 hex digits."""
    return isinstance(found, str) and _OWNER.fullmatch(found) is not None
