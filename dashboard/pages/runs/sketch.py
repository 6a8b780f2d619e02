"""A sketch on the Runs page: which sites at which ratios, on how many images."""

import streamlit as st

from dashboard.pages.runs.form import Form, chosen_selection
from toast_core.engine.protocol import Description
from toast_core.schedule.sites import SITES
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, SITE_GROUPS
from toast_core.studies.sketch.result import DRAWS, IMAGES

_SITES = tuple(SITE_GROUPS)


def _choose(engine: Description, run: dict) -> dict | None:
    place = next(card.name for card in (engine.calibration, engine.data) if card)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        images = st.number_input(
            f"Images of {place}", 1, None, IMAGES, key="sketch-images", width=260,
            help="Calibration images where there are any, else those to measure on; their labels are not used.",
        )
        draws = st.number_input(
            "Directions an image", 1, None, DRAWS, key="sketch-draws", width=160,
            help="Random directions of the output; more of them, narrower intervals.",
        )
    with st.container(horizontal=True, gap="medium"):
        sites = st.pills("Sites", _SITES, selection_mode="multi", default=SITES, key="sketch-sites")
        ratios = st.pills(
            "Ratios dropped, in percent", DEFAULT_RATIOS, selection_mode="multi", default=DEFAULT_RATIOS, key="sketch-ratios",
            format_func=lambda ratio: f"{100 * ratio:.0f}",
        )
    selection = chosen_selection(engine)
    for name, chosen in (("sites", sites), ("ratios", ratios)):
        if not chosen:
            st.info(f"Choose at least one of the {name} to see what the run costs.")
            return None
    ordered = {"sites": sorted(sites, key=_SITES.index), "ratios": sorted(ratios)}
    return run | ordered | {"images": images, "draws": draws, "selection": selection}


FORM = Form(
    "sketch", "Sketch", "predict what pruning each site of each block does, from one forward and a few backward passes.", 5, _choose,
    images="images to sketch",
)
