"""The measured figures of the schedule in hand, as they arrive from the engine."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import state, wording
from toast_core.errors import ToastError


@dataclass(frozen=True)
class MeasuredSlots:
    """Places at the top of the page that `follow` fills from its end, when everything else is drawn."""

    top1: DeltaGenerator
    delta: DeltaGenerator
    progress: DeltaGenerator


def open_slots(top1: DeltaGenerator, delta: DeltaGenerator, progress: DeltaGenerator) -> MeasuredSlots:
    """Reserve the places, with what is known so far: nothing, or a result this session has already."""
    slots = MeasuredSlots(top1.empty(), delta.empty(), progress.empty())
    kept = state.kept_result(state.schedule())
    _show(slots, kept)
    slots.progress.caption(_summary(kept) if kept else "Waiting for the engine")
    return slots


def follow(slots: MeasuredSlots) -> None:
    """Measure the schedule in hand and show the figures after each batch. The next edit interrupts it wherever it is."""
    schedule, engine = state.schedule(), state.engine_state()
    if state.kept_result(schedule):
        return
    if engine["state"] == "ready" and engine["data"] is None:
        slots.progress.info("Not measured: the dashboard was started without images. Start it with --data FOLDER and weights to measure.")
        return
    share, text = 0.0, "Waiting for the engine"
    try:
        with closing(state.engine_client().measure(st.session_state["session"], schedule)) as messages:
            for message in messages:
                if "images_done" in message:
                    share = message["images_done"] / message["images_total"]
                    text = f"Measuring: {message['images_done']:,} of {message['images_total']:,} images"
                    _show(slots, message)
                text = message.get("progress", text)
                # Drawn on every message, empty ones too: drawing is where Streamlit lets a newer run take over.
                slots.progress.progress(share, text=text)
                if message.get("done"):
                    state.keep_result(schedule, message)
                    slots.progress.caption(_summary(message))
    except ToastError as error:
        with slots.progress.container():
            st.error(str(error))
            st.button("Measure again", key="measure-again")


def _show(slots: MeasuredSlots, message: Mapping | None) -> None:
    badge = wording.BADGES["measured"]
    with slots.top1.container():
        if message is None:
            st.metric(f"Top-1 {badge}", "\N{EN DASH}")
            st.caption("not measured")
        else:
            top1, before = wording.read_estimate(message["top1"]), wording.read_estimate(message["baseline"]["top1"])
            st.metric(f"Top-1 {badge}", wording.accuracy(top1))
            st.caption(f"95 %: {wording.accuracy_interval(top1)}; baseline {wording.accuracy(before)}")
    with slots.delta.container():
        if message is None:
            st.metric(f"Top-1 vs baseline {badge}", "\N{EN DASH}")
            st.caption("on the same images")
        else:
            delta = wording.read_estimate(message["delta_top1"])
            st.metric(f"Top-1 vs baseline {badge}", wording.points(delta))
            st.caption(f"95 %: {wording.points_interval(delta)}; {_verdict(delta)}")


def _verdict(delta: wording.Estimate) -> str:
    return "this is the baseline" if state.schedule().is_baseline else wording.verdict(delta)


def _summary(message: Mapping) -> str:
    return f"Measured on {message['images_done']:,} images; both accuracies are of the same ones."
