"""Finished tunings: their reports in the store, and their schedules in hand. Imports no torch."""

from dataclasses import replace

import streamlit as st

from dashboard.evidence.budget_fit import Fit
from dashboard.evidence.find import find_evidence
from dashboard.session import state
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Job
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup


def take(shape: ModelShape, job: Job) -> None:
    """Take the schedule of a finished tuning in hand."""
    report = tuned_report(state.engine_client().setup, shape.name, job.analysis)
    if report is None:
        st.session_state["notice"] = f"The answer of run {job.number} is not in this dashboard's store."
        return
    tuned = Schedule.from_dict(report["schedule"])
    schedule = replace(state.schedule(), blocks=tuned.blocks, selection=tuned.selection, compensation=tuned.compensation)
    curves = f"curves from {report['images']['curves']:,} and candidates judged on {report['images']['judge']:,} calibration images"
    st.session_state["fitted"] = Fit(
        schedule, report["predicted_kl"], report["gap"], report["achieved"]["left_over"], report["shadow_price_per_million"],
        report["next_best_edits"], (report["decision"], *report["notes"]), curves,
    )
    state.edit(schedule)


def tuned_report(setup: Setup, model: str, analysis: str) -> dict | None:
    """The report of a finished tuning in the dashboard's store; None where it is not there."""
    for one in find_evidence(setup, model).of("tuning"):
        if one.short_id == analysis:
            heads = one.replay.heads(one.analysis.id)
            return dict(heads[0].summary) if heads else None
    return None

