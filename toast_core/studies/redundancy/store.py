"""Redundancy in the evidence store: a cell a block and site, all of them from one pass over the images."""

from collections.abc import Callable
from dataclasses import replace

from analysis_cache.analysis import Analysis
from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.studies.analyses import announce, finish, rows_of
from toast_core.studies.redundancy.measure import redundancy
from toast_core.studies.redundancy.result import REDUNDANCY_SITES
from toast_core.studies.subject import Subject


def redundancy_identities(subject: Subject) -> list[CellIdentity]:
    """The cells of a redundancy analysis, in the order of its rows."""
    blocks = len(get_info(subject.model).shape.blocks)
    return [replace(subject.identity, details={"block": block, "site": site}) for block in range(blocks) for site in REDUNDANCY_SITES]


def analyze_redundancy(
    subject: Subject, store: EvidenceStore, memory_gb: float = 8.0, progress: Callable[[int, int], None] | None = None,
    executor: Executor = LOCAL,
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`RedundancyRow.to_dict`), measuring unless every row is stored; see `redundancy`."""
    identities = redundancy_identities(subject)
    analysis = announce(store, subject.request(metric="redundancy"), f"redundancy of {subject.identity.model}", identities)
    if len(store.has_many(analysis.cell_keys)) < len(identities):
        rows = redundancy(subject.model, subject.data, subject.batch_size, memory_gb, progress, executor=executor)
        for identity, row in zip(identities, rows, strict=True):
            store.put(identity, row.to_dict(), {})
    return finish(store, analysis), rows_of(store, analysis)
