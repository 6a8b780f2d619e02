"""Deliver: the schedule in hand becomes files, with what shows that they are the model that was measured, and a page to send along."""

import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.components.engine_status import show_engine_status
from dashboard.components.heading import show_heading
from dashboard.evidence.find import Evidence, Found, find_by_card
from dashboard.navigation import page
from dashboard.pages.deliver.batches import show_batches
from dashboard.pages.deliver.files import show_files, show_schedule_files
from dashboard.pages.deliver.record import show_record
from dashboard.pages.deliver.report import show_report
from dashboard.pages.deliver.run import last_job, show_run
from dashboard.session import state
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.schedule.schedule import Schedule
from toast_core.studies.agreement.result import Agreement

_SHORT = 8
_CHOSEN = {"calibrated": "once, from calibration images", "per_image": "for every image", "per_batch": "for every batch"}
_PURPOSE = (
    "Write the pruned model into a file, and see what shows that it is the model you tuned: the masked model, which was measured while "
    "tuning, and the compact one, which is smaller and faster, run on the same images. Then take it along in any format, with a report."
)


def render() -> None:
    """Show the page; what is stored is there at once, runs are followed until they are done."""
    show_heading("Deliver")
    st.markdown(_PURPOSE)
    shape = state.model_shape()
    if shape is None:
        show_engine_status()
        return
    schedule = state.schedule()
    _show_schedule(schedule, shape)
    if schedule.is_baseline:
        st.info("The schedule in hand prunes nothing, so there is nothing to deliver yet. Choose ratios on the Tune page, then come back.")
        st.page_link(page("tune"), label="Tune")
        return
    ready, found = show_engine_status(), find_by_card(state.engine_client().setup, shape.name, state.engine_state())
    for problem in found.problems:
        st.warning(problem)
    evidence = of_schedule(found, "agreement", schedule)
    record = None if evidence is None else _read(evidence)
    with st.container(border=True):
        st.subheader("The pruned model", anchor=False)
        if evidence is not None and record is not None:
            show_record(record, evidence)
        _show_check(schedule, ready, is_done=record is not None)
    if evidence is not None and record is not None:
        with st.container(border=True):
            st.subheader("Report", anchor=False)
            show_report(evidence, record)
        with st.container(border=True):
            st.subheader("Files", anchor=False)
            show_files(found, evidence, record, schedule, ready)
            if state.task().answers:
                st.page_link(page("runs"), label="Win accuracy back by fine-tuning: a recovery, on the Runs page")
    with st.container(border=True):
        st.subheader("Does the answer depend on the other images of a batch?", anchor=False)
        show_batches(of_schedule(found, "composition", schedule), schedule, ready)
        st.page_link(page("compare"), label="Which classes and images lose: the Compare page")
    with st.container(border=True):
        st.subheader("Schedule", anchor=False)
        show_schedule_files(schedule, shape)


def _show_schedule(schedule: Schedule, shape: ModelShape) -> None:
    cost, before = count_cost(shape, schedule), count_cost(shape)
    compensation = "" if schedule.compensation.is_none else ", compensation on"
    st.markdown(
        f"**Schedule `{schedule.digest()[:_SHORT]}`** of {shape.name}, channels chosen {_CHOSEN[schedule.selection]}"
        f"{compensation}: {wording.gmacs(cost.macs)} GMACs per image, {wording.change(cost.macs, before.macs)} {wording.BADGES['computed']}"
    )


def of_schedule(found: Found, metric: str, schedule: Schedule) -> Evidence | None:
    """The best analysis of this metric that is about exactly this schedule."""
    wanted = schedule.to_dict()
    same = (one for one in found.of(metric) if one.analysis.request.get("schedule") == wanted and one.stored)
    return next(same, None)


def _read(evidence: Evidence) -> Agreement | None:
    try:
        return Agreement.from_dict(evidence.rows()[0])
    except (StoreError, KeyError, TypeError, ValueError, IndexError) as error:
        st.error(f"The stored record of this schedule cannot be read ({error}); measure it again.")
        return None


def _show_check(schedule: Schedule, ready: bool, is_done: bool) -> None:
    """The run that writes the file and measures it; once that is stored, only where it is wanted again or is going on."""
    if not ready:
        return
    run = {"kind": "apply", "schedule": schedule.to_dict()}
    job = last_job("apply", run)
    if is_done and not (job and job.state != "done") and not st.toggle("Measure again", key="apply-again"):
        return
    show_run(run, "Measure again" if is_done else "Write and check", prominent=not is_done)
