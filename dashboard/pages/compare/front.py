"""Candidates on accuracy against cost: the figure with its Pareto front, and the table of what each costs and keeps."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.front import FrontPoint, front_figure, near_baseline
from dashboard.components.figure import show_figure, show_table
from dashboard.evidence.candidates import Candidate, change_to, on_same_images, pareto
from toast_core.cost.shapes import ModelShape
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.tasks.base import Figure
from toast_core.studies.tasks.registry import task_of

_COSTS = {"macs": "GMACs per image", "params": "Parameters, millions"}
COST_LABELS = {"macs": "GMACs", "params": "Parameters"}
_UNITS = {"macs": 1e9, "params": 1e6}


def show_front(shown: Sequence[Candidate], reference: Candidate, cost: str, shape: ModelShape) -> None:
    """Show the figure and the table; `cost` is one of COST_LABELS."""
    ranked, figure = on_same_images(shown), task_of(shape).figures[0]
    best = [ranked[place] for place in pareto([(_cost_of(one, cost), one.headline.value) for one in ranked])]
    points = {one.key: _point(one, cost, reference, one in ranked or not one.is_measured) for one in shown if one.headline}
    within = near_baseline(list(points.values())) if figure.unit == "%" else None
    if within is not None and not st.toggle("Zoom to what is near the baseline", value=True, key="compare-zoom"):
        within = None
    show_figure(
        front_figure(list(points.values()), [points[one.key] for one in best], _COSTS[cost], figure, within=within), "compare-front",
        f"{shape.name}-{cost}-front",
        f"{figure.title} of the candidates over {COST_LABELS[cost]} with intervals; the table below has the same figures",
    )
    st.caption(_front_in_words(ranked, shown))
    rows = [_row(one, reference, one in best, figure) for one in shown]
    show_table(pd.DataFrame(rows), "compare-table", f"{shape.name}-candidates")
    unpaired = [one.name for one, row in zip(shown, rows, strict=True) if row[_difference(figure)] is None and one is not reference]
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
    return FrontPoint(one.name, one.kind, _cost_of(one, cost), one.headline, one.is_measured, _basis(one), ranked, one.key == reference.key)


def _basis(one: Candidate) -> str:
    if one.headline is None:
        return "not known"
    return f"measured on {one.images:,} images" if one.is_measured else "predicted from single blocks"


def _difference(figure: Figure) -> str:
    """The heading of differences, for example `Difference (points)`."""
    return f"Difference ({figure.change_unit})" if figure.change_unit else "Difference"


def _row(one: Candidate, reference: Candidate, on_front: bool, figure: Figure) -> dict[str, object]:
    try:
        paired = None if one is reference else change_to(one, reference)
    except StoreError:
        paired = None
    change, images = paired or (None, None)
    return {
        "Candidate": one.name, "Pareto": "front" if on_front else "", "GMACs": wording.gmacs(one.cost.macs),
        "Cost": wording.change(one.cost.macs, reference.cost.macs), "Parameters": wording.parameters(one.cost.params),
        figure.title: wording.accuracy(one.headline, figure) if one.headline else "",
        "95 %": wording.accuracy_interval(one.headline, figure) if one.headline else "",
        "Known": _basis(one), _difference(figure): _rounded(change, figure),
        "Difference, 95 %": wording.points_interval(change, figure) if change else "", "Reading": _reading(change),
        "On the same": f"{images:,} images" if images else "", "Selection": one.schedule.selection.replace("_", " "), "Kind": one.kind,
    }


def _rounded(change: Estimate | None, figure: Figure) -> float | None:
    return None if change is None else round(change.value, max(1, wording.figure_decimals(change, figure)))


def _reading(change: Estimate | None) -> str:
    if change is None:
        return ""
    low, high = change.ci95
    return "worse" if high < 0 else "better" if low > 0 else "cannot tell apart"
