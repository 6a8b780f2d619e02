"""A sensitivity sweep on the Runs page: which sites at which ratios, and when a cell is decided."""

import streamlit as st

from dashboard.pages.runs.form import Form, chosen_selection
from toast_core.engine.protocol import Description
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, SITE_GROUPS

_SITES = tuple(SITE_GROUPS)
_FIRST_RATIOS = (0.3, 0.5, 0.7)
_MODES = {"exact": "Exact", "adaptive": "Adaptive"}
_MODE_HELP = "Exact: every cell sees every image.  \nAdaptive: a cell stops once its interval is narrow enough, or its loss clear."


def _choose(engine: Description, run: dict) -> dict | None:
    with st.container(horizontal=True, gap="medium"):
        run["sites"] = st.pills("Sites", _SITES, selection_mode="multi", default=["fc2"], key="run-sites")
        run["ratios"] = st.pills(
            "Ratios dropped, in percent", DEFAULT_RATIOS, selection_mode="multi", default=_FIRST_RATIOS, key="run-ratios",
            format_func=lambda ratio: f"{100 * ratio:.0f}",
        )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        run["selection"] = chosen_selection(engine)
        run["mode"] = st.segmented_control(
            "Mode", list(_MODES), format_func=_MODES.__getitem__, default="exact", required=True, key="run-mode", help=_MODE_HELP
        )
        if run["mode"] == "adaptive":
            run["width"] = st.number_input("Narrow enough, points to each side", 0.1, 20.0, 2.0, 0.1, key="run-width", width=240)
            run["tolerance"] = st.number_input("Tolerated loss, points", 0.1, 50.0, 2.0, 0.1, key="run-tolerance", width=200)
    for name in ("sites", "ratios"):
        if not run[name]:
            st.info(f"Choose at least one of the {name} to see what the run costs.")
            return None
    return run | {"sites": sorted(run["sites"], key=_SITES.index), "ratios": sorted(run["ratios"])}


def _may_end_early(run: dict) -> bool:
    return run["mode"] == "adaptive"


FORM = Form(
    "sensitivity", "Sensitivity", "prune one site of one block, for every block and ratio.", 1, _choose, may_end_early=_may_end_early
)
