"""Runs: measurements that take longer than a page. What runs, waits or has ended, and a form that says what a new one would cost."""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from dashboard.components.engine_status import show_engine_status
from dashboard.components.figure import show_table
from dashboard.components.heading import show_heading
from dashboard.components.jobs import OPEN, price_text, show_job
from dashboard.engine.client import EngineError
from dashboard.pages.runs.form import Form, find_forms
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.engine.protocol import Description, Job
from toast_core.setup import LIVE_IMAGES

_REFRESH_S = 1.0
_ENDED_SHOWN = 5
_WANTED = "run-wanted"
_FORMS = find_forms()
_OFFERED = {form.kind: form.title for form in _FORMS.values() if form.choose}
_KIND_HELP = "  \n".join(f"{form.title}: {form.help}" for form in _FORMS.values() if form.choose)


def render() -> None:
    """Show the form and the runs; the runs are drawn again every second, the form only when it is used."""
    show_heading("Runs")
    st.markdown(
        "Measurements run one at a time, in a process of their own: they go on when you close this page, restart the dashboard or lose the "
        "engine. What is finished is stored at once and never measured twice. Everyone on this dashboard sees the same runs."
    )
    with st.container(border=True):
        st.subheader("New run", anchor=False)
        if show_engine_status():
            _show_form()
    st.subheader("All runs", anchor=False)
    _show_runs()


@st.fragment
def _show_form() -> None:
    """The form: what to measure, what that costs, the button that starts it, and its command line."""
    engine = state.engine_state()
    if engine.data is None:
        st.info("This dashboard was started without images, so there is nothing to measure on. Start it with --data FOLDER.")
        return
    run = _chosen_run(engine)
    if st.session_state.get(_WANTED):
        whole(_start)(run)
    if run is None:
        return
    try:
        with st.spinner("Looking at what is stored, and how fast this machine is"):
            offer = state.engine_client().quote(run)
    except EngineError as error:
        st.error(str(error))
        return
    price, start = st.columns([5, 1], vertical_alignment="center")
    form = _FORMS[run["kind"]]
    price.markdown(price_text(offer.quote, upper_bound=form.may_end_early(run), unit=form.unit))
    start.button("Start", type="primary", on_click=whole(_want), width="stretch", key="run-start")
    if failure := st.session_state.pop("run-error", None):
        st.error(failure)
    with st.expander("The same on the command line"):
        st.code(offer.command, language="bash", wrap_lines=True)
        if form.needs_schedule:
            st.download_button(
                "Download schedule.json", state.schedule().to_json, "schedule.json", "application/json", key="run-schedule",
                on_click="ignore",
            )


def _chosen_run(engine: Description) -> dict | None:
    """The run that the form describes; None while something is missing, which is said. Rows wrap where the window is narrow."""
    most, run = engine.data.images, {}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        run["kind"] = st.segmented_control(
            "Measure", list(_OFFERED), format_func=_OFFERED.__getitem__, default=next(iter(_OFFERED)), required=True, key="run-kind",
            help=_KIND_HELP,
        )
        form = _FORMS[run["kind"]]
        if form.images is None:
            images = st.number_input(
                f"Images, of {most:,}", 1, most, min(most, LIVE_IMAGES), key="run-images", width=200,
                help="A class-balanced subset; more images, narrower intervals.",
            )
            run["images"] = None if images == most else images
    return form.choose(engine, run)


def _want() -> None:
    """Leave the wish: what the form says by now is known once it is drawn."""
    st.session_state[_WANTED] = True


def _start(run: dict | None) -> None:
    del st.session_state[_WANTED]
    try:
        if run is not None:
            state.submit(run)
    except EngineError as error:
        st.session_state["run-error"] = str(error)


@st.fragment(run_every=_REFRESH_S)
def _show_runs() -> None:
    """Every open run and the last ended ones, each with its buttons; all of them in a table."""
    try:
        jobs = state.engine_client().jobs()
    except EngineError:
        # The engine is being started, by the form above or by the next look.
        state.engine_client().describe()
        st.caption("Waiting for the engine.")
        return
    done = [job.number for job in jobs if job.state == "done"]
    if st.session_state.setdefault("runs-done", done) != done:
        # What has been measured since costs nothing now: the form must say so.
        st.session_state["runs-done"] = done
        st.rerun()
    if not jobs:
        st.info("No run yet. Choose what to measure above and press Start: it appears here, with its progress and the time left.")
        return
    if failure := st.session_state.pop("job-error", None):
        st.error(failure)
    for job in in_order(jobs):
        with st.container(border=True):
            form = _FORMS.get(job.run.kind, Form(job.run.kind))
            show_job(job, form.images, form.buttons, form.details)
    with st.expander("As a table"):
        show_table(pd.DataFrame([_table_row(job) for job in jobs]), "runs-table", "runs")


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """The runs that are shown one by one: what runs, what waits in its order, what is paused, then the last that have ended."""
    still = sorted((job for job in jobs if job.state in OPEN), key=lambda job: (OPEN.index(job.state), job.queued_at))
    return still + [job for job in jobs if job.state not in OPEN][:_ENDED_SHOWN]


def _table_row(job: Job) -> dict:
    return {
        "Run": job.number, "State": job.state, "What": job.title, "Model": job.model, "Data": job.data,
        "Images": job.quote.images, "Done %": round(100 * job.done / job.total) if job.total else None,
        "Quoted s": round(job.quote.seconds), "Measured s": job.measured_s and round(job.measured_s, 1),
        "Submitted": datetime.fromtimestamp(job.submitted_at).isoformat(" ", "seconds"), "Analysis": job.analysis,
        "Outcome": job.message, "Command": job.command,
    }
