"""Puts the equaliser on a page, with all that it draws and counts with."""

from dataclasses import asdict, dataclass, replace

import streamlit as st

from dashboard.equaliser.script import script, style
from dashboard.equaliser.tables import cost_tables
from dashboard.evidence.curves import StoredCurves
from dashboard.evidence.latency import StoredLatency
from dashboard.evidence.prediction import Curves, Interaction
from dashboard.evidence.sketch import DamageMap
from dashboard.limits import Limits
from dashboard.session import state
from dashboard.session.inbox import KEY, EditorState, take_sent
from dashboard.session.whole import whole
from toast_core.cost.latency import ALIGNED
from toast_core.cost.macs import count_cost, kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.tasks.registry import task_of

_component = st.components.v2.component("toast_equaliser", html='<div class="equaliser"></div>', css=style(), js=script())


def show_equaliser(data: dict) -> None:
    """Mount the equaliser with the data of `data_in_hand`; what it sends is taken into the session before the page runs again."""
    _component(key=KEY, data=data, on_sent_change=whole(take_sent))


@dataclass(frozen=True)
class Stored:
    """What is stored about the model's sites and blocks, and the schedule whose marks are shown.

    curves     exact curves, which colour the bars where they are of the schedule's selection, and which top-1 is predicted from
    map        a sketch, which colours them where there are no such curves; None where there is none
    images_of  the name of the images that the sketch is of
    latency    this machine's table of times
    ghost      the schedule that the marks show
    """

    curves: StoredCurves
    map: DamageMap | None
    images_of: str
    latency: StoredLatency
    ghost: Schedule | None


def data_in_hand(shape: ModelShape, stored: Stored) -> dict:
    """The equaliser's data for the schedule in hand."""
    return equaliser_data(shape, state.schedule(), state.limits(), st.session_state.setdefault("editor", EditorState()), stored)


def equaliser_data(shape: ModelShape, schedule: Schedule, limits: Limits, editor: EditorState, stored: Stored) -> dict:
    """Everything the browser draws and counts with, as JSON values; `counted` is what the schedule in hand costs."""
    ghost = stored.ghost
    cost = count_cost(shape, schedule)
    return {
        **cost_tables(shape, schedule.selection, schedule.multiple_of), **_bars(shape, schedule),
        "headline": task_of(shape).figures[0].title, "counted": {"macs": cost.macs, "params": cost.params},
        "multiple_of": schedule.multiple_of, "seen": editor.seen, "linked": editor.linked,
        "limits": [[site, block, limit.low, limit.high, limit.locked] for (site, block), limit in limits.items()],
        "ghost": _bars(shape, replace(ghost, multiple_of=schedule.multiple_of)) if ghost else None,
        **_curves_data(stored, shape, schedule), **_latency_data(stored.latency, schedule),
    }


def _bars(shape: ModelShape, schedule: Schedule) -> dict:
    kept = [kept_counts(block, schedule, index) for index, block in enumerate(shape.blocks)]
    return {"ratios": {site: schedule.ratios(site) for site in SITES}, "kept": {site: [counts[site] for counts in kept] for site in SITES}}


def _curves_data(stored: Stored, shape: ModelShape, schedule: Schedule) -> dict:
    found, sketch = stored.curves, _sketch_data(stored, shape, schedule)
    curves = found.curves
    if curves is None:
        told = "predicted beside, once a bar is let go" if sketch else found.missing
        return {"curves": None, "missing": told, "sketch": sketch}
    low, high = curves.baseline.ci95
    return {
        "curves": {site: [_line(curves, site, block) for block in range(len(shape.blocks))] for site in SITES},
        "curves_note": _curves_note(found, schedule), "interaction": _interaction_data(found.interaction),
        "predicted_from": {"value": curves.baseline.value, "low": low, "high": high}, "sketch": sketch,
    }


def _sketch_data(stored: Stored, shape: ModelShape, schedule: Schedule) -> dict | None:
    """The map that colours the bars: a sketch of the schedule's selection, or of another where no exact curves are there at all.

    Exact curves are of cells that nothing makes up for: of a schedule with compensation a sketch of refitted cells tells more.
    """
    damage, curves = stored.map, stored.curves.curves
    if damage is None:
        return None
    is_exact = curves is not None and (curves.selection in (None, schedule.selection) or damage.selection != schedule.selection)
    if is_exact and not damage.compensated:
        return None
    of = damage.basis(stored.images_of)
    if damage.selection != schedule.selection:
        of += f"; channels chosen {damage.selection.replace('_', ' ')}"
    if not schedule.compensation.is_none:
        of += "; each block refitted by itself" if damage.compensated else "; before making up for what is dropped"
    figure = damage.task.damage
    return {
        "lines": {site: [_damage_line(damage, site, block) for block in range(len(shape.blocks))] for site in SITES},
        "label": figure.label, "unit": figure.unit, "note": of, "band": "95 %" if damage.calibrated_by[1] else "95 % over images",
    }


def _damage_line(damage: DamageMap, site: str, block: int) -> list[tuple]:
    return [(one.ratio, one.damage, one.low, one.high, one.is_told) for one in damage.points.get((site, block), ())]


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
