"""Read-only access to analyses for pages and figures, from a bundle or a store alike. Imports no torch, and SQLAlchemy only for stores."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from analysis_cache.analysis import Analysis
from analysis_cache.archive import is_bundle
from analysis_cache.bundle import SUFFIX, Bundle
from analysis_cache.cell import Cell, CellHead


class Source(Protocol):
    """What a bundle and a store have in common; see EvidenceStore for each."""

    @property
    def name(self) -> str: ...
    def list_analyses(self) -> list[Analysis]: ...
    def get_analysis(self, prefix: str) -> Analysis: ...
    def heads(self, keys: list[str]) -> list[CellHead]: ...
    def get(self, key: str) -> Cell: ...
    def close(self) -> None: ...


class Replay:
    """Analyses of one source. Cells are kept once read, as they never change: asking again while a sweep runs reads the new ones only.

    Safe to share between threads.

    Raises:
        StoreError: from every method, for a source that is missing or damaged.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._heads: dict[str, CellHead] = {}

    @classmethod
    def open(cls, source: str | Path | None = None) -> "Replay":
        """Open a .toastbundle file, or a store by path or URL; None: the user's own store."""
        if source is not None and (str(source).endswith(SUFFIX) or is_bundle(Path(source))):
            return cls(Bundle(source))
        from analysis_cache.store import EvidenceStore

        return cls(EvidenceStore.open(source, create=False, read_only=True))

    @property
    def name(self) -> str:
        """The path of the bundle or store, or its URL without a password."""
        return self.source.name

    def analyses(self) -> list[Analysis]:
        """Return the analyses of the bundle or store, the newest first."""
        return self.source.list_analyses()

    def analysis(self, prefix: str) -> Analysis:
        """The analysis whose id starts with `prefix`."""
        return self.source.get_analysis(prefix)

    def heads(self, prefix: str, again: bool = False) -> list[CellHead]:
        """The cells of an analysis in its order; those not measured yet are left out.

        Args:
            again: read all of them, where a cell may have been measured anew under its key since it was read.
        """
        keys = self.analysis(prefix).cell_keys
        unread = [key for key in keys if again or key not in self._heads]
        self._heads |= {head.key: head for head in self.source.heads(unread)} if unread else {}
        return [self._heads[key] for key in keys if key in self._heads]

    def rows(self, prefix: str, again: bool = False) -> list[dict[str, Any]]:
        """The cells that an analysis is about as flat records, see CellHead.row: details and summary by name, "key" and "identity".

        Left out are cells of another kind that it lists beside them: a sweep's evaluation of the baseline, see `baseline`.
        """
        metric = self.analysis(prefix).request.get("metric")
        return [head.row() for head in self.heads(prefix, again) if metric is None or head.identity.kind == metric]

    def baseline(self, prefix: str) -> CellHead | None:
        """The baseline's evaluation on an analysis' images, where it was stored with it."""
        return next((head for head in self.heads(prefix) if head.identity.detail.get("execution") == "baseline"), None)

    def outcomes(self, key: str) -> dict[str, np.ndarray]:
        """The per-image arrays of a cell by name, in evaluation order."""
        return self.source.get(key).arrays

    def extras(self) -> dict[str, bytes]:
        """What the exporter of a bundle added, by name; nothing for a store."""
        return self.source.extras() if isinstance(self.source, Bundle) else {}

    def close(self) -> None:
        """Release the bundle or store that is replayed."""
        self.source.close()


def shipped_bundles() -> list[Path]:
    """The bundles that come with this program, by name; none in a checkout without them."""
    return sorted((Path(__file__).parent / "shipped").glob(f"*{SUFFIX}"))
