"""The stored sensitivity curves, and the sketch, that the equaliser colours its bars with. Imports no torch."""

from dataclasses import dataclass

import streamlit as st

from analysis_cache.errors import StoreError
from dashboard.evidence.commands import analyze_command
from dashboard.evidence.find import Evidence, find_evidence
from dashboard.evidence.prediction import Curves, read_curves
from dashboard.evidence.sketch import DamageMap, filled, read_map
from toast_core.engine.protocol import SketchCard
from toast_core.setup import Setup
from toast_core.studies.sketch.parts import is_compensated

_LOOK_AGAIN_S = 20


@dataclass(frozen=True)
class StoredCurves:
    """The curves; where there are none, `missing` says why or what to run."""

    curves: Curves | None
    missing: str = ""


@st.cache_resource(ttl=_LOOK_AGAIN_S, show_spinner=False)
def stored_curves(setup: Setup, model: str, selection: str) -> StoredCurves:
    """The exact sensitivity analysis that fits the model in hand, one with the schedule's selection before others.

    Cells of a sweep that still runs count as they come in. Analyses of other weights, or measured by an older program, do not count.
    """
    found = find_evidence(setup, model)
    fitting = [one for one in found.of("sensitivity") if one.analysis.request.get("mode") == "exact" and not one.concerns]
    try:
        for one in sorted(fitting, key=lambda one: _selection(one) != selection):
            curves = read_curves(one.rows(), _selection(one))
            if curves is not None:
                return StoredCurves(curves)
    except StoreError as error:
        return StoredCurves(None, str(error))
    if fitting and not found.problems:
        return StoredCurves(None, "predicted from accuracies alone; of a model without a classifier every schedule is measured")
    return StoredCurves(None, "; ".join(found.problems) or f"no sensitivity curves stored; run: {analyze_command(setup, 'sensitivity')}")


@st.cache_resource(ttl=_LOOK_AGAIN_S, show_spinner=False)
def stored_map(setup: Setup, model: str, selection: str, compensated: bool, seen: SketchCard | None = None) -> DamageMap | None:
    """The sketch that fits the model in hand, one with the schedule's selection before others; None where there is none.

    One of refitted cells counts for a `compensated` schedule alone, and goes first there. One that still runs counts as its parts come
    in: `seen` is how far the engine's own is, and with another its parts are looked for again.
    """
    found = find_evidence(setup, model)
    fitting = [one for one in found.of("sketch") if not one.concerns and (compensated or not is_compensated(one.analysis.request))]
    first: DamageMap | None = None
    try:
        for one in sorted(fitting, key=lambda one: (is_compensated(one.analysis.request) != compensated, _selection(one) != selection)):
            known = read_map(one.rows(), one.analysis.request, one.finished)
            if first is None or known is None:
                first = first or known
            elif first.compensated and not known.compensated and first.task == known.task:
                return filled(first, known)
            if first is not None and not first.compensated:
                return first
    except StoreError:
        return first  # what cannot be read is said where the curves are looked for
    return first


def _selection(evidence: Evidence) -> str | None:
    settings = evidence.analysis.request.get("settings")
    return settings.get("selection") if isinstance(settings, dict) else None
