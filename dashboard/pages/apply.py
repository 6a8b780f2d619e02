"""Apply: the schedule in hand becomes a file, with what shows that the file is the model that was measured."""

import json

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.composition import composition_figure
from dashboard.components.engine_status import show_engine_status
from dashboard.components.figure import show_figure, show_table
from dashboard.components.heading import show_heading
from dashboard.components.jobs import OPEN, price_text, progress_text
from dashboard.components.model_file import digest_of_file, show_download, written_file
from dashboard.engine.client import EngineError
from dashboard.evidence.find import Evidence, Found, find_by_card
from dashboard.navigation import page
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Job
from toast_core.errors import ScheduleError
from toast_core.schedule.reference import to_reference
from toast_core.schedule.schedule import Schedule
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.composition.verdict import judge
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Timing
from toast_core.studies.tasks.registry import TASKS

_REFRESH_S = 1.0
_DEFAULT_IMAGES = 1000
_EXECUTIONS = {"baseline": "Baseline", "masked": "Masked", "compact": "Compact"}
_WAITING = {"queued": "it starts when its turn comes", "paused": "resume it on the Runs page"}
_SHORT = 8
_PURPOSE = (
    "Write the pruned model into a file, and see what shows that it is the model you tuned: the masked model, which was measured while "
    "tuning, and the compact one, which is smaller and faster, run on the same images."
)


def render() -> None:
    """Show the page; what is stored is there at once, runs are followed until they are done."""
    show_heading("Apply")
    st.markdown(_PURPOSE)
    shape = state.model_shape()
    if shape is None:
        show_engine_status()
        return
    schedule = state.schedule()
    _show_schedule(schedule, shape)
    if schedule.is_baseline:
        st.info("The schedule in hand prunes nothing, so there is nothing to apply yet. Choose ratios on the Tune page, then come back.")
        st.page_link(page("tune"), label="Tune")
        return
    ready, found = show_engine_status(), find_by_card(state.engine_client().setup, shape.name, state.engine_state())
    for problem in found.problems:
        st.warning(problem)
    with st.container(border=True):
        _show_result(found, schedule, ready)
    with st.container(border=True):
        _show_composition(found, schedule, ready)
    with st.container(border=True):
        _show_schedule_files(schedule, shape)


def _show_schedule(schedule: Schedule, shape: ModelShape) -> None:
    cost, before = count_cost(shape, schedule), count_cost(shape)
    st.markdown(
        f"**Schedule `{schedule.digest()[:_SHORT]}`** of {shape.name}, channels chosen {schedule.selection.replace('_', ' ')}: "
        f"{wording.gmacs(cost.macs)} GMACs per image, {wording.change(cost.macs, before.macs)} {wording.BADGES['computed']}"
    )


def of_schedule(found: Found, metric: str, schedule: Schedule) -> Evidence | None:
    """The best analysis of this metric that is about exactly this schedule."""
    wanted = schedule.to_dict()
    same = (one for one in found.of(metric) if one.analysis.request.get("schedule") == wanted and one.stored)
    return next(same, None)


def _show_result(found: Found, schedule: Schedule, ready: bool) -> None:
    st.subheader("Masked and compact, side by side", anchor=False)
    evidence = of_schedule(found, "agreement", schedule)
    if evidence is not None:
        try:
            row = evidence.rows()[0]
            record = Agreement.from_dict(row)
        except (StoreError, KeyError, TypeError, ValueError, IndexError) as error:
            st.error(f"The stored record of this schedule cannot be read ({error}); apply it again.")
        else:
            _show_record(record, evidence)
            _show_file(record, str(row["key"]))
            if state.task().answers:
                st.page_link(page("runs"), label="Win accuracy back by fine-tuning: a recovery, on the Runs page")
    if ready:
        label = "Apply" if evidence is None else "Apply again"
        _show_run("apply", {"kind": "apply", "schedule": schedule.to_dict()}, label, prominent=evidence is None)


def _show_record(record: Agreement, evidence: Evidence) -> None:
    for concern in evidence.concerns:
        st.warning(f"These figures may not hold for this dashboard's model and images: {concern}.")
    (st.success if record.is_equal else st.error)(record.sentence())
    single, many = record.timings[0], record.timings[-1]
    for column, name in zip(st.columns(3), _EXECUTIONS, strict=True):
        with column.container(border=True, height="stretch"):
            _show_execution(record, name, single, many)
    delta, figure = record.delta, TASKS[record.task].figures[0]
    st.markdown(
        f"Compact against baseline: {figure.label} {wording.points(delta, figure)} "
        f"(95 %: {wording.points_interval(delta, figure)}; {wording.verdict(delta)}), "
        f"{_speedup(single)} as fast on single images, {_speedup(many)} in batches of {many.batch_size}; "
        f"of the MACs it keeps {record.macs['compact'] / record.macs['baseline']:.0%}."
    )
    # as plain text: a record can come out of a bundle that someone else wrote
    st.text(
        f"Measured {wording.age(evidence.analysis.created_utc)} on {record.images:,} images, batches of {record.batch_size}, "
        f"{record.dtype}, on {record.processor} ({record.device}, {record.threads} thread{'s' if record.threads > 1 else ''}), "
        f"{', '.join(f'{name} {version}' for name, version in record.versions.items())}. Times: medians of {many.pairs} pairs, with "
        "quartiles; baseline and compact took turns, beside whatever else ran on the machine."
    )
    with st.expander("As a table"):
        show_table(record_table(record), "apply-table", f"{record.model}-{record.schedule[:_SHORT]}-applied")


