"""Evidence: measured cells by content, in a store, in bundles, and replayed without torch. Names load their modules when first used."""

from importlib import import_module

_HOME = {
    "StoreError": "errors", "CellIdentity": "key", "digest_of_subset": "key", "stale_reason": "key", "METRIC_VERSIONS": "key",
    "Analysis": "analysis", "Cell": "cell", "CellHead": "cell", "EvidenceStore": "store", "default_store": "database",
    "utc_now": "canonical", "export_bundle": "exchange", "import_bundle": "exchange", "Replay": "replay", "shipped_bundles": "replay",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'analysis_cache' has no attribute {name!r}")
    return getattr(import_module(f"analysis_cache.{_HOME[name]}"), name)
