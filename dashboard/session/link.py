"""The address that reproduces a view: the model, and the schedule in hand as text. What else a page shows is in `view`."""

import base64
import json
import zlib
from dataclasses import replace

import streamlit as st

from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.compensation import NONE
from toast_core.schedule.schedule import SELECTIONS, Schedule

PARAMETERS = ("model", "selection", "schedule")
_MAX_LINK_CHARS = 4_000
_MAX_LINK_BYTES = 100_000


def encode_schedule(schedule: Schedule) -> str:
    """A schedule as URL-safe text that `decode_schedule` reads back to an equal one."""
    text = json.dumps(schedule.to_dict(), separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def decode_schedule(code: str) -> Schedule:
    """Read `encode_schedule`'s text.

    Raises:
        ScheduleError: too long, cut off, or not a schedule.
    """
    if len(code) > _MAX_LINK_CHARS:
        raise ScheduleError(f"its schedule has {len(code)} characters, more than {_MAX_LINK_CHARS}; copy the link again")
    try:
        packed = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, _MAX_LINK_BYTES)
        complete = unpacker.eof and not unpacker.unused_data
    except (ValueError, zlib.error) as error:
        raise ScheduleError(f"its schedule cannot be read ({error}); copy the link again") from error
    if not complete:
        raise ScheduleError("its schedule is cut off or too large; copy the link again")
    return Schedule.from_json(text)


def link_parameters(schedule: Schedule, shape: ModelShape) -> dict[str, str]:
    """The query parameters that reproduce the view; the page is the path."""
    return dict(zip(PARAMETERS, (shape.name, schedule.selection, encode_schedule(schedule)), strict=True))


def read_link(parameters: dict[str, str], shape: ModelShape, default: Schedule) -> Schedule:
    """Return the schedule that a link's parameters ask for; parameters that are not there leave `default` as it is.

    Raises:
        ScheduleError: it is for another model, names an unknown selection, or its schedule cannot be read or does not fit.
    """
    model = parameters.get("model", shape.name)
    if model != shape.name:
        raise ScheduleError(f"it is for {model}, this dashboard shows {shape.name}; start it with --model {model}")
    found = decode_schedule(parameters["schedule"]) if "schedule" in parameters else default
    found.check_length(len(shape.blocks), shape.name)
    selection = parameters.get("selection", found.selection)
    if selection not in SELECTIONS:
        raise ScheduleError(f"unknown selection mode {selection!r}; choose from {', '.join(SELECTIONS)}")
    return replace(found, selection=selection, compensation=found.compensation if selection == "calibrated" else NONE)


def publish_link(schedule: Schedule, shape: ModelShape) -> None:
    """Write a schedule into the address bar, beside what the page shows (see `view`)."""
    wanted = link_parameters(schedule, shape)
    if any(st.query_params.get(name) != value for name, value in wanted.items()):
        st.query_params.update(wanted)
