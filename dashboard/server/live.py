"""The channel from the engine to the bars: figures of the schedule in hand, past the page, which takes its time to be drawn anew.

    POST /toast/live   {"session": ..., "schedule": {...}, "measure": true}   ->   a line of JSON for every message

The first line is what the schedule costs. Then come the engine's messages as `toast_core.engine.protocol` has them; with "measure" false
it is only asked what it predicts. What cannot be answered is a Refusal, whose status is 403 where the session is none of this server's.
"""

import json
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dashboard.engine.client import EngineClient
from dashboard.session.channel import PATH, engine_of
from toast_core.cost.macs import count_cost
from toast_core.engine.protocol import Message, Refusal
from toast_core.errors import ScheduleError, ToastError
from toast_core.schedule.schedule import Schedule

_MAX_BYTES = 1 << 20


async def answer(request: Request) -> Response:
    """One request of a page's script."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BYTES:
            return _refused(413, f"the request is longer than {_MAX_BYTES} bytes; send one schedule")
    try:
        asked = json.loads(bytes(body))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        return _refused(400, "the request is not an object of JSON; send session and schedule")
    known = engine_of(asked.get("session"))
    if known is None:
        return _refused(403, "no page of this server has opened this session; load the page again")
    engine, shape = known
    try:
        schedule = Schedule.from_dict(asked.get("schedule"))
        cost = count_cost(shape, schedule)
    except ScheduleError as error:
        return _refused(400, str(error))
    counted = {"answer": "cost", "macs": cost.macs, "params": cost.params}
    told = chain([counted], _told(engine, asked["session"], schedule, asked.get("measure") is True))
    return StreamingResponse(_lines(told), media_type="application/x-ndjson", headers={"cache-control": "no-store"})


def _refused(status: int, words: str) -> JSONResponse:
    return JSONResponse(Refusal(words).to_dict(), status)


def _told(engine: EngineClient, session: str, schedule: Schedule, measured: bool) -> Iterator[dict[str, Any] | None]:
    """What is said of a schedule, as JSON values; None every tenth of a second that brings nothing."""
    try:
        if measured:
            yield from _messages(engine.measure(session, schedule))
        else:
            yield engine.predict(schedule).to_dict()
    except ToastError as error:
        yield Refusal(str(error)).to_dict()


def _messages(found: Iterator[Message | None]) -> Iterator[dict[str, Any] | None]:
    for message in found:
        yield None if message is None else message.to_dict()


async def _lines(told: Iterator[dict[str, Any] | None]) -> AsyncIterator[bytes]:
    """The messages as lines. Waiting is a thread's; a browser that went away is noticed between two messages."""
    while True:
        message = await run_in_threadpool(next, told, _END)
        if message is _END:
            return
        if message is not None:
            yield json.dumps(message).encode() + b"\n"


_END: Any = object()
ROUTE = Route(PATH, answer, methods=["POST"])
