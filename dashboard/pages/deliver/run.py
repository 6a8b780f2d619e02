"""A run on the Deliver page: what it costs with the button that starts it, how far it is, and why it failed."""

from collections.abc import Mapping

import streamlit as st

from dashboard.components.jobs import OPEN, price_text, progress_text
from dashboard.engine.client import EngineError
from dashboard.navigation import page
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.engine.protocol import Job
from toast_core.setup import LIVE_IMAGES

REFRESH_S = 1.0
_WAITING = {"queued": "it starts when its turn comes", "paused": "resume it on the Runs page"}


def show_run(run: dict, label: str, prominent: bool) -> None:
    """What a run costs with a button that starts it, or how far the one that is open has come; its command line below."""
    engine, kind = state.engine_state(), run["kind"]
    if engine.data is None:
        st.info("This dashboard was started without images, so there is nothing to measure on. Start it with --data FOLDER.")
        return
    job = last_job(kind, run)
    if job and job.state in OPEN:
        follow(kind, run)
        return
    if job and job.state == "failed":
        st.error(f"Run {job.number} failed: {job.message}")
    most = engine.data.images
    choose, price, start = st.columns([2, 4, 2], vertical_alignment="bottom")
    images = choose.number_input(f"Images, of {most:,}", 1, most, min(most, LIVE_IMAGES), key=f"{kind}-images")
    try:
        with st.spinner("Looking at what is stored, and how fast this machine is"):
            offer = state.engine_client().quote(run | {"images": None if images == most else images})
    except EngineError as error:
        st.error(str(error))
        return
    price.markdown(price_text(offer.quote))
    start.button(
        label, type="primary" if prominent else "secondary", on_click=whole(_start_sized), args=(run, most), width="stretch",
        key=f"{kind}-start",
    )
    show_refusal(kind)
    with st.expander("The same on the command line"):
        st.code(offer.command, language="bash", wrap_lines=True)


def _start_sized(run: dict, most: int) -> None:
    """Start the run on as many images as the box says now, of `most`."""
    images = st.session_state[f"{run['kind']}-images"]
    start(run | {"images": None if images == most else images}, run["kind"])


def start(run: dict, name: str) -> None:
    """Queue a run; a refusal is kept under the name, for `show_refusal`."""
    try:
        state.submit(run)
    except EngineError as error:
        st.session_state[f"{name}-error"] = str(error)


def show_refusal(name: str) -> None:
    """Say once why the run of this name was not taken."""
    if failure := st.session_state.pop(f"{name}-error", None):
        st.error(failure)


def last_job(kind: str, wanted: Mapping) -> Job | None:
    """The open run of this kind whose settings have what is wanted (lists: among others), else the last one."""
    try:
        jobs = state.engine_client().jobs()
    except EngineError:
        return None
    same = [job for job in jobs if job.run.kind == kind and _has(job.run.settings, wanted)]
    return next((job for job in same if job.state in OPEN), next(iter(same), None))


def _has(settings: Mapping, wanted: Mapping) -> bool:
    for name, value in wanted.items():
        found = settings.get(name)
        among = isinstance(value, list) and isinstance(found, list) and set(value) <= set(found)
        if name != "kind" and not among and found != value:
            return False
    return True


@st.fragment(run_every=REFRESH_S)
def follow(kind: str, wanted: dict) -> None:
    """Look every second how far the run is; the whole page is drawn again once it has ended."""
    job = last_job(kind, wanted)
    if job is None or job.state not in OPEN:
        st.rerun()
    elif job.state == "running":
        st.progress(job.done / job.total if job.total else 0.0, text=progress_text(job))
    else:
        st.info(f"Run {job.number} is {job.state}; {_WAITING[job.state]}.")
    st.page_link(page("runs"), label="Pause, cancel or read its log on the Runs page")
