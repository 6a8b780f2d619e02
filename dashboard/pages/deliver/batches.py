"""Whether an answer depends on the other images of a batch: by nature where channels are fixed, else by a check."""

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard.charts.composition import composition_figure
from dashboard.components.figure import show_figure, show_table
from dashboard.evidence.find import Evidence
from dashboard.pages.deliver.run import show_run
from toast_core.schedule.schedule import Schedule
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.composition.verdict import judge

_SHORT = 8


def show_batches(evidence: Evidence | None, schedule: Schedule, ready: bool) -> None:
    """The verdict; a check is offered only where channels are chosen while the model runs."""
    rows = _composition_rows(evidence) if evidence else []
    if schedule.selection == "calibrated":
        st.success("Fixed channels: cannot depend on the batch. They were chosen once, from calibration images, so no check is needed.")
    if evidence and rows:
        _show_rows(evidence, rows, schedule)
    elif schedule.selection != "calibrated":
        st.markdown(
            "Not checked yet for this schedule. The check evaluates it in class order and shuffled, in batches of 1, 8, 64 and 256: "
            "a schedule is safe to deploy when its answers stay the same."
        )
    if ready and schedule.selection != "calibrated" and not (evidence and rows and evidence.finished):
        show_run({"kind": "composition", "schedule": schedule.to_dict()}, "Check", prominent=False)


def _show_rows(evidence: Evidence, rows: list[CompositionRow], schedule: Schedule) -> None:
    for concern in evidence.concerns:
        st.warning(f"These figures may not hold for this dashboard's model and images: {concern}.")
    verdict = judge(rows)
    {True: st.success, False: st.error, None: st.warning}[verdict.safe](verdict.sentence)
    figure = composition_figure(rows).update_layout(title_text="", margin_t=20)
    show_figure(
        figure, "deliver-composition", f"{rows[0].model}-{schedule.digest()[:_SHORT]}-composition",
        "Top-1 of the schedule over the batch size, in class order and shuffled, with 95 % intervals",
    )
    with st.expander("As a table"):
        show_table(pd.DataFrame([_composition_row(row) for row in rows]), "composition-table", f"{rows[0].model}-composition")


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
