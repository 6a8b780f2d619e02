"""Jobs in words and as cards: what one costs, how far it is, what came of it, and the buttons that control it."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import streamlit as st

from dashboard import wording
from dashboard.engine.client import EngineError
from dashboard.navigation import page, page_of_run
from dashboard.session import state, view
from dashboard.session.whole import whole
from toast_core.engine.protocol import Job, Quote
from toast_core.schedule.schedule import Schedule

OPEN = ("running", "queued", "paused")
BADGES = {
    "queued": ":gray-badge[queued]", "running": ":blue-badge[running]", "paused": ":orange-badge[paused]", "done": ":green-badge[done]",
    "failed": ":red-badge[failed]", "cancelled": ":gray-badge[cancelled]",
}
_ACTIONS = {
    "queued": {"Pause": "pause", "Cancel": "cancel"}, "running": {"Pause": "pause", "Cancel": "cancel"},
    "paused": {"Resume": "resume", "Cancel": "cancel"}, "failed": {"Try again": "resume"}, "cancelled": {"Resume": "resume"}, "done": {},
}
_WISHES = {"pause": "Pausing", "cancel": "Cancelling"}


def price_text(quote: Quote, upper_bound: bool = False, unit: str = "cell") -> str:
    """A run's price as Markdown, such as `**About 4 min** on this machine: 108 cells x 1,000 images.`, and what of it is stored already.

    Args:
        upper_bound: whether the run may end before it has measured all that.
        unit: what the quote counts as cells.
    """
    cells, stored = quote.cells, quote.stored
    what = f"{cells:,} {unit}{'s' if cells > 1 else ''} \N{MULTIPLICATION SIGN} {quote.images:,} images"
    if stored == cells:
        return f"**0 s**: {what}, all stored already. A run only puts them together."
    known = f" Of the {unit}s, {stored:,} {'is' if stored == 1 else 'are'} stored already, at no cost." if stored else ""
    return f"**{'At most about' if upper_bound else 'About'} {duration(quote.seconds)}** on this machine: {what}.{known}"


def duration(seconds: float) -> str:
    """A duration with the two digits at most that an estimate deserves: `12 s`, `4 min`, `2.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{round(hours)} h"


def progress_text(job: Job) -> str:
    """What a running job is doing, how far it is, and how long it still takes."""
    if job.wish:
        return f"{_WISHES[job.wish]}; what is finished stays stored"
    if not job.total:
        return f"{job.message}; the quote was {duration(job.quote.seconds)}"
    if job.done == job.total:
        return "All images done, putting the results together"
    share, left = f"{100 * job.done / job.total:.0f} %", job.left_s
    return f"{share} done" + (f", about {duration(left)} left" if left else "")


def show_job(
    job: Job, images: str | None = None, more_buttons: Callable[[Job], None] | None = None, details: Callable[[Job], None] | None = None
) -> None:
    """One job as a card: how far it is or what came of it, its buttons, its facts, and its log behind a switch.

    Args:
        images: what its images are called where they are not the dashboard's.
        more_buttons: draws the buttons that only jobs of its kind have.
        details: draws what only jobs of its kind have to show, once there is an analysis.
    """
    number = job.number
    title, buttons = st.columns([3, 2], vertical_alignment="center")
    title.markdown(f"{BADGES[job.state]} **Run {number}**: {job.title}")
    with buttons.container(horizontal=True, horizontal_alignment="right"):
        if job.analysis and page_of_run(job.run.kind):
            own = is_own(job)
            st.button(
                "Open the analysis", key=f"job-open-{number}", on_click=whole(_open_analysis), args=(job,), disabled=not own,
                help=None if own else f"This run is about {wording.plain(job.model)}; open a dashboard on that model.",
            )
        if more_buttons:
            more_buttons(job)
        for label, action in _ACTIONS[job.state].items():
            st.button(label, key=f"job-{action}-{number}", on_click=whole(_control), args=(action, number), disabled=bool(job.wish))
    if job.state == "running":
        st.progress(job.done / job.total if job.total else 0.0, text=progress_text(job))
    elif job.message:
        (st.error if job.state == "failed" else st.markdown)(job.message)
    st.caption(facts_text(job, images))
    if details and job.analysis:
        details(job)
    if st.toggle("Log and command", key=f"job-log-{number}"):
        try:
            st.code(state.engine_client().log(number) or "Nothing yet.", language=None, height=240, wrap_lines=True)
        except EngineError as error:
            st.error(str(error))
        st.code(job.command, language="bash", wrap_lines=True)


def is_own(job: Job) -> bool:
    """Whether a job is about the dashboard's model, as far as names tell; another one's analysis would be shown beside this one's."""
    setup = state.engine_client().setup
    return job.model == (setup.model or Path(setup.weights or "").name)


def _open_analysis(job: Job) -> None:
    """Show what a job has measured: where its page is about the schedule in hand, with that schedule taken in hand."""
    name = page_of_run(job.run.kind)
    if name is None or job.analysis is None:
        return
    if "schedule" in job.run.settings:
        wanted = Schedule.from_dict(job.run.settings["schedule"])
        if wanted != state.schedule():
            state.freeze()  # the draft in hand stays as it is
            state.edit(wanted)
        st.switch_page(page(name))
    view.choose(name, "analysis", job.analysis)
    st.switch_page(page(name), query_params={"analysis": job.analysis})


def facts_text(job: Job, images: str | None = None) -> str:
    """Model, images, price and times of a job; `images` is what its images are called where they are not the dashboard's."""
    quote = job.quote
    price = f"quoted {duration(quote.seconds)}" if quote.seconds else "quoted 0 s, all stored"
    images = images or f"images of {wording.plain(job.data)}"
    parts = [job.model, f"{quote.images:,} {images}", price]
    parts.append(f"started {_time(job.started_at)}" if job.started_at else f"submitted {_time(job.submitted_at)}")
    if job.finished_at:
        parts.append(f"ended {_time(job.finished_at)}")
    if job.measured_s:
        parts.append(f"measured for {duration(job.measured_s)}")
    if job.crashes:
        parts.append(f"restarted {job.crashes} times by itself")
    return ", ".join(parts)


def _time(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds)
    return when.strftime("%H:%M:%S" if when.date() == datetime.now().date() else "%d %b %Y %H:%M")


def _control(action: str, number: int) -> None:
    try:
        state.engine_client().control(action, number)
    except EngineError as error:
        st.session_state["job-error"] = str(error)
