"""What can be saved for nothing, or nearly: tuned schedules with what is measured of them, each a click away from the desk."""

from collections.abc import Mapping

import streamlit as st

from dashboard import wording
from dashboard.components.analyse import show_analyse
from dashboard.evidence.candidates import Evaluation
from dashboard.evidence.find import Found
from dashboard.evidence.latency import StoredLatency
from dashboard.evidence.savings import Saving, measured_savings, tuned_schedules
from dashboard.navigation import page
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.cost.shapes import ModelShape

_SHOWN = 3


def show_savings(shape: ModelShape, found: Found, evaluations: Mapping[str, Evaluation], latency: StoredLatency) -> None:
    """A card for each of the tuned schedules nearest to the usual goals; where there are none, the button that finds them."""
    st.subheader("What can be saved", anchor=False)
    tuned = tuned_schedules(found, shape)
    if not tuned:
        st.markdown(f"Nothing is known of {wording.plain(shape.name)} yet.")
        show_analyse(shape)
        return
    known = measured_savings(tuned, evaluations, latency.table)
    st.markdown(
        "Schedules that were tuned on calibration images, compensated, without training. Accuracy is measured on images that chose nothing "
        f"{wording.BADGES['measured']}"
    )
    for column, one in zip(st.columns(_SHOWN), _spread(known), strict=False):
        with column.container(border=True):
            _show_one(one)
    show_analyse(shape, again=True)


def _spread(known: list[Saving]) -> list[Saving]:
    """As many as are shown, from the smallest saving to the largest."""
    if len(known) <= _SHOWN:
        return known
    last = len(known) - 1
    return [known[round(place * last / (_SHOWN - 1))] for place in range(_SHOWN)]


def _show_one(one: Saving) -> None:
    figure = state.headline()
    if one.change is None:
        value, about = "not measured yet", "open it: it is measured at once"
    else:
        value = wording.points(one.change, figure)
        about = f"{figure.label}, 95 %: {wording.points_interval(one.change, figure)}, {one.images:,} images"
    speed = "" if one.speed is None else f", {one.speed:.2g}x as fast here"
    st.markdown(f"**{one.percent} % fewer MACs**{speed}")
    st.metric(f"{figure.title} vs baseline", value, label_visibility="collapsed")
    st.caption(f"{about}; {wording.gmacs(one.cost.macs)} GMACs, {wording.parameters(one.cost.params)} parameters")
    st.button("Open it", key=f"open-{one.percent}", width="stretch", on_click=whole(_open), args=(one,))


def _open(one: Saving) -> None:
    state.freeze()
    state.edit_within_limits(one.schedule)
    st.switch_page(page("tune"))