def _show_execution(record: Agreement, name: str, single: Timing, many: Timing) -> None:
    headline, figure = record.headline[name], TASKS[record.task].figures[0]
    st.metric(f"{_EXECUTIONS[name]}: {figure.label} {wording.BADGES['measured']}", wording.accuracy(headline, figure))
    st.caption(f"95 %: {wording.accuracy_interval(headline, figure)}")
    if name == "masked":
        st.markdown("Every shape as in the baseline, what is dropped set to zero: what the Tune page measures. It saves nothing by itself.")
        return
    milliseconds = {"baseline": (single.baseline_ms, many.baseline_ms), "compact": (single.compact_ms, many.compact_ms)}[name]
    throughput = many.throughput(milliseconds[1])
    facts = {
        f"Per image {wording.BADGES['computed']}": f"{wording.gmacs(record.macs[name])} GMACs",
        f"Parameters {wording.BADGES['computed']}": wording.parameters(record.params[name]),
        f"A single image {wording.BADGES['measured']}": f"{_spread(milliseconds[0])} ms",
        f"In batches of {many.batch_size} {wording.BADGES['measured']}": f"{_spread(throughput)} images/s",
    }
    for label, value in facts.items():
        st.markdown(f":gray[{label}]  \n**{value}**")


def _spread(values: tuple[float, float, float]) -> str:
    """For example `12.3 (12.1 to 13.0)`: as many digits as the spread leaves."""
    median, low, high = values
    digits = wording.decimals(Estimate(median, (low, high)))
    return f"{median:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def _speedup(timing: Timing) -> str:
    median, first, third = timing.speedup
    return f"{median:.2f}\N{MULTIPLICATION SIGN} ({first:.2f} to {third:.2f})"


def record_table(record: Agreement) -> pd.DataFrame:
    """Every figure of a record, a row each, for people who want to check or keep it."""
    task = TASKS[record.task]
    figure, digits = task.figures[0], task.figures[0].digits + 1
    unit = f" ({figure.unit})" if figure.unit else ""
    values = (round(record.headline[name].value, digits) for name in _EXECUTIONS)
    rows: list[tuple[str, object, object, object]] = [(f"{figure.title}{unit}", *values)]
    for place, end in enumerate(("low", "high")):
        rows.append((f"{figure.title}, 95 % {end}{unit}", *(round(record.headline[name].ci95[place], digits) for name in _EXECUTIONS)))
    rows.append(("MACs per image", record.macs["baseline"], record.macs["baseline"], record.macs["compact"]))
    rows.append(("Parameters", record.params["baseline"], record.params["baseline"], record.params["compact"]))
    for timing in record.timings:
        for place, part in enumerate(("median", "first quartile", "third quartile")):
            times = (round(timing.baseline_ms[place], 4), None, round(timing.compact_ms[place], 4))
            rows.append((f"Batch of {timing.batch_size}, {part} of {timing.pairs} pairs (ms)", *times))
    if record.same is not None:
        rows.append(("Predictions as masked, of the images", None, record.images, record.same))
    rows.append((f"Largest difference of a {task.output} to masked", None, 0.0, record.largest_difference))
    return pd.DataFrame(rows, columns=["Figure", *_EXECUTIONS.values()])


def _show_file(record: Agreement, key: str) -> None:
    """Offer the file, once it is known to be the one that the record is about."""
    path = written_file(key)
    if not path.is_file() or digest_of_file(path, path.stat().st_mtime_ns) != record.file_sha256:
        st.warning("The file of this record is not on this machine, or was changed. Apply again to write it.")
        return
    show_download(path, f"{record.model}-{record.schedule[:_SHORT]}-compact.safetensors", "apply-download")


def _show_run(kind: str, run: dict, label: str, prominent: bool) -> None:
    """What a run costs with a button that starts it, or how far the one that is open has come; its command line below."""
    engine = state.engine_state()
    if engine.data is None:
        st.info("This dashboard was started without images, so there is nothing to measure on. Start it with --data FOLDER.")
        return
    job = _last_job(kind, run["schedule"])
    if job and job.state in OPEN:
        _follow(kind, run["schedule"])
        return
    if job and job.state == "failed":
        st.error(f"Run {job.number} failed: {job.message}")
    most = engine.data.images
    choose, price, start = st.columns([2, 4, 1], vertical_alignment="bottom")
    images = choose.number_input(f"Images, of {most:,}", 1, most, min(most, _DEFAULT_IMAGES), key=f"{kind}-images")
    offered = run | {"images": None if images == most else images}
    try:
        with st.spinner("Looking at what is stored, and how fast this machine is"):
            offer = state.engine_client().quote(offered)
    except EngineError as error:
        st.error(str(error))
        return
    price.markdown(price_text(offer.quote))
    start.button(
        label, type="primary" if prominent else "secondary", on_click=whole(_start), args=(kind, run, most), width="stretch",
        key=f"{kind}-start",
    )
    if failure := st.session_state.pop(f"{kind}-error", None):
        st.error(failure)
    with st.expander("The same on the command line"):
        st.code(offer.command, language="bash", wrap_lines=True)


