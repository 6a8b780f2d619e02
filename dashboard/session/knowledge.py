"""Everything that is known of the dashboard's model on this machine, put together for a page: candidates, evaluations, the audit."""

from dataclasses import dataclass, replace

import streamlit as st

from analysis_cache.errors import StoreError
from dashboard.evidence.audit import Audit, audit
from dashboard.evidence.candidates import Candidate, Evaluation, candidates, stored_evaluations
from dashboard.evidence.curves import StoredCurves, stored_curves
from dashboard.evidence.find import find_by_card
from dashboard.evidence.prediction import Curves, Interaction
from dashboard.evidence.savings import offered_points
from dashboard.session import autosave, state
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Description
from toast_core.errors import ToastError
from toast_core.setup import Setup

_LOOK_AGAIN_S = 20


@dataclass(frozen=True)
class Known:
    """The candidates, and the audit of the prediction; where there are no curves, `missing` says why. `problems` are unreadable sources."""

    candidates: tuple[Candidate, ...]
    curves: Curves | None
    audit: Audit | None
    missing: str
    problems: tuple[str, ...]


def gather_known(shape: ModelShape) -> Known:
    """Everything that the store, the browser's drafts and its measurements while editing say of the schedule in hand and its rivals."""
    setup, engine, schedule = state.engine_client().setup, state.engine_state(), state.schedule()
    evaluations, problems = _evaluations(setup, engine, shape)
    stored, audited, results, drafts = stored_curves(setup, shape.name, schedule.selection), None, {}, []
    try:
        results, drafts = autosave.results(setup, engine), autosave.drafts(shape)
        audited = audit(stored.curves, shape, schedule.selection, evaluations, results.values()) if stored.curves else None
    except ToastError as error:
        problems = (*problems, str(error))
    points = offered_points(setup, shape, schedule)
    found = candidates(shape, schedule, drafts, points, evaluations, results, stored.curves, audited and audited.interaction)
    return Known(tuple(found), stored.curves, audited, stored.missing, problems)


def _evaluations(setup: Setup, engine: Description, shape: ModelShape) -> tuple[dict[str, Evaluation], tuple[str, ...]]:
    found = find_by_card(setup, shape.name, engine)
    return stored_evaluations(found), found.problems


def with_interaction(stored: StoredCurves, shape: ModelShape) -> StoredCurves:
    """The curves with the interaction learned from measured schedules, where that predicts better."""
    who, engine = autosave.owner(), state.engine_state()
    if stored.curves is None or not engine.is_ready:
        return stored
    selection = state.schedule().selection
    return replace(stored, interaction=_interaction(who, selection, state.engine_client().setup, engine, shape, stored.curves))


@st.cache_resource(ttl=_LOOK_AGAIN_S, max_entries=16, show_spinner=False)
def _interaction(
    who: str | None, selection: str, setup: Setup, _engine: Description, _shape: ModelShape, _curves: Curves
) -> Interaction | None:
    try:
        evaluations, _ = _evaluations(setup, _engine, _shape)
        return audit(_curves, _shape, selection, evaluations, autosave.results(setup, _engine).values()).interaction
    except (ToastError, StoreError):
        return None  # the sums of single blocks still predict, and the Compare page says what cannot be read
