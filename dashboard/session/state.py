"""What a browser session holds: one schedule with its history, shared by all pages, and the link that reproduces it."""

import base64
import json
import uuid
import zlib
from dataclasses import dataclass, replace

import streamlit as st

from dashboard.engine.client import EngineClient, setup_from_environment, shipped_shape
from dashboard.limits import Limits, held_back, hold
from dashboard.session import autosave
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Description, Measurement
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import SELECTIONS, Schedule
from toast_core.setup import Setup

_MAX_LINK_CHARS = 4_000
_MAX_LINK_BYTES = 100_000
_MAX_UNDO = 200
_MAX_RESULTS = 100


@dataclass(frozen=True)
class History:
    """The schedule in hand, with those before and after it."""

    present: Schedule
    past: tuple[Schedule, ...] = ()
    future: tuple[Schedule, ...] = ()

    def edit(self, schedule: Schedule) -> "History":
        """Another schedule in hand; nothing changes where it is the same."""
        return self if schedule == self.present else History(schedule, (*self.past, self.present)[-_MAX_UNDO:])

    def undo(self) -> "History":
        """One step back, where there is one."""
        return History(self.past[-1], self.past[:-1], (self.present, *self.future)) if self.past else self

    def redo(self) -> "History":
        """One step forward again, where there is one."""
        return History(self.future[0], (*self.past, self.present), self.future[1:]) if self.future else self


@st.cache_resource
def engine_client() -> EngineClient:
    """The one client of this process, for the setup that `launch` was given."""
    return EngineClient(setup_from_environment())


def engine_state() -> Description:
    """The engine's description; asked again until it is ready, then kept for the session."""
    if "engine" not in st.session_state:
        found = engine_client().describe()
        if not found.is_ready:
            return found
        st.session_state["engine"] = found
    return st.session_state["engine"]


def model_shape() -> ModelShape | None:
    """The model's shape: shipped with the demos, else from the engine; None while neither is there."""
    setup = engine_client().setup
    if setup.num_classes is None and setup.img_size is None and (shape := shipped_shape(setup.model)):
        return shape
    engine = engine_state()
    return engine.model.shape if engine.is_ready else None


def default_selection(setup: Setup) -> str:
    """`calibrated`, which is static and exportable, where there are calibration images; else `per_image`."""
    return "calibrated" if setup.calibration else "per_image"


def open_session(shape: ModelShape) -> None:
    """On the session's first run, take the schedule from the link, else the draft last in hand, else the baseline.

    A bad link leaves a notice.
    """
    if "history" in st.session_state:
        return
    schedule = Schedule.uniform(len(shape.blocks), selection=default_selection(engine_client().setup))
    linked = "schedule" in st.query_params
    try:
        schedule = read_link(dict(st.query_params.items()), shape, schedule)
    except ScheduleError as error:
        linked, st.session_state["notice"] = False, f"The link was not used: {error}"
    present, past, future = autosave.resume(shape, schedule, linked)
    st.session_state["history"], st.session_state["session"] = History(present, tuple(past), tuple(future)), uuid.uuid4().hex


def history() -> History:
    """The session's history; `open_session` comes first."""
    return st.session_state["history"]


def schedule() -> Schedule:
    """The schedule in hand."""
    return history().present


def edit(schedule: Schedule) -> None:
    """Take another schedule in hand; it can be undone."""
    st.session_state["history"] = history().edit(schedule)


def limits() -> Limits:
    """The session's locks and ranges."""
    return st.session_state.get("limits", {})


def set_limits(wanted: Limits) -> None:
    """Take other locks and ranges; the schedule in hand stays as it is until its next edit."""
    st.session_state["limits"] = dict(wanted)


def edit_within_limits(wanted: Schedule) -> None:
    """Take another schedule in hand as far as locks and ranges allow; what they held back leaves a notice."""
    got = hold(limits(), schedule(), wanted)
    if count := held_back(wanted, got):
        st.session_state["notice"] = f"Locks and ranges held back {count} of the changes; unlock those bars to change them."
    edit(got)


def undo() -> None:
    """Take the schedule before in hand again."""
    st.session_state["history"] = history().undo()


def redo() -> None:
    """Take the schedule that was undone in hand again."""
    st.session_state["history"] = history().redo()


def keep_result(schedule: Schedule, message: Measurement) -> None:
    """Remember a finished measurement: for the session, so that undo shows it at once, and with the drafts."""
    autosave.keep_result(engine_client().setup, engine_state(), schedule, message)
    results = st.session_state.setdefault("results", {})
    results[schedule.digest()] = message
    while len(results) > _MAX_RESULTS:
        results.pop(next(iter(results)))


def kept_result(schedule: Schedule) -> Measurement | None:
    """The finished measurement of a schedule, if this session has one."""
    return st.session_state.get("results", {}).get(schedule.digest())


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
    return {"model": shape.name, "selection": schedule.selection, "schedule": encode_schedule(schedule)}


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
    return replace(found, selection=selection)


def publish_link(shape: ModelShape) -> None:
    """Write the schedule in hand into the address bar, beside what the page shows (see `view`)."""
    wanted = link_parameters(schedule(), shape)
    if any(st.query_params.get(name) != value for name, value in wanted.items()):
        st.query_params.update(wanted)
