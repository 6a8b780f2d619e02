"""The one button for a model that was never seen: schedules tuned for it and measured, with their progress wherever the button stands."""

import streamlit as st

from dashboard import wording
from dashboard.components.jobs import OPEN, is_own, progress_text
from dashboard.engine.client import EngineError
from dashboard.evidence.budget_fit import BudgetRequest, tuning_run
from dashboard.evidence.savings import GOALS
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Job
from toast_core.errors import ToastError
from toast_core.setup import LIVE_IMAGES
from toast_core.studies.sketch.result import REFITTED_SITES

_POLL_S = 1.0
_ERROR = "analyse-error"


def show_analyse(shape: ModelShape, again: bool = False) -> None:
    """The button, or what stands in its way; once it is pressed, in any session, how far the runs are. `again`: that was done before."""
    engine = state.engine_state()
    if not engine.is_ready:
        return
    if engine.data is None or engine.calibration is None:
        what, flag = ("labelled images", "--data FOLDER") if engine.data is None else ("images to fit on", "--calibration FOLDER")
        st.info(f"To find what can be saved, {shape.name} needs {what}: start the dashboard with {flag}.")
        return
    if error := st.session_state.pop(_ERROR, None):
        st.error(error)
    if count := len(_open_runs()):
        _show_runs(count)
    else:
        _show_button(shape, min(engine.data.images, LIVE_IMAGES), again)


@st.fragment(run_every=_POLL_S)
def _show_runs(before: int) -> None:
    """The runs' progress; the page is drawn anew when one of those that were open `before` has ended."""
    runs = _open_runs()
    if len(runs) < before:
        st.rerun()
    if not runs:
        return
    first = runs[0]
    text = f"{first.title[:1].upper()}{first.title[1:]}: " + (progress_text(first) if first.state == "running" else first.state)
    st.progress(first.done / first.total if first.total else 0.0, text=wording.plain(text))
    if len(runs) > 1:
        st.caption(f"{len(runs) - 1} more to come. You can work meanwhile; closing this page stops nothing.")


def _show_button(shape: ModelShape, images: int, again: bool) -> None:
    goals = f"{', '.join(map(str, GOALS[:-1]))} and {GOALS[-1]} %"
    about = (
        f"Finds the schedules that save {goals} of the MACs with the least damage, compensated, and measures each on {images:,} images. "
        f"{len(GOALS)} runs, one after the other; you can work meanwhile."
    )
    if again:
        st.button("Analyse again", key="analyse", on_click=whole(_begin), args=(shape, images), help=about)
        return
    st.button("Analyse this model", type="primary", key="analyse", on_click=whole(_begin), args=(shape, images))
    st.caption(about)


def _begin(shape: ModelShape, images: int) -> None:
    try:
        for percent in GOALS:
            asked = tuning_run(shape, state.baseline(shape), {}, BudgetRequest("reduction", percent, REFITTED_SITES, True))
            state.submit({**asked, "evaluate": images})
    except ToastError as error:
        st.session_state[_ERROR] = str(error)


def _open_runs() -> list[Job]:
    """The tunings of this model that run or wait, the running one first."""
    try:
        jobs = state.engine_client().jobs()
    except EngineError:
        return []
    found = [job for job in jobs if job.run.kind == "tuning" and job.state in OPEN and is_own(job)]
    return sorted(found, key=lambda job: (OPEN.index(job.state), job.number))
