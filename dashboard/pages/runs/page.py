"""Runs: measurements that take longer than a page. What runs, waits or has ended, and a form that says what a new one would cost."""

from datetime import datetime

import pandas as pd
import streamlit as st

from dashboard import wording
from dashboard.components.engine_status import show_engine_status
from dashboard.components.figure import show_table
from dashboard.components.heading import show_heading
from dashboard.engine.client import EngineError
from dashboard.navigation import page, pages
from dashboard.pages.runs.recovery import choose_recovery, show_recovery
from dashboard.session import state, view
from dashboard.session.tunings import take_tuning
from toast_core.schedule.schedule import SELECTIONS

_REFRESH_S = 1.0
_ENDED_SHOWN = 5
_OPEN = ("running", "queued", "paused")
_DEFAULT_IMAGES = 1000
_KINDS = {"sensitivity": "Sensitivity", "redundancy": "Redundancy", "evaluation": "Schedule in hand", "recovery": "Recovery"}
_USES_SCHEDULE = ("evaluation", "recovery")
_KIND_HELP = (
    "Sensitivity: prune one site of one block, for every block and ratio.  \nRedundancy: what the feed-forward channels of every block "
    "have in common.  \nSchedule in hand: accuracy and loss of the schedule on the Tune page.  \nRecovery: fine-tune what that schedule "
    "leaves of the model, and write it into a file."
)
_SITES = ("qk", "vo", "qk+vo", "fc1", "fc2", "fc1+fc2")
_RATIOS = tuple(round(0.1 * step, 1) for step in range(1, 10))
_FIRST_RATIOS = (0.3, 0.5, 0.7)
_MODES = {"exact": "Exact", "adaptive": "Adaptive"}
_MODE_HELP = "Exact: every cell sees every image.  \nAdaptive: a cell stops once its interval is narrow enough, or its loss clear."
_BADGES = {
    "queued": ":gray-badge[queued]", "running": ":blue-badge[running]", "paused": ":orange-badge[paused]", "done": ":green-badge[done]",
    "failed": ":red-badge[failed]", "cancelled": ":gray-badge[cancelled]",
}
_ACTIONS = {
    "queued": {"Pause": "pause", "Cancel": "cancel"}, "running": {"Pause": "pause", "Cancel": "cancel"},
    "paused": {"Resume": "resume", "Cancel": "cancel"}, "failed": {"Try again": "resume"}, "cancelled": {"Resume": "resume"}, "done": {},
}
_WISHES = {"pause": "Pausing", "cancel": "Cancelling"}


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
    """Choose, see the price, start."""
    engine = state.engine_state()
    if engine["data"] is None:
        st.info("This dashboard was started without images, so there is nothing to measure on. Start it with --data FOLDER.")
        return
    run = _chosen_run(engine)
    if run is None:
        return
    try:
        with st.spinner("Looking at what is stored, and how fast this machine is"):
            offer = state.engine_client().quote(run)
    except EngineError as error:
        st.error(str(error))
        return
    price, start = st.columns([5, 1], vertical_alignment="center")
    unit = "epoch" if run["kind"] == "recovery" else "cell"
    price.markdown(price_text(offer["quote"], upper_bound=run.get("mode") == "adaptive", unit=unit))
    start.button("Start", type="primary", on_click=_start, args=(run,), width="stretch", key="run-start")
    if error := st.session_state.pop("run-error", None):
        st.error(error)
    with st.expander("The same on the command line"):
        st.code(offer["command"], language="bash", wrap_lines=True)
        if run["kind"] in _USES_SCHEDULE:
            st.download_button(
                "Download schedule.json", state.schedule().to_json, "schedule.json", "application/json", key="run-schedule",
                on_click="ignore",
            )


