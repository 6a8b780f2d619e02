"""Everything that is known of the dashboard's model on this machine, put together for a page: candidates, evaluations, the audit."""

from dataclasses import dataclass

from dashboard.evidence.audit import Audit, audit
from dashboard.evidence.candidates import Candidate, Evaluation, candidates, stored_evaluations
from dashboard.evidence.curves import stored_curves
from dashboard.evidence.find import find_by_card
from dashboard.evidence.prediction import Curves
from dashboard.evidence.savings import offered_points
from dashboard.session import autosave, state
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Description
from toast_core.errors import ToastError
from toast_core.setup import Setup


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
