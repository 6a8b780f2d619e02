"""What is measured of the schedule in hand, in words and kept as it comes; the equaliser asks for the figures itself, past the page."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import wording
from dashboard.session import state
from toast_core.engine.protocol import Measurement, Message, Predicted, Progress
from toast_core.errors import ToastError

_REDRAW_S = 0.4  # the browser draws figures with the processor that measures them


@dataclass(frozen=True)
class MeasuredSlots:
    """Places that `follow` fills from the page's end, when everything else is drawn."""

    told: DeltaGenerator
    predicted: DeltaGenerator


def begin() -> Iterator[Message | None]:
    """Ask the engine for the schedule in hand, which it measures while the page is drawn. Nothing comes where there is nothing to ask.

    An error is raised by the iterator that is returned, when it is read.
    """
    schedule, engine = state.schedule(), state.engine_state()
    if state.kept_result(schedule) or (engine.is_ready and engine.data is None):
        return iter(())
    messages = state.engine_client().measure(st.session_state["session"], schedule)
    try:
        return chain((next(messages, None),), messages)
    except ToastError as error:
        return _failing(error)


def _failing(error: ToastError) -> Iterator[Message | None]:
    raise error
    yield None


def open_slots(card: DeltaGenerator, messages: Iterator[Message | None]) -> MeasuredSlots:
    """Fill the places with what is known by now: nothing, a result this session has already, or the first figures of `begin`."""
    slots, kept = MeasuredSlots(card.empty(), card.empty()), state.kept_result(state.schedule())
    if (predicted := state.kept_prediction(state.schedule())) is not None:
        _show_prediction(slots, predicted)
    slots.told.caption(_summary(kept) if kept else "Waiting for the engine")
    _draw(slots, islice(messages, 2))  # that the engine was asked, and what it says within a tenth of a second
    return slots


def follow(slots: MeasuredSlots, messages: Iterator[Message | None]) -> None:
    """Show the figures of `begin` as they come. The next edit interrupts it wherever it is."""
    engine = state.engine_state()
    if engine.is_ready and engine.data is None and not state.kept_result(state.schedule()):
        slots.told.info("Not measured: the dashboard was started without images. Start it with --data FOLDER and weights to measure.")
    _draw(slots, messages)


def _draw(slots: MeasuredSlots, messages: Iterator[Message | None]) -> None:
    drawn_s = -math.inf
    try:
        for message in messages:
            # Reading the session is where Streamlit lets a newer run take over: on every message, and where there is none.
            schedule = state.schedule()
            if isinstance(message, Measurement) and message.is_done:
                state.keep_result(schedule, message)
                slots.told.caption(_summary(message))
            elif isinstance(message, Measurement) and time.monotonic() - drawn_s > _REDRAW_S:
                share = message.images_done / message.images_total
                slots.told.progress(share, text=f"Measuring: {message.images_done:,} of {message.images_total:,} images")
                drawn_s = time.monotonic()
            elif isinstance(message, Predicted):
                state.keep_prediction(schedule, message)
                _show_prediction(slots, message)
            elif isinstance(message, Progress) and drawn_s < 0:  # a word about waiting must not empty a bar that has moved
                slots.told.progress(0.0, text=message.text)
    except ToastError as error:
        with slots.told.container():
            st.error(str(error))
            st.button("Measure again", key="measure-again")


def _show_prediction(slots: MeasuredSlots, message: Predicted) -> None:
    """What was predicted before anything was measured, what of, and how often that was right so far."""
    figure, damage, lines = state.headline(), state.task().damage, []
    if message.change is not None:
        lines.append(f"{wording.points(message.change, figure)} (95 %: {wording.points_interval(message.change, figure)})")
    if message.damage is not None:
        low, high = (damage.number(end) for end in message.damage.ci95)
        unit = f" {damage.unit}" if damage.unit else ""
        lines.append(f"{damage.label} {damage.number(message.damage.value)}{unit} ({low} to {high})")
    if message.damage is not None:
        many = "1 measured schedule" if message.calibrated_by == 1 else f"{message.calibrated_by} measured schedules"
        lines.append(f"learned from {many}" if message.calibrated_by else "no schedule measured yet to learn from")
    if message.why:
        lines.append(message.why)
    inside, checked = state.audit_of_predictions()
    if checked:
        lines.append(f"{inside} of {checked} measured schedules were inside their predicted interval")
    slots.predicted.caption(f"{wording.BADGES['predicted']} {'; '.join(lines)}" if message.damage else f"Not predicted: {'; '.join(lines)}")


def _summary(message: Measurement) -> str:
    figure, now, change = state.headline(), message.scheduled.headline, message.change
    verdict = "this is the baseline" if state.schedule().is_baseline else wording.verdict(change)
    return (
        f"Measured on {message.images_done:,} images: {figure.label} {wording.accuracy(now, figure)} "
        f"(95 %: {wording.accuracy_interval(now, figure)}), {wording.points(change, figure)} against the baseline's "
        f"{wording.accuracy(message.baseline.headline, figure)} on the same images ({wording.points_interval(change, figure)}); {verdict}."
    )