def _chosen_run(engine: dict) -> dict | None:
    """The run that the form describes; None while something is missing, which is said. Rows wrap where the window is narrow."""
    most, images = engine["data"]["images"], None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        kind = st.segmented_control(
            "Measure", list(_KINDS), format_func=_KINDS.get, default="sensitivity", required=True, key="run-kind", help=_KIND_HELP
        )
        if kind != "recovery":
            images = st.number_input(
                f"Images, of {most:,}", 1, most, min(most, _DEFAULT_IMAGES), key="run-images", width=200,
                help="A class-balanced subset; more images, narrower intervals.",
            )
    if kind == "recovery":
        return choose_recovery(engine)
    run = {"kind": kind, "images": None if images == most else images}
    if kind == "redundancy":
        return run
    if kind == "evaluation":
        return run | {"schedule": state.schedule().to_dict()}
    with st.container(horizontal=True, gap="medium"):
        run["sites"] = st.pills("Sites", _SITES, selection_mode="multi", default=["fc2"], key="run-sites")
        run["ratios"] = st.pills(
            "Ratios dropped, in percent", _RATIOS, selection_mode="multi", default=_FIRST_RATIOS, key="run-ratios",
            format_func=lambda ratio: f"{100 * ratio:.0f}",
        )
    selections = [name for name in SELECTIONS if name != "calibrated" or engine["calibration"]]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        run["selection"] = st.segmented_control(
            "Channels are chosen", selections, format_func=_in_words, required=True, key="run-selection",
            default=state.schedule().selection if state.schedule().selection in selections else selections[0],
            help="  \n".join(f"{_in_words(name)}: {SELECTIONS[name]}" for name in selections),
        )
        run["mode"] = st.segmented_control(
            "Mode", list(_MODES), format_func=_MODES.get, default="exact", required=True, key="run-mode", help=_MODE_HELP
        )
        if run["mode"] == "adaptive":
            run["width"] = st.number_input("Narrow enough, points to each side", 0.1, 20.0, 2.0, 0.1, key="run-width", width=240)
            run["tolerance"] = st.number_input("Tolerated loss, points", 0.1, 50.0, 2.0, 0.1, key="run-tolerance", width=200)
    for name in ("sites", "ratios"):
        if not run[name]:
            st.info(f"Choose at least one of the {name} to see what the run costs.")
            return None
    return run | {"sites": sorted(run["sites"], key=_SITES.index), "ratios": sorted(run["ratios"])}


def _in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def price_text(quote: dict, upper_bound: bool = False, unit: str = "cell") -> str:
    """For example `**About 4 min** for 108 cells x 1,000 images on this machine. Of the cells, 12 are stored already, at no cost.`"""
    cells, stored = quote["cells"], quote["stored"]
    what = f"{cells:,} {unit}{'s' if cells > 1 else ''} \N{MULTIPLICATION SIGN} {quote['images']:,} images"
    if stored == cells:
        return f"**0 s**: {what}, all stored already. A run only puts them together."
    known = f" Of the {unit}s, {stored:,} {'is' if stored == 1 else 'are'} stored already, at no cost." if stored else ""
    return f"**{'At most about' if upper_bound else 'About'} {duration(quote['seconds'])}** on this machine: {what}.{known}"


