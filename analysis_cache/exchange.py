"""From a store to a bundle and back."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from analysis_cache.analysis import AnalysisRecord
from analysis_cache.bundle import Bundle, write_bundle
from analysis_cache.errors import StoreError
from analysis_cache.store import EvidenceStore
from analysis_cache.upkeep import Added, adopt


def export_bundle(
    store: EvidenceStore, path: str | Path, ids: Iterable[str] | None = None, extras: Mapping[str, bytes] | None = None
) -> dict[str, int]:
    """Write analyses and the cells they list as one file; equal content gives equal bytes. Return how many of each.

    Args:
        store: where they are.
        path: the file to write or replace, by convention *.toastbundle.
        ids: ids or unique prefixes; None: every analysis.
        extras: further members by plain name, such as {"card-vit.json": b"..."}; read back with `Replay.extras`.

    Raises:
        StoreError: nothing to export, no such analysis, a damaged cell, over the limits, or the file cannot be written.
    """
    chosen = store.list_analyses() if ids is None else [store.get_analysis(prefix) for prefix in ids]
    if not chosen:
        raise StoreError(f"store {store.name} has no analysis to export; run toast analyze first")
    by_id = {analysis.id: analysis for analysis in sorted(chosen, key=lambda analysis: analysis.id)}
    keys = dict.fromkeys(key for analysis in by_id.values() for key in analysis.cell_keys)
    return write_bundle(Path(path), [AnalysisRecord.of(analysis) for analysis in by_id.values()], store.records(keys), extras)


def import_bundle(store: EvidenceStore, path: str | Path) -> Added:
    """Take over a bundle's analyses and cells, all or none, once every member and row of it has been checked.

    Raises:
        StoreError: the file is not sound in some part, or the store cannot be written; the store is as it was then.
    """
    bundle = Bundle(path)
    try:
        for _ in bundle.checked_rows():
            pass
        bundle.extras()
        return adopt(store.database, bundle.checked_rows())
    finally:
        bundle.close()
