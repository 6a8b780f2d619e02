"""A tuning on the Runs page: the Tune page starts it, and what it found can be taken in hand here, too."""

import streamlit as st

from dashboard.pages.runs.form import Form
from dashboard.session import state
from dashboard.session.tunings import take_tuning
from dashboard.session.whole import whole
from toast_core.engine.protocol import Job


def _show_take(job: Job) -> None:
    if job.state == "done":
        st.button("Take the schedule", key=f"job-take-{job.number}", on_click=whole(_take), args=(job,))


def _take(job: Job) -> None:
    """Take a tuned schedule in hand; the notice says where it is."""
    take_tuning(state.model_shape(), job)
    st.session_state.setdefault("notice", f"The schedule of run {job.number} is in hand, on the Tune page.")


FORM = Form("tuning", buttons=_show_take)
