"""The sessions that may ask the engine past their page: each names itself by a random id that only its own page is told."""

from collections import OrderedDict

from dashboard.engine.client import EngineClient
from toast_core.cost.shapes import ModelShape

PATH = "/toast/live"  # of the server that is asked, see `dashboard.server.live`
_MAX_SESSIONS = 1000
_open: OrderedDict[str, tuple[EngineClient, ModelShape]] = OrderedDict()


def admit(session: str, client: EngineClient, shape: ModelShape) -> None:
    """Let a session ask this engine about its model; the one that was admitted longest ago makes room beyond a thousand."""
    _open[session] = client, shape
    _open.move_to_end(session)
    while len(_open) > _MAX_SESSIONS:
        _open.popitem(last=False)


def engine_of(session: object) -> tuple[EngineClient, ModelShape] | None:
    """The engine that a session may ask, and its model; None where no page has admitted it."""
    return _open.get(session) if isinstance(session, str) else None
