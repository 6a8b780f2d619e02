"""Taking the schedule of a finished tuning in hand, for the page that follows the run and for the one that lists it."""

from dataclasses import replace

import streamlit as st

from dashboard.evidence.budget_fit import Fit
from dashboard.evidence.tunings import tuned_report
from dashboard.session import state
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Job
from toast_core.schedule.schedule import Schedule
from toast_core.studies.tasks.registry import task_in


def take_tuning(shape: ModelShape, job: Job) -> None:
    """Take the schedule of a finished tuning in hand, with what the fit says of it; where its report is gone, a notice says so."""
    report = tuned_report(state.engine_client().setup, shape.name, job.analysis)
    if report is None:
        st.session_state["notice"] = f"The answer of run {job.number} is not in this dashboard's store."
        return
    tuned = Schedule.from_dict(report["schedule"])
    schedule = replace(state.schedule(), blocks=tuned.blocks, selection=tuned.selection, compensation=tuned.compensation)
    curves = f"curves from {report['images']['curves']:,} and candidates judged on {report['images']['judge']:,} calibration images"
    predicted = report[f"predicted_{task_in(report).damage.key}"]
    st.session_state["fitted"] = Fit(
        schedule, predicted, report["gap"], report["achieved"]["left_over"], report["shadow_price_per_million"], report["next_best_edits"],
        (report["decision"], *report["notes"]), curves,
    )
    saved = count_cost(shape, schedule).macs / count_cost(shape).macs - 1
    state.take(schedule, f"Tuned, {-100 * saved:.0f} % fewer MACs")
