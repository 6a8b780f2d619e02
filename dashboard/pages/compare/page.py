"""Compare: candidates on accuracy against cost, site by site, image by image; drafts with their lineage; the prediction's audit."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.difference import difference_figure
from dashboard.charts.front import FrontPoint, front_figure
from dashboard.components.engine_status import show_engine_status
from dashboard.components.figure import show_figure, show_table
from dashboard.components.heading import show_heading
from dashboard.evidence.candidates import IN_HAND, Candidate, change_to, on_same_images, pareto
from dashboard.evidence.commands import evaluate_command
from dashboard.evidence.starting_points import BASELINE
from dashboard.pages.compare.audit import show_audit
from dashboard.pages.compare.hurt import show_hurt
from dashboard.pages.compare.lineage import show_lineage, sites_changed
from dashboard.pages.compare.measuring import show_measuring, show_price
from dashboard.session import state, view
from dashboard.session.knowledge import gather_known
from toast_core.cost.shapes import ModelShape
from toast_core.schedule.schedule import SITES
from toast_core.studies.evaluation.result import Estimate

_COSTS = {"macs": "GMACs per image", "params": "Parameters, millions"}
_COST_LABELS = {"macs": "GMACs", "params": "Parameters"}
_UNITS = {"macs": 1e9, "params": 1e6}
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
        _show_front(shown, reference, cost, shape)
        place = show_measuring(shown, engine)
    candidate = _show_difference(by_key, reference, shape)
    with st.container(border=True):
        names = engine["data"]["classes"] if ready and engine["data"] else []
        chosen = show_hurt(candidate, by_key[BASELINE], names, f"{shape.name}-{candidate.key}")
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
        key = view.choice_key("compare", "cost", list(_COSTS), "macs")
        cost = st.segmented_control("Cost", list(_COSTS), format_func=_COST_LABELS.get, required=True, key=key)
        key = view.choice_key("compare", "reference", list(by_key), BASELINE)
        picked = st.selectbox("Differences to", list(by_key), format_func=lambda one: by_key[one].name, key=key, width=260)
        reference = view.settled("reference", picked, list(by_key), BASELINE)
        asked = st.session_state.get("compare-without", st.query_params.get("without", "").split(","))
        st.session_state["compare-without"] = [one for one in asked if one in by_key]
        without = st.multiselect(
            "Leave out", list(by_key), format_func=lambda one: by_key[one].name, key="compare-without", placeholder="Nothing", width=420
        )
    return cost, by_key[reference], [one for one in by_key.values() if one.key not in without or one.key == reference]


def _show_front(shown: Sequence[Candidate], reference: Candidate, cost: str, shape: ModelShape) -> None:
    ranked = on_same_images(shown)
    best = [ranked[place] for place in pareto([(_cost_of(one, cost), one.top1.value) for one in ranked])]
    points = {one.key: _point(one, cost, reference, one in ranked or not one.is_measured) for one in shown if one.top1}
    show_figure(
        front_figure(list(points.values()), [points[one.key] for one in best], _COSTS[cost]), "compare-front", f"{shape.name}-{cost}-front",
        f"Top-1 of the candidates over {_COST_LABELS[cost]} with intervals; the table below has the same figures",
    )
    st.caption(_front_in_words(ranked, shown))
    rows = [_row(one, reference, one in best) for one in shown]
    show_table(pd.DataFrame(rows), "compare-table", f"{shape.name}-candidates")
    unpaired = [one.name for one, row in zip(shown, rows, strict=True) if row["Difference (points)"] is None and one is not reference]
    if unpaired:
        st.caption(
            f"No difference to {reference.name} for {len(unpaired)} of them: it is measured only where both have seen the same images. "
            "Measure on all images to have it."
        )


def _front_in_words(ranked: Sequence[Candidate], shown: Sequence[Candidate]) -> str:
    """Which accuracies the front compares, and which it does not."""
    if not ranked:
        return "No front yet: it needs two candidates measured on the same images."
    others = sum(one.is_measured for one in shown) - len(ranked)
    left = f" Paler, and left out of it: {others} measured on other images." if others else ""
    return (
        f"The front joins those of the {len(ranked)} measured on the same {ranked[0].images:,} images that no other beats in both; "
        f"neighbours whose bars overlap may still be equal.{left}"
    )


def _cost_of(one: Candidate, cost: str) -> float:
    return getattr(one.cost, cost) / _UNITS[cost]


def _point(one: Candidate, cost: str, reference: Candidate, ranked: bool) -> FrontPoint:
    return FrontPoint(one.name, one.kind, _cost_of(one, cost), one.top1, one.is_measured, _basis(one), ranked, one.key == reference.key)


def _basis(one: Candidate) -> str:
    if one.top1 is None:
        return "not known"
    return f"measured on {one.images:,} images" if one.is_measured else "predicted from single blocks"


def _row(one: Candidate, reference: Candidate, on_front: bool) -> dict[str, object]:
    try:
        paired = None if one is reference else change_to(one, reference)
    except StoreError:
        paired = None
    change, images = paired or (None, None)
    return {
        "Candidate": one.name, "Pareto": "front" if on_front else "", "GMACs": wording.gmacs(one.cost.macs),
        "Cost": wording.change(one.cost.macs, reference.cost.macs), "Parameters": wording.parameters(one.cost.params),
        "Top-1": wording.accuracy(one.top1) if one.top1 else "", "95 %": wording.accuracy_interval(one.top1) if one.top1 else "",
        "Known": _basis(one), "Difference (points)": _rounded(change),
        "Difference, 95 %": wording.points_interval(change) if change else "", "Reading": _reading(change),
        "On the same": f"{images:,} images" if images else "", "Selection": one.schedule.selection.replace("_", " "), "Kind": one.kind,
    }


def _rounded(change: Estimate | None) -> float | None:
    return None if change is None else round(change.value, max(1, wording.decimals(change)))


def _reading(change: Estimate | None) -> str:
    if change is None:
        return ""
    low, high = change.ci95
    return "worse" if high < 0 else "better" if low > 0 else "cannot tell apart"


def _show_difference(by_key: dict[str, Candidate], reference: Candidate, shape: ModelShape) -> Candidate:
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
