"""What a browser session holds: the engine that it asks, and one schedule with its history, shared by all pages."""

import uuid
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.engine.client import EngineClient, memory_from_environment, setup_from_environment, shipped_shape
from dashboard.limits import Limits, held_back, hold
from dashboard.session import autosave, channel
from dashboard.session.drafts import DraftError
from dashboard.session.history import History
from dashboard.session.link import read_link
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Description, Job, Measurement, Predicted, SketchCard
from toast_core.errors import ScheduleError
from toast_core.schedule.compensation import FULL, NONE, Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.tasks.base import Figure, Task
from toast_core.studies.tasks.registry import TASKS, task_of

_MAX_RESULTS = 100


@st.cache_resource
def engine_client() -> EngineClient:
    """The one client of this process, for the setup that `launch` was given."""
    return EngineClient(setup_from_environment(), memory_gb=memory_from_environment())


def engine_state() -> Description:
    """The engine's description; asked again until it is ready, then kept for the session."""
    if "engine" not in st.session_state:
        found = engine_client().describe()
        if not found.is_ready:
            return found
        st.session_state["engine"] = found
    return st.session_state["engine"]


def map_card() -> SketchCard | None:
    """How far the map is that the engine draws by itself, asked anew until it is there; None before it is begun.

    With a compensated schedule in hand another one is drawn, of refitted cells.
    """
    card = st.session_state.get("map-card")
    if card is None or card.is_running or (wants_refits() and not card.compensated):
        card = st.session_state["map-card"] = engine_client().describe().sketch
    return card


def wants_refits() -> bool:
    """Whether the schedule in hand, or what will be edited of it, is one that the engine draws the map of refitted cells for."""
    setup = engine_client().setup
    return not schedule().compensation.is_none and setup.calibration is not None and setup.is_sketched


def model_shape() -> ModelShape | None:
    """The model's shape: shipped with the demos, else from the engine; None while neither is there."""
    setup = engine_client().setup
    is_asked_as_is = setup.asked_classes is None and setup.class_embeddings is None and setup.img_size is None
    is_named = is_asked_as_is and setup.weights in (None, "random")
    if is_named and (shape := shipped_shape(setup.model)):
        return shape
    engine = engine_state()
    return engine.model.shape if engine.is_ready else None


def task() -> Task:
    """What the model is for; classification while the engine has not said."""
    shape = model_shape()
    return TASKS["classification"] if shape is None else task_of(shape)


def headline() -> Figure:
    """The figure that pages show of a schedule: top-1, or another where the model is for another task."""
    return task().figures[0]


def default_selection(setup: Setup) -> str:
    """`calibrated`, which is static and exportable, where there are calibration images; else `per_image`."""
    return "calibrated" if setup.calibration else "per_image"


def default_compensation(setup: Setup, selection: str) -> Compensation:
    """All of it where channels are chosen once and there are images to fit on; else none, which no other schedule can have."""
    return FULL if selection == "calibrated" and setup.calibration else NONE


def baseline(shape: ModelShape) -> Schedule:
    """What a session begins with: nothing dropped, and the settings that the next edit is to have."""
    setup = engine_client().setup
    selection = default_selection(setup)
    return Schedule.uniform(len(shape.blocks), selection=selection, compensation=default_compensation(setup, selection))


def open_session(shape: ModelShape) -> None:
    """On the session's first run, take the schedule from the link, else the draft last in hand, else the baseline.

    A bad link leaves a notice.
    """
    if "history" in st.session_state:
        return
    schedule = baseline(shape)
    linked = "schedule" in st.query_params
    try:
        schedule = read_link(dict(st.query_params.items()), shape, schedule)
    except ScheduleError as error:
        linked, st.session_state["notice"] = False, f"The link was not used: {error}"
    present, past, future = autosave.resume(engine_client().setup, shape, schedule, linked)
    st.session_state["history"], st.session_state["session"] = History(present, tuple(past), tuple(future)), uuid.uuid4().hex
    channel.admit(st.session_state["session"], engine_client(), shape)


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


def take(schedule: Schedule, name: str) -> None:
    """Take a schedule in hand that was fitted, tuned or imported: a draft of its own under this name, which nothing overwrites."""
    try:
        autosave.begin(name)
    except DraftError as error:
        st.session_state["notice"] = str(error)
    edit(schedule)


def freeze() -> None:
    """Leave the draft in hand as it is from now on: its next edit begins a new one."""
    try:
        autosave.freeze()
    except DraftError as error:
        st.session_state["notice"] = str(error)


def submit(run: Mapping[str, Any]) -> Job:
    """Queue a run; where it is about the schedule in hand, that is left as it is from now on.

    Raises:
        EngineError: no engine answers, or it refused.
    """
    if run.get("schedule") == schedule().to_dict():
        freeze()
    return engine_client().submit(dict(run))


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


def keep_prediction(schedule: Schedule, message: Predicted) -> None:
    """Remember what was predicted of a schedule, as long as its result is."""
    predictions = st.session_state.setdefault("predictions", {})
    predictions[schedule.digest()] = message
    while len(predictions) > _MAX_RESULTS:
        predictions.pop(next(iter(predictions)))


def kept_prediction(schedule: Schedule) -> Predicted | None:
    """What was predicted of a schedule before it was measured, if this session asked."""
    return st.session_state.get("predictions", {}).get(schedule.digest())


def audit_of_predictions() -> tuple[int, int]:
    """Of the schedules that this session measured after predicting them, how many lie inside the predicted interval, and how many are."""
    results = [one for one in st.session_state.get("results", {}).values() if one.predicted is not None]
    return sum(one.predicted.ci95[0] <= one.change.value <= one.predicted.ci95[1] for one in results), len(results)


def kept_result(schedule: Schedule) -> Measurement | None:
    """The finished measurement of a schedule, if this session has one."""
    return st.session_state.get("results", {}).get(schedule.digest())
