"""An analysis in the evidence store: put before its first cell is measured, and again when its last one is there. Imports no torch."""

from collections.abc import Iterable

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import utc_now
from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore


def announce(store: EvidenceStore, request: dict, label: str, identities: Iterable[CellIdentity]) -> Analysis:
    """Put the unfinished analysis of these cells, so that pages find it while they fill in, and return it."""
    analysis = Analysis(request, label, tuple(identity.key for identity in identities), utc_now())
    store.put_analysis(analysis)
    return analysis


def finish(store: EvidenceStore, analysis: Analysis) -> Analysis:
    """Put the analysis as finished now, and return it so."""
    finished = analysis.finished(utc_now())
    store.put_analysis(finished)
    return finished


def rows_of(store: EvidenceStore, analysis: Analysis) -> list[dict]:
    """The stored rows of the analysis' own metric, in its order; a baseline that it is compared with is left out."""
    metric = analysis.request["metric"]
    return [head.summary for head in store.heads(analysis.cell_keys) if head.identity.kind == metric]