def duration(seconds: float) -> str:
    """For example `12 s`, `4 min`, `2.5 h`: two digits at most, as an estimate deserves."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{round(hours)} h"


def _start(run: dict) -> None:
    try:
        state.engine_client().submit(run)
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
    done = [job["number"] for job in jobs if job["state"] == "done"]
    if st.session_state.setdefault("runs-done", done) != done:
        # What has been measured since costs nothing now: the form must say so.
        st.session_state["runs-done"] = done
        st.rerun()
    if not jobs:
        st.info("No run yet. Choose what to measure above and press Start: it appears here, with its progress and the time left.")
        return
    if error := st.session_state.pop("job-error", None):
        st.error(error)
    for job in in_order(jobs):
        with st.container(border=True):
            _show_job(job)
    with st.expander("As a table"):
        show_table(pd.DataFrame([_table_row(job) for job in jobs]), "runs-table", "runs")


def in_order(jobs: list[dict]) -> list[dict]:
    """The runs that are shown one by one: what runs, what waits in its order, what is paused, then the last that have ended."""
    still = sorted((job for job in jobs if job["state"] in _OPEN), key=lambda job: (_OPEN.index(job["state"]), job["queued_at"]))
    return still + [job for job in jobs if job["state"] not in _OPEN][:_ENDED_SHOWN]


def _show_job(job: dict) -> None:
    number = job["number"]
    title, buttons = st.columns([3, 2], vertical_alignment="center")
    title.markdown(f"{_BADGES[job['state']]} **Run {number}**: {job['title']}")
    with buttons.container(horizontal=True, horizontal_alignment="right"):
        if job["analysis"] and job["run"]["kind"] in pages() and st.button("Open the analysis", key=f"job-open-{number}"):
            view.choose(job["run"]["kind"], "analysis", job["analysis"])
            st.switch_page(page(job["run"]["kind"]), query_params={"analysis": job["analysis"]})
        if job["run"]["kind"] == "tuning" and job["state"] == "done":
            st.button("Take the schedule", key=f"job-take-{number}", on_click=_take, args=(job,))
        for label, action in _ACTIONS[job["state"]].items():
            st.button(label, key=f"job-{action}-{number}", on_click=_control, args=(action, number), disabled=bool(job["wish"]))
    if job["state"] == "running":
        st.progress(job["done"] / job["total"] if job["total"] else 0.0, text=progress_text(job))
    elif job["message"]:
        (st.error if job["state"] == "failed" else st.markdown)(job["message"])
    st.caption(facts_text(job))
    if job["run"]["kind"] == "recovery" and job["analysis"]:
        show_recovery(job)
    if st.toggle("Log and command", key=f"job-log-{number}"):
        try:
            st.code(state.engine_client().log(number) or "Nothing yet.", language=None, height=240, wrap_lines=True)
        except EngineError as error:
            st.error(str(error))
        st.code(job["command"], language="bash", wrap_lines=True)


def progress_text(job: dict) -> str:
    """What a running job is doing, how far it is, and how long it still takes."""
    if job["wish"]:
        return f"{_WISHES[job['wish']]}; what is finished stays stored"
    if not job["total"]:
        return f"{job['message']}; the quote was {duration(job['quote']['seconds'])}"
    if job["done"] == job["total"]:
        return "All images done, putting the results together"
    share, left = f"{100 * job['done'] / job['total']:.0f} %", job["left_s"]
    return f"{share} done" + (f", about {duration(left)} left" if left else "")


def facts_text(job: dict) -> str:
    """Model, images, price and times of a job."""
    quote = job["quote"]
    price = f"quoted {duration(quote['seconds'])}" if quote["seconds"] else "quoted 0 s, all stored"
    images = "training images" if job["run"]["kind"] == "recovery" else f"images of {wording.plain(job['basis']['data'])}"
    parts = [job["basis"]["model"], f"{quote['images']:,} {images}", price]
    parts.append(f"started {_time(job['started_at'])}" if job["started_at"] else f"submitted {_time(job['submitted_at'])}")
    if job["finished_at"]:
        parts.append(f"ended {_time(job['finished_at'])}")
    if job["measured_s"]:
        parts.append(f"measured for {duration(job['measured_s'])}")
    if job["crashes"]:
        parts.append(f"restarted {job['crashes']} times by itself")
    return ", ".join(parts)


def _time(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds)
    return when.strftime("%H:%M:%S" if when.date() == datetime.now().date() else "%d %b %Y %H:%M")


def _table_row(job: dict) -> dict:
    return {
        "Run": job["number"], "State": job["state"], "What": job["title"], "Model": job["basis"]["model"], "Data": job["basis"]["data"],
        "Images": job["quote"]["images"], "Done %": round(100 * job["done"] / job["total"]) if job["total"] else None,
        "Quoted s": round(job["quote"]["seconds"]), "Measured s": job["measured_s"] and round(job["measured_s"], 1),
        "Submitted": datetime.fromtimestamp(job["submitted_at"]).isoformat(" ", "seconds"), "Analysis": job["analysis"],
        "Outcome": job["message"], "Command": job["command"],
    }


def _control(action: str, number: int) -> None:
    try:
        state.engine_client().control(action, number)
    except EngineError as error:
        st.session_state["job-error"] = str(error)


def _take(job: dict) -> None:
    """Take a tuned schedule in hand; the notice says where it is."""
    take_tuning(state.model_shape(), job)
    st.session_state.setdefault("notice", f"The schedule of run {job['number']} is in hand, on the Tune page.")
