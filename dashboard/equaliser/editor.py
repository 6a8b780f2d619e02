"""The two editors of a schedule: the equaliser, and a table of all sites for typing. Both edit the one schedule within its limits."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard.equaliser.mount import show_equaliser
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import REGISTRY, SITES

SITE_NAMES = {site.name: f"{site.name}: {site.label}" for site in REGISTRY}
_STEP, _MOST = 5.0, 99.0  # percent
_MAX_EVERYWHERE = 95.0


@dataclass(frozen=True)
class _Table:
    """The mounted table: its edits count from `base`; `shown` is what it displays. Another schedule takes another revision."""

    revision: int
    base: Schedule
    shown: Schedule


def show_editor(data: dict) -> None:
    """Show both editors on the schedule in hand; `data` is the equaliser's."""
    equaliser, table = st.tabs(["Equaliser", "Table"])
    with equaliser:
        show_equaliser(data)
    with table:
        _show_table()


def show_everywhere() -> None:
    """One ratio for a site in every block; locks and ranges hold."""
    site = st.segmented_control("Every block", SITES, default="fc2", required=True, key="site", help="  \n".join(SITE_NAMES.values()))
    value, apply = st.columns([1, 1], vertical_alignment="bottom")
    value.number_input(
        "Percent dropped", 0.0, _MAX_EVERYWHERE, 30.0, _STEP, format="%.4g", key="every-block", label_visibility="collapsed"
    )
    apply.button(f"Set {site}", on_click=whole(_set_everywhere), args=(site,), width="stretch", key="set-everywhere")


def _set_everywhere(site: str) -> None:
    schedule = state.schedule()
    for block in range(len(schedule.blocks)):
        schedule = schedule.with_ratio(block, site, round(st.session_state["every-block"] / 100, 6))
    state.edit_within_limits(schedule)


def _show_table() -> None:
    schedule, table = state.schedule(), st.session_state.get("table")
    if table is None or table.shown != schedule:
        table = _Table(table.revision + 1 if table else 0, schedule, schedule)
        st.session_state["table"] = table
    frame = pd.DataFrame({site: [round(100 * ratio, 4) for ratio in table.base.ratios(site)] for site in SITES})
    frame.index.name = "Block"
    columns = {
        site: st.column_config.NumberColumn(site, help=SITE_NAMES[site], min_value=0.0, max_value=_MOST, step=0.01, format="%.4g")
        for site in SITES
    }
    st.data_editor(frame, key=f"table-{table.revision}", on_change=whole(_edit_table), height="content", column_config=columns)
    st.caption("Percent dropped, from 0 (keep all) to 99. A double click edits a cell; paste fills several. Locks and ranges hold.")


def _edit_table() -> None:
    """Apply all of the table's edits to the schedule it was mounted with; one that is refused or held back mounts it afresh."""
    table: _Table = st.session_state["table"]
    schedule = table.base
    try:
        for row, cells in st.session_state[f"table-{table.revision}"]["edited_rows"].items():
            for site, percent in cells.items():
                schedule = schedule.with_ratio(int(row), site, _ratio(percent))
    except ScheduleError as error:
        st.session_state["notice"] = f"Not changed: {error}"
        st.session_state["table"] = _Table(table.revision + 1, state.schedule(), state.schedule())
        return
    st.session_state["table"] = _Table(table.revision, table.base, schedule)
    state.edit_within_limits(schedule)


def _ratio(percent: float | None) -> float:
    if percent is None:
        raise ScheduleError("a cell is empty; write 0 to keep every channel")
    return round(percent / 100, 6)
