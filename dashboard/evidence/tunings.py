"""The reports of finished tunings in the store. Imports no torch."""

from dashboard.evidence.find import find_evidence
from toast_core.setup import Setup


def tuned_report(setup: Setup, model: str, analysis: str) -> dict | None:
    """The report of a finished tuning in the dashboard's store; None where it is not there."""
    for one in find_evidence(setup, model).of("tuning"):
        if one.short_id == analysis:
            heads = one.replay.heads(one.analysis.id)
            return dict(heads[0].summary) if heads else None
    return None

