"""Puts the equaliser on a page, with all that it draws and counts with, and the bar of figures that it fills."""

from dataclasses import asdict, dataclass, replace

import streamlit as st

from dashboard import wording
from dashboard.equaliser.script import file_text, script
from dashboard.equaliser.tables import cost_tables
from dashboard.evidence.curves import StoredCurves
from dashboard.evidence.latency import StoredLatency
from dashboard.evidence.prediction import Curves
from dashboard.evidence.sketch import DamageMap
from dashboard.limits import Limits
from dashboard.session import channel, state
from dashboard.session.inbox import KEY, EditorState, take_sent
from dashboard.session.whole import whole
from toast_core.cost.latency import ALIGNED
from toast_core.cost.macs import count_cost, kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Measurement, Predicted
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.tasks.registry import task_of

_component = st.components.v2.component(
    "toast_equaliser", html='<div class="equaliser"></div>', css=file_text("equaliser.css"), js=script()
)
_figures = st.components.v2.component(
    "toast_figures", html='<div class="figures"></div>', css=file_text("figures.css"), js=file_text("figures.js")
)


def show_figures() -> None:
    """Mount the bar of figures; the equaliser of the same page fills it."""
    _figures(key="figures")


def show_equaliser(data: dict) -> None:
    """Mount the equaliser with the data of `data_in_hand`; what it sends is taken into the session before the page runs again."""
    _component(key=KEY, data=data, on_sent_change=whole(take_sent))


@dataclass(frozen=True)
class Stored:
    """What is stored about the model's sites and blocks, and the schedule whose marks are shown.

    curves     exact curves, which colour the bars where they are of the schedule's selection
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


@dataclass(frozen=True)
class Live:
    """What the browser needs to ask the engine itself, and what the session knows of the schedule in hand.

    session    that may ask; empty where there is nothing to ask: `why` says why
    kept       its finished measurement
    predicted  what was predicted of it
    """

    session: str = ""
    why: str = ""
    kept: Measurement | None = None
    predicted: Predicted | None = None

    def data(self, schedule: Schedule) -> dict:
        """As JSON values."""
        values = {name: one.to_dict() if one else None for name, one in (("kept", self.kept), ("predicted", self.predicted))}
        asked = {"path": channel.PATH, "session": self.session, "asks": bool(self.session), "why": self.why}
        return {**values, **asked, "schedule": schedule.to_dict()}


def data_in_hand(shape: ModelShape, stored: Stored) -> dict:
    """The equaliser's data for the schedule in hand."""
    editor = st.session_state.setdefault("editor", EditorState())
    return equaliser_data(shape, state.schedule(), state.limits(), editor, stored, _live())


def _live() -> Live:
    engine, schedule = state.engine_state(), state.schedule()
    known = state.kept_result(schedule), state.kept_prediction(schedule)
    if engine.is_ready and engine.data is None:
        return Live("", "not measured: start the dashboard with --data FOLDER", *known)
    return Live(st.session_state["session"], "", *known)


def equaliser_data(
    shape: ModelShape, schedule: Schedule, limits: Limits, editor: EditorState, stored: Stored, live: Live = Live()
) -> dict:
    """Everything the browser draws and counts with, as JSON values; `counted` is what the schedule in hand costs."""
    ghost, figure = stored.ghost, task_of(shape).figures[0]
    cost = count_cost(shape, schedule)
    return {
        **cost_tables(shape, schedule.selection, schedule.multiple_of), **_bars(shape, schedule),
        "figure": {
            "title": figure.title, "change_title": f"{figure.title} vs baseline", "unit": figure.unit, "change_unit": figure.change_unit,
            "digits": wording.least_decimals(figure),
        },
        "damage": {"label": task_of(shape).damage.label, "unit": task_of(shape).damage.unit}, "live": live.data(schedule),
        "counted": {"macs": cost.macs, "params": cost.params},
        "multiple_of": schedule.multiple_of, "seen": editor.seen, "linked": editor.linked,
        "limits": [[site, block, limit.low, limit.high, limit.locked] for (site, block), limit in limits.items()],
        "ghost": _bars(shape, replace(ghost, multiple_of=schedule.multiple_of)) if ghost else None,
        **_curves_data(stored, shape, schedule), **_latency_data(stored.latency, schedule),
    }


def _bars(shape: ModelShape, schedule: Schedule) -> dict:
    kept = [kept_counts(block, schedule, index) for index, block in enumerate(shape.blocks)]
    return {"ratios": {site: schedule.ratios(site) for site in SITES}, "kept": {site: [counts[site] for counts in kept] for site in SITES}}


def _curves_data(stored: Stored, shape: ModelShape, schedule: Schedule) -> dict:
    curves, sketch = stored.curves.curves, _sketch_data(stored, shape, schedule)
    if curves is None:
        return {"curves": None, "curves_note": "", "sketch": sketch}
    return {
        "curves": {site: [_line(curves, site, block) for block in range(len(shape.blocks))] for site in SITES},
        "curves_note": _curves_note(curves, schedule), "sketch": sketch,
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
        of += "; each block refitted by itself" if damage.compensated else "; without compensation"
        of += f", {', '.join(damage.filled)} not" if damage.filled else ""
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


def _curves_note(curves: Curves, schedule: Schedule) -> str:
    """Where the curves come from, and what is not in them."""
    of = f"measured on {curves.images:,} images" + ("" if schedule.compensation.is_none else ", without compensation")
    return of if curves.selection in (None, schedule.selection) else f"{of}, channels chosen {curves.selection.replace('_', ' ')}"
