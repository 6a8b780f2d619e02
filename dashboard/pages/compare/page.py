"""Compare: candidates on accuracy against cost, site by site, image by image; drafts with their lineage; the prediction's audit."""


import streamlit as st

from dashboard.components.engine_status import show_engine_status
from dashboard.components.heading import show_heading
from dashboard.evidence.candidates import Candidate
from dashboard.evidence.starting_points import BASELINE
from dashboard.pages.compare.audit import show_audit
from dashboard.pages.compare.damage import show_damage
from dashboard.pages.compare.difference import show_difference
from dashboard.pages.compare.evaluation import show_measuring, show_price
from dashboard.pages.compare.front import COST_LABELS, show_front
from dashboard.pages.compare.lineage import show_lineage
from dashboard.session import state, view
from dashboard.session.knowledge import gather_known

_WHAT = (
    "What each schedule costs and what it keeps. Filled marks were measured, hollow ones are predicted from single blocks; bars are 95 % "
    "intervals. Only what was measured can be on the Pareto front."
)


def render() -> None:
    """Show the page; the price of measuring comes last, since finding it out takes the engine."""
    show_heading("Compare")
    st.markdown(_WHAT)
    ready = show_engine_status()
    shape = state.model_shape()
    if shape is None:
        return
    known, engine = gather_known(shape), state.engine_state()
    for problem in known.problems:
        st.warning(problem)
    by_key = {one.key: one for one in known.candidates}
    with st.container(border=True):
        cost, reference, shown = _show_choices(by_key)
        show_front(shown, reference, cost, shape)
        place = show_measuring(shown, engine)
    candidate = show_difference(by_key, reference, shape)
    with st.container(border=True):
        names = engine.data.classes if ready and engine.data else []
        chosen = show_damage(candidate, by_key[BASELINE], names, f"{shape.name}-{candidate.key}")
    with st.container(border=True):
        show_lineage(known.candidates, shape.name)
    with st.container(border=True):
        show_audit(known.audit, known.curves, known.missing, state.schedule().selection, shape.name)
    left_out = ",".join(st.session_state["compare-without"])
    view.publish(
        cost=cost, reference=reference.key, candidate=candidate.key, **({"without": left_out} if left_out else {}), **chosen
    )
    if place is not None:
        show_price(place, shown, engine)


def _show_choices(by_key: dict[str, Candidate]) -> tuple[str, Candidate, list[Candidate]]:
    """The cost axis, what differences refer to, and the candidates shown; the reference always is."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        key = view.choice_key("compare", "cost", list(COST_LABELS), "macs")
        cost = st.segmented_control("Cost", list(COST_LABELS), format_func=COST_LABELS.__getitem__, required=True, key=key)
        key = view.choice_key("compare", "reference", list(by_key), BASELINE)
        picked = st.selectbox("Differences to", list(by_key), format_func=lambda one: by_key[one].name, key=key, width=260)
        reference = view.settled("reference", picked, list(by_key), BASELINE)
        asked = st.session_state.get("compare-without", st.query_params.get("without", "").split(","))
        st.session_state["compare-without"] = [one for one in asked if one in by_key]
        without = st.multiselect(
            "Leave out", list(by_key), format_func=lambda one: by_key[one].name, key="compare-without", placeholder="Nothing", width=420
        )
    return cost, by_key[reference], [one for one in by_key.values() if one.key not in without or one.key == reference]