def _start(kind: str, run: dict, most: int) -> None:
    """Start the run on as many images as the box says now, of `most`."""
    images = st.session_state[f"{kind}-images"]
    try:
        state.engine_client().submit(run | {"images": None if images == most else images})
    except EngineError as error:
        st.session_state[f"{kind}-error"] = str(error)


def _last_job(kind: str, schedule: dict) -> Job | None:
    """The open run of this kind for this schedule, else the last one."""
    try:
        jobs = state.engine_client().jobs()
    except EngineError:
        return None
    same = [job for job in jobs if job.run.kind == kind and job.run.settings.get("schedule") == schedule]
    return next((job for job in same if job.state in OPEN), next(iter(same), None))


@st.fragment(run_every=_REFRESH_S)
def _follow(kind: str, schedule: dict) -> None:
    """Look every second how far the run is; the whole page is drawn again once it has ended."""
    job = _last_job(kind, schedule)
    if job is None or job.state not in OPEN:
        st.rerun()
    elif job.state == "running":
        st.progress(job.done / job.total if job.total else 0.0, text=progress_text(job))
    else:
        st.info(f"Run {job.number} is {job.state}; {_WAITING[job.state]}.")
    st.page_link(page("runs"), label="Pause, cancel or read its log on the Runs page")


def _show_composition(found: Found, schedule: Schedule, ready: bool) -> None:
    st.subheader("Does the answer depend on the other images of a batch?", anchor=False)
    evidence = of_schedule(found, "composition", schedule)
    rows = _composition_rows(evidence) if evidence else []
    if rows:
        for concern in evidence.concerns:
            st.warning(f"These figures may not hold for this dashboard's model and images: {concern}.")
        verdict = judge(rows)
        {True: st.success, False: st.error, None: st.warning}[verdict.safe](verdict.sentence)
        figure = composition_figure(rows).update_layout(title_text="", margin_t=20)
        show_figure(
            figure, "apply-composition", f"{rows[0].model}-{schedule.digest()[:_SHORT]}-composition",
            "Top-1 of the schedule over the batch size, in class order and shuffled, with 95 % intervals",
        )
        with st.expander("As a table"):
            show_table(pd.DataFrame([_composition_row(row) for row in rows]), "composition-table", f"{rows[0].model}-composition")
    else:
        st.markdown(
            "Not checked yet for this schedule. The check evaluates it in class order and shuffled, in batches of 1, 8, 64 and 256: "
            "a schedule is safe to deploy when its answers stay the same."
        )
    if ready and not (rows and evidence.finished):
        _show_run("composition", {"kind": "composition", "schedule": schedule.to_dict()}, "Check", prominent=False)
    st.page_link(page("compare"), label="Which classes and images lose: the Compare page")


def _composition_rows(evidence: Evidence) -> list[CompositionRow]:
    try:
        return [CompositionRow.from_dict(row) for row in evidence.rows()]
    except (StoreError, KeyError, TypeError, ValueError) as error:
        st.error(f"The stored check of this schedule cannot be read ({error}); check it again.")
        return []


def _composition_row(row: CompositionRow) -> dict:
    return {
        "Condition": ("deployment: " if row.deployment else "") + row.words, "Shuffle": row.seed, "Token sample": row.token_seed,
        "Top-1 (%)": round(row.top1, 2), "95 % low": round(row.ci95[0], 2), "95 % high": round(row.ci95[1], 2),
        "Difference (points)": round(row.top1_delta, 2), "Agree (%)": round(row.agreement, 2), "Images": row.images,
    }


def _show_schedule_files(schedule: Schedule, shape: ModelShape) -> None:
    st.subheader("Take the schedule with you", anchor=False)
    ours, reference = st.columns(2)
    ours.download_button(
        "Schedule (JSON)", schedule.to_json, "schedule.json", "application/json", key="apply-schedule", on_click="ignore"
    )
    ours.caption("What the command lines on this page read.")
    try:
        entry = to_reference(schedule)
    except ScheduleError as error:
        reference.button("For the reference implementation (JSON)", disabled=True, key="apply-no-reference")
        reference.caption(str(error))
        return
    reference.download_button(
        "For the reference implementation (JSON)", json.dumps(entry, indent=1), f"{shape.name}-reference.json", "application/json",
        key="apply-reference", on_click="ignore",
    )
    reference.caption("One entry as that program reads it. It chooses channels per batch, whatever this schedule says.")
