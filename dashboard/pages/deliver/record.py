"""What was measured of the pruned file: baseline, masked and compact on the same images, and on the clock."""

import pandas as pd
import streamlit as st

from dashboard import wording
from dashboard.components.figure import show_table
from dashboard.evidence.find import Evidence
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Timing
from toast_core.studies.tasks.registry import TASKS

_EXECUTIONS = {"baseline": "Baseline", "masked": "Masked", "compact": "Compact"}
_SHORT = 8


def show_record(record: Agreement, evidence: Evidence) -> None:
    """The verdict, the three executions beside each other, what is saved, and all of it as a table."""
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
        f"it keeps {100 * record.macs['compact'] / record.macs['baseline']:.0f} % of the MACs."
    )
    # as plain text: a record can come out of a bundle that someone else wrote
    st.text(
        f"Measured {wording.age(evidence.analysis.created_utc)} on {record.images:,} images, batches of {record.batch_size}, "
        f"{record.dtype}, on {record.processor} ({record.device}, {record.threads} thread{'s' if record.threads > 1 else ''}), "
        f"{', '.join(f'{name} {version}' for name, version in record.versions.items())}. Times: medians of {many.pairs} pairs, with "
        "quartiles; baseline and compact took turns, beside whatever else ran on the machine."
    )
    with st.expander("As a table"):
        show_table(record_table(record), "deliver-table", f"{record.model}-{record.schedule[:_SHORT]}-delivered")


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
    rows: list[tuple[object, ...]] = [(f"{figure.title}{unit}", *values)]
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
