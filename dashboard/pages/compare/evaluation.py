"""Measuring candidates on all images: one job each, with its price beforehand and its state while it waits and runs."""

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.components.jobs import BADGES, OPEN, duration, progress_text
from dashboard.engine.client import EngineError
from dashboard.evidence.candidates import Candidate
from dashboard.evidence.starting_points import identity
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.engine.protocol import Description, Job
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import Schedule

_REFRESH_S = 1.5


def run_of(schedule: Schedule) -> dict:
    """The job that evaluates a schedule on all images."""
    return {"kind": "evaluation", "schedule": schedule.to_dict(), "images": None}


def lacking(shown: Sequence[Candidate], images: int) -> list[Candidate]:
    """The candidates that are not yet evaluated on all images of the set."""
    return [one for one in shown if one.evaluation is None or one.evaluation.images < images]


def show_measuring(shown: Sequence[Candidate], engine: Description) -> DeltaGenerator | None:
    """The button and the jobs. Return the place for the price, which takes a while to find out; None where there is nothing to measure."""
    if not engine.is_ready:
        return None
    if engine.data is None:
        st.info("Nothing can be measured: the dashboard was started without images. Start it with --data FOLDER.")
        return None
    images = engine.data.images
    wanted = lacking(shown, images)
    if not wanted:
        st.caption(f"All {len(shown)} candidates shown are measured on all {images:,} images.")
        return None
    button, price = st.columns([2, 5], vertical_alignment="center")
    button.button(
        f"Measure {len(wanted)} on all {images:,} images", on_click=whole(_submit), args=(wanted,), key="compare-measure", width="stretch",
        type="primary",
    )
    if error := st.session_state.pop("compare-error", None):
        st.error(error)
    going = _jobs(wanted)
    st.session_state["compare-open"] = {job.number for job in going.values() if job.state in OPEN}
    st.fragment(_show_jobs, run_every=_REFRESH_S if st.session_state["compare-open"] else None)(wanted)
    return price.empty()


def show_price(place: DeltaGenerator, shown: Sequence[Candidate], engine: Description) -> None:
    """What measuring one costs, found out when everything else of the page is drawn; kept for the session."""
    wanted, prices = lacking(shown, engine.data.images), st.session_state.setdefault("compare-prices", {})
    first = next((one for one in wanted if not one.schedule.is_baseline), wanted[0])
    name = identity(first.schedule)
    if name not in prices:
        place.caption("Looking how fast this machine is")
        try:
            prices[name] = state.engine_client().quote(run_of(first.schedule)).quote.seconds
        except EngineError as error:
            place.caption(f"No price: {error}")
            return
    seconds, count = prices[name], len(wanted)
    total = f", about {duration(seconds * count)} together" if count > 1 else ""
    place.caption(f"About {duration(seconds)} each{total}, one after the other. Runs go on when you leave; the Runs page has them all.")


def _submit(wanted: Sequence[Candidate]) -> None:
    try:
        for one in sorted(wanted, key=lambda one: not one.schedule.is_baseline):
            state.submit(run_of(one.schedule))
    except EngineError as error:
        st.session_state["compare-error"] = str(error)


def _jobs(wanted: Sequence[Candidate]) -> dict[str, Job]:
    """The newest job on all images of each of these schedules, by identity."""
    asked, found = {identity(one.schedule) for one in wanted}, {}
    try:
        for job in state.engine_client().jobs():
            if job.run.kind == "evaluation" and job.run.settings.get("images") is None:
                name = identity(Schedule.from_dict(job.run.settings["schedule"]))
                if name in asked:
                    found.setdefault(name, job)
    except (EngineError, ScheduleError):
        return {}
    return found


def _show_jobs(wanted: Sequence[Candidate]) -> None:
    """Every candidate's job that is not done; when one ends, the whole page reads what it measured."""
    jobs = _jobs(wanted)
    if st.session_state["compare-open"] - {job.number for job in jobs.values() if job.state in OPEN}:
        st.rerun()
    for one in wanted:
        job = jobs.get(identity(one.schedule))
        if job is not None and job.state in (*OPEN, "failed"):
            words = progress_text(job) if job.state == "running" else job.message
            st.markdown(f"{BADGES[job.state]} {one.name}, run {job.number}" + (f": {words}" if words else ""))
