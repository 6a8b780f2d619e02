"""The two simple editors of a schedule: a slider a block for one site, and a table of all sites. Both edit the one schedule."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard import state
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import SITES, Schedule

SITE_NAMES = {
    "qk": "qk: query and key dimensions of every head", "vo": "vo: value and output dimensions of every head",
    "fc1": "fc1: input channels of the feed-forward network", "fc2": "fc2: hidden units of the feed-forward network",
}
_STEP = 0.05
_MAX_SLIDER = 0.95
_COLUMNS = 4


@dataclass(frozen=True)
class _Table:
    """The mounted table: its edits count from `base`; `shown` is what it displays. Another schedule takes another revision."""

    revision: int
    base: Schedule
    shown: Schedule


def show_editor() -> None:
    """Show both editors on the schedule in hand."""
    sliders, table = st.tabs(["Sliders", "Table"])
    with sliders:
        _show_sliders()
    with table:
        _show_table()


def _show_sliders() -> None:
    chosen, value, apply = st.columns([3, 2, 2], vertical_alignment="bottom")
    site = chosen.segmented_control("Site", SITES, default="fc2", required=True, key="site", help="  \n".join(SITE_NAMES.values()))
    value.number_input("Every block", 0.0, _MAX_SLIDER, 0.3, _STEP, format="%.2f", key="every-block")
    apply.button(f"Set {site} everywhere", on_click=_set_everywhere, args=(site,), width="stretch")
    st.caption(f"{SITE_NAMES[site]}. Fraction dropped, 0 keeps all.")
    ratios = state.schedule().ratios(site)
    for start in range(0, len(ratios), _COLUMNS):
        for block, column in zip(range(start, min(start + _COLUMNS, len(ratios))), st.columns(_COLUMNS), strict=False):
            key, ratio = f"ratio-{site}-{block}", ratios[block]
            # Set only where something else edited the schedule: setting it always would push back a thumb that is being dragged.
            if st.session_state.get(key) != ratio:
                st.session_state[key] = ratio
            column.slider(f"Block {block}", 0.0, max(_MAX_SLIDER, ratio), step=_STEP, key=key, on_change=_slide, args=(site, block, key))


def _slide(site: str, block: int, key: str) -> None:
    state.edit(state.schedule().with_ratio(block, site, round(st.session_state[key], 4)))


def _set_everywhere(site: str) -> None:
    schedule = state.schedule()
    for block in range(len(schedule.blocks)):
        schedule = schedule.with_ratio(block, site, round(st.session_state["every-block"], 4))
    state.edit(schedule)


def _show_table() -> None:
    schedule, table = state.schedule(), st.session_state.get("table")
    if table is None or table.shown != schedule:
        table = _Table(table.revision + 1 if table else 0, schedule, schedule)
        st.session_state["table"] = table
    frame = pd.DataFrame({site: table.base.ratios(site) for site in SITES})
    frame.index.name = "Block"
    columns = {
        site: st.column_config.NumberColumn(site, help=SITE_NAMES[site], min_value=0.0, max_value=0.99, step=_STEP, format="%.2f")
        for site in SITES
    }
    st.data_editor(frame, key=f"table-{table.revision}", on_change=_edit_table, height="content", column_config=columns)
    st.caption("Fractions dropped, from 0 (keep all) to below 1. A double click edits a cell; paste fills several.")


def _edit_table() -> None:
    """Apply all of the table's edits to the schedule it was mounted with; a refused edit mounts it afresh."""
    table: _Table = st.session_state["table"]
    schedule = table.base
    try:
        for row, cells in st.session_state[f"table-{table.revision}"]["edited_rows"].items():
            for site, ratio in cells.items():
                schedule = schedule.with_ratio(int(row), site, ratio)
    except ScheduleError as error:
        st.session_state["notice"] = f"Not changed: {error}"
        st.session_state["table"] = _Table(table.revision + 1, state.schedule(), state.schedule())
        return
    st.session_state["table"] = _Table(table.revision, table.base, schedule)
    state.edit(schedule)
