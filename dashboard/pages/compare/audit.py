"""The prediction's audit on the page: how often the measured value lay in the band, and what was learned from the misses."""

import pandas as pd
import streamlit as st

from dashboard import wording
from dashboard.charts.audit import audit_figure
from dashboard.components.figure import show_figure, show_table
from dashboard.evidence.audit import LEARN_DOWN_TO, MIN_IMAGES, Audit
from dashboard.evidence.prediction import MIN_LEARNED, Curves, Interaction


def show_audit(found: Audit | None, curves: Curves | None, missing: str, selection: str, file: str) -> None:
    """The section, about schedules of one selection mode; `missing` says why there is no prediction to check."""
    st.subheader("Does the prediction hold?", anchor=False)
    if found is None or curves is None:
        st.info(f"Nothing is predicted yet: {missing}")
        return
    chosen = selection.replace("_", " ")
    of = "" if curves.selection in (None, selection) else f", from curves of channels chosen {curves.selection.replace('_', ' ')}"
    st.markdown(
        f"{wording.BADGES['predicted']} against {wording.BADGES['measured']} for {chosen} selection{of}.  \n{coverage_in_words(found)}"
    )
    figure, words = st.columns([3, 2], vertical_alignment="center")
    with figure:
        show_figure(
            audit_figure(found), "compare-audit", f"{file}-audit", "Measured over predicted difference, one mark a measured schedule"
        )
    words.markdown(learned_in_words(found.interaction, len(found.checks)))
    if found.checks:
        with st.expander("As a table"):
            show_table(_table(found), "compare-audit-table", f"{file}-audit")


def coverage_in_words(found: Audit) -> str:
    """How many measured values lie inside the 95 % band of the sum of single blocks."""
    if not found.checks:
        return (
            f"Every schedule measured on {MIN_IMAGES} images or more is checked here by itself, if its way of choosing channels is the one "
            "in hand."
        )
    low, high = found.coverage.ci95
    return (
        f"The 95 % band of the sum of single blocks holds **{found.inside} of {len(found.checks)}** measured schedules "
        f"({low:.0f} to {high:.0f} % of such schedules). Measuring has noise of its own, shown as the upright bars."
    )


def learned_in_words(interaction: Interaction | None, checks: int) -> str:
    """The correction learned from the measured schedules and what it is worth, or why there is none."""
    if interaction is None:
        return (
            f"No correction is used. One is learned from {MIN_LEARNED} schedules on that prune two sites or more and are predicted to keep "
            f"{1 - LEARN_DOWN_TO:.0%} of the baseline's accuracy, and used only if it predicts schedules better that it has not seen; "
            f"{checks} {'is' if checks == 1 else 'are'} measured."
        )
    before, after = interaction.misses
    return (
        f"**A correction is used** on the Tune page and here, learned from {interaction.schedules} measured schedules: for every two "
        f"sites, {wording.signed(interaction.weight, 2)} times the product of what they lose alone, in points. On schedules left out of "
        f"learning the typical miss falls from {before:.2g} to {after:.2g} points. The band is widened by what was missed there, more "
        "for schedules whose sites lose more."
    )


def _table(found: Audit) -> pd.DataFrame:
    return pd.DataFrame([{
        "Schedule": check.schedule.digest()[:8], "Sites pruned": check.sites, "Images": check.images,
        "Predicted (points)": round(check.predicted.value, 2), "Band low": round(check.predicted.ci95[0], 2),
        "Band high": round(check.predicted.ci95[1], 2), "Measured (points)": round(check.measured.value, 2),
        "95 % low": round(check.measured.ci95[0], 2), "95 % high": round(check.measured.ci95[1], 2),
        "Inside": "yes" if check.is_inside else "no",
    } for check in found.checks])
