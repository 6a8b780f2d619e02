"""What a stored sketch predicts of single sites, shown where nothing was measured cell by cell."""

import streamlit as st

from dashboard import wording
from dashboard.charts.sketch import site_heatmap
from dashboard.components.figure import show_figure
from dashboard.evidence.curves import stored_map
from dashboard.evidence.sketch import DamageMap
from dashboard.session import state
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import SketchCard
from toast_core.schedule.sites import SITES


def map_in_hand(shape: ModelShape, seen: SketchCard | None = None) -> DamageMap | None:
    """The sketch that fits the schedule in hand, see `stored_map`."""
    schedule = state.schedule()
    return stored_map(state.engine_client().setup, shape.name, schedule.selection, not schedule.compensation.is_none, seen)


def images_of(damage: DamageMap | None) -> str:
    """The name of the images that a sketch is of, as far as the engine's cards tell it."""
    engine = state.engine_state()
    known = {card.digest: card.name for card in (engine.calibration, engine.data) if card}
    return known.get(damage.data_digest, "another set") if damage else ""


def show_sketch_map() -> None:
    """The predicted damage of every block and ratio, a site at a time; nothing where the model has no sketch."""
    shape = state.model_shape()
    damage = map_in_hand(shape) if shape else None
    if shape is None or damage is None:
        return
    figure = damage.task.damage
    with st.container(border=True):
        sites = [site for site in SITES if (site, 0) in damage.points]
        site = st.segmented_control("Site", sites, default="fc2" if "fc2" in sites else sites[0], required=True, key="sketch-site")
        st.markdown(
            f"**{figure.label} by block and ratio** {wording.BADGES['predicted']}  \n"
            f"{wording.plain(damage.basis(images_of(damage)).capitalize())}; channels chosen {damage.selection.replace('_', ' ')}."
        )
        show_figure(
            site_heatmap(damage, site), "sketch-heatmap", f"{shape.name}-sketch-{site}",
            f"Heat map of the predicted {figure.label} of {site} by block and ratio",
        )
