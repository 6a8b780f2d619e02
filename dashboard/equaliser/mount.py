"""Puts the equaliser on a page, and takes what it sends into the session: edits, locks and ranges, links, undo and redo."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import streamlit as st

from dashboard.equaliser.script import script, style
from dashboard.equaliser.tables import cost_tables
from dashboard.evidence.curves import StoredCurves
from dashboard.evidence.latency import StoredLatency
from dashboard.evidence.prediction import Curves, Interaction
from dashboard.limits import Limit, Limits
from dashboard.session import state
from toast_core.cost.latency import ALIGNED
from toast_core.cost.macs import count_cost, kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.tasks.registry import task_of

KEY = "equaliser"
_component = st.components.v2.component("toast_equaliser", html='<div class="equaliser"></div>', css=style(), js=script())


@dataclass(frozen=True)
class EditorState:
    """What a session keeps for the equaliser: `seen` numbers the last message taken, `linked` names the pairs that move together."""

    seen: int = 0
    linked: tuple[str, ...] = ()


def show_equaliser(data: dict) -> None:
    """Mount the equaliser with the data of `data_in_hand`; what it sends is taken into the session before the page runs again."""
    _component(key=KEY, data=data, on_sent_change=_receive)


def data_in_hand(shape: ModelShape, stored: StoredCurves, latency: StoredLatency, ghost: Schedule | None) -> dict:
    """The equaliser's data for the schedule in hand; `ghost` is the schedule that the marks show."""
    editor = st.session_state.setdefault("editor", EditorState())
    return equaliser_data(shape, state.schedule(), state.limits(), editor, stored, latency, ghost)


def equaliser_data(
    shape: ModelShape, schedule: Schedule, limits: Limits, editor: EditorState, stored: StoredCurves, latency: StoredLatency,
    ghost: Schedule | None,
) -> dict:
    """Everything the browser draws and counts with, as JSON values; `counted` is what the schedule in hand costs."""
    cost = count_cost(shape, schedule)
    return {
        **cost_tables(shape, schedule.selection, schedule.multiple_of), **_bars(shape, schedule),
        "headline": task_of(shape).figures[0].title, "counted": {"macs": cost.macs, "params": cost.params},
        "multiple_of": schedule.multiple_of, "seen": editor.seen, "linked": editor.linked,
        "limits": [[site, block, limit.low, limit.high, limit.locked] for (site, block), limit in limits.items()],
        "ghost": _bars(shape, replace(ghost, multiple_of=schedule.multiple_of)) if ghost else None,
        **_curves_data(stored, shape, schedule), **_latency_data(latency, schedule),
    }


def _bars(shape: ModelShape, schedule: Schedule) -> dict:
    kept = [kept_counts(block, schedule, index) for index, block in enumerate(shape.blocks)]
    return {"ratios": {site: schedule.ratios(site) for site in SITES}, "kept": {site: [counts[site] for counts in kept] for site in SITES}}


def _curves_data(stored: StoredCurves, shape: ModelShape, schedule: Schedule) -> dict:
    curves = stored.curves
    if curves is None:
        return {"curves": None, "missing": stored.missing}
    low, high = curves.baseline.ci95
    return {
        "curves": {site: [_line(curves, site, block) for block in range(len(shape.blocks))] for site in SITES},
        "curves_note": _curves_note(stored, schedule), "interaction": _interaction_data(stored.interaction),
        "predicted_from": {"value": curves.baseline.value, "low": low, "high": high},
    }


def _latency_data(latency: StoredLatency, schedule: Schedule) -> dict:
    """The table's numbers; times are those of calibrated compact models, which dynamic selection does not run as."""
    table = latency.table
    if table is None:
        return {"latency": None, "latency_missing": latency.missing}
    if schedule.selection != "calibrated":
        return {"latency": None, "latency_missing": "told for calibrated selection only"}
    return {"latency": {
        "blocks": [asdict(times) for times in table.blocks], "kinds": table.kinds, "scale": table.scale, "aligned": ALIGNED,
        "outside_ms": table.outside_ms, "baseline_ms": table.baseline_ms,
        "note": f"batch {table.batch_size}, {table.dtype}, {table.threads} threads, {table.processor}",
    }}


def _line(curves: Curves, site: str, block: int) -> list[tuple[float, ...]]:
    return [(point.ratio, point.delta, point.low, point.high) for point in curves.points.get((site, block), ())]


def _interaction_data(interaction: Interaction | None) -> dict | None:
    """The learned correction, and half the band that it adds where there is no joint loss."""
    return interaction and {"weight": interaction.weight, "most": interaction.most, "unseen": interaction.spread(0.0)}


def _curves_note(stored: StoredCurves, schedule: Schedule) -> str:
    """Where the curves come from; curves of another selection predict the fc sites less well, so that is said."""
    curves = stored.curves
    of = f"from {curves.images:,} images" + ("" if schedule.compensation.is_none else ", before making up for what is dropped")
    if stored.interaction:
        of += f", corrected by {stored.interaction.schedules} measured schedules"
    if curves.selection in (None, schedule.selection):
        return of
    return f"{of}, channels chosen {curves.selection.replace('_', ' ')}"


def _receive() -> None:
    """Take the messages that have not been taken yet, in their order; one that is no schedule changes nothing."""
    editor: EditorState = st.session_state["editor"]
    for message in st.session_state[KEY].get("sent") or ():
        if message["number"] <= editor.seen:
            continue
        editor = replace(editor, seen=message["number"])
        if "linked" in message:
            editor = replace(editor, linked=tuple(message["linked"]))
        try:
            _take(message)
        except ScheduleError as error:
            st.session_state["notice"] = f"Not changed: {error}"
    st.session_state["editor"] = editor


def _take(message: Mapping) -> None:
    if "limits" in message:
        state.set_limits({(site, block): Limit(low, high, locked) for site, block, low, high, locked in message["limits"]})
    if "ratios" in message:
        rows = zip(*(message["ratios"][site] for site in SITES), strict=True)
        state.edit_within_limits(replace(state.schedule(), blocks=tuple(BlockSchedule(*row) for row in rows)))
    if step := {"undo": state.undo, "redo": state.redo}.get(message.get("step")):
        step()
