"""What both evidence pages begin with: which analysis is shown and what to know about it, or what to type where there is none."""

import streamlit as st

from dashboard.components.engine_status import show_engine_status
from dashboard.evidence.commands import analyze_command, report_command
from dashboard.evidence.find import Evidence, find_by_card
from dashboard.navigation import page, pages
from dashboard.session import state, view


def choose_analysis(metric: str) -> Evidence | None:
    """Let the visitor choose among the model's analyses of one metric; None where there are none, which is said with a way on."""
    shape = state.model_shape()
    if shape is None:
        show_engine_status()
        return None
    found = find_by_card(state.engine_client().setup, shape.name, state.engine_state())
    for problem in found.problems:
        st.warning(problem)
    offered = {one.short_id: one for one in found.of(metric)}
    if not offered:
        _show_nothing(metric, shape.name)
        return None
    asked = st.query_params.get("analysis")
    if asked and not any(short_id.startswith(asked) or asked.startswith(short_id) for short_id in offered):
        st.warning(f"The link asks for analysis {asked[:16]}, which is not here; the best one that is here is shown.")
    names = list(offered)
    key = view.choice_key(metric, "analysis", names, names[0], lambda option, text: option.startswith(text[: len(option)]))
    picked = st.selectbox("Analysis", names, format_func=lambda short_id: offered[short_id].title, key=key)
    chosen = offered[view.settled("analysis", picked, names, names[0])]
    for concern in chosen.concerns:
        st.warning(f"These figures may not hold for this dashboard's model and images: {concern}.")
    return chosen


def show_command(evidence: Evidence) -> None:
    """The command line that makes the analysis anew, and the one that writes its figures into files."""
    with st.expander("The same on the command line"):
        setup = state.engine_client().setup
        command = analyze_command(setup, evidence.metric, evidence.analysis.request)
        report = report_command(setup, evidence.short_id, evidence.source == "shipped")
        st.code(f"{command}\n{report}", language="bash", wrap_lines=True)


def _show_nothing(metric: str, model: str) -> None:
    st.info(f"No {pages()[metric].title.lower()} analysis of {model} is stored yet. Type this in a terminal; its results appear here:")
    st.code(analyze_command(state.engine_client().setup, metric), language="bash", wrap_lines=True)
    st.page_link(page("runs"), label="Or start it on the Runs page")
    st.button("Look again", key="look-again")
