"""Where one candidate differs from the reference, block by block."""

import pandas as pd
import streamlit as st

from dashboard.charts.difference import difference_figure
from dashboard.components.figure import show_figure, show_table
from dashboard.evidence.candidates import IN_HAND, Candidate
from dashboard.evidence.commands import evaluate_command
from dashboard.evidence.starting_points import BASELINE
from dashboard.pages.compare.lineage import sites_changed
from dashboard.session import state, view
from toast_core.cost.shapes import ModelShape
from toast_core.schedule.sites import SITES


def show_difference(by_key: dict[str, Candidate], reference: Candidate, shape: ModelShape) -> Candidate:
    """Choose one candidate and show where it differs from the reference, and the command line that measures it."""
    with st.container(border=True):
        words, choice = st.columns([3, 2], vertical_alignment="bottom")
        key = view.choice_key("compare", "candidate", list(by_key), _first_choice(by_key))
        picked = choice.selectbox("Candidate", list(by_key), format_func=lambda one: by_key[one].name, key=key)
        candidate = by_key[view.settled("candidate", picked, list(by_key), _first_choice(by_key))]
        count = sites_changed(candidate.schedule, reference.schedule)
        words.markdown(
            f"**{candidate.name} against {reference.name}, block by block**  \n{count} of {len(SITES) * len(shape.blocks)} sites differ; "
            "positive: the candidate drops more, in percent of the site."
        )
        names, file = (candidate.name, reference.name), f"{shape.name}-{candidate.key}-against-{reference.key}"
        show_figure(
            difference_figure(candidate.schedule, reference.schedule, names), "compare-difference", file,
            f"Heat map of the ratios of {candidate.name} less those of {reference.name} by site and block",
        )
        with st.expander("As a table"):
            show_table(_difference_table(candidate, reference), "compare-difference-table", file)
        with st.expander("The same on the command line"):
            st.code(evaluate_command(state.engine_client().setup, candidate.schedule), language="bash", wrap_lines=True)
            st.download_button(
                "Download schedule.json", candidate.schedule.to_json, "schedule.json", "application/json", key="compare-schedule",
                on_click="ignore",
            )
    return candidate


def _first_choice(by_key: dict[str, Candidate]) -> str:
    """The schedule in hand, else the newest draft, else the first that prunes anything."""
    drafts = (key for key, one in by_key.items() if one.draft)
    others = (key for key, one in by_key.items() if not one.schedule.is_baseline)
    return IN_HAND if IN_HAND in by_key else next(drafts, next(others, BASELINE))


def _difference_table(candidate: Candidate, reference: Candidate) -> pd.DataFrame:
    rows = []
    for block, (mine, other) in enumerate(zip(candidate.schedule.blocks, reference.schedule.blocks, strict=True)):
        row: dict[str, object] = {"Block": block}
        for site in SITES:
            row |= {site: getattr(mine, site), f"{site}, reference": getattr(other, site)}
            row[f"{site}, difference"] = round(getattr(mine, site) - getattr(other, site), 6)
        rows.append(row)
    return pd.DataFrame(rows)
