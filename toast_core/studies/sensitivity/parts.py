"""What a long analysis keeps in the store while it runs, and removes at its end."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.studies.composition.measure import Measured
from toast_core.studies.evaluation.result import OUTCOME_NAMES as IMAGE_OUTCOMES
from toast_core.studies.evaluation.result import Outcomes
from toast_core.studies.sensitivity.cells import OUTCOME_NAMES, Cell, CellOutcomes


class StoreParts:
    """Finished parts of a sweep in the store: one cell entry for a block's cells on a batch; removed when the sweep is done."""

    def __init__(
        self, store: EvidenceStore, identity: CellIdentity, statistics_digest: str, settings: dict[str, object],
        counted: Callable[[int], object] = lambda done: None,
    ) -> None:
        self.store, self.identity, self.counted, self.done = store, identity, counted, 0
        self.shared = {"part": "sensitivity", "calibration": statistics_digest, "settings": json.dumps(settings, sort_keys=True)}

    def _identity(self, batch: int, block: int) -> CellIdentity:
        return replace(self.identity, details={**self.shared, "batch": batch, "block": block})

    def keys(self, blocks: Iterable[int]) -> list[str]:
        """The keys of these blocks' parts on every batch, stored or not."""
        batches = math.ceil(self.identity.images / self.identity.batch_size)
        return [self._identity(batch, block).key for block in blocks for batch in range(batches)]

    def load(self, batch: int, block: int) -> dict[Cell, CellOutcomes]:
        """Return what is stored of this part, possibly nothing."""
        key = self._identity(batch, block).key
        if not self.store.has_many([key]):
            return {}
        stored = self.store.get(key)
        known = {
            Cell(block, site, ratio): CellOutcomes(*(stored.arrays[name][row] for name in OUTCOME_NAMES))
            for row, (site, ratio) in enumerate(stored.summary["cells"])
        }
        self._count(known)
        return known

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Store this part; committed when this returns."""
        if not cells:
            return
        arrays = {name: np.stack([getattr(outcomes, name) for outcomes in cells.values()]) for name in OUTCOME_NAMES}
        self.store.put(self._identity(batch, block), {"cells": [[cell.site, cell.ratio] for cell in cells]}, arrays)
        self._count(cells)

    def _count(self, cells: dict[Cell, CellOutcomes]) -> None:
        self.done += sum(len(outcomes) for outcomes in cells.values())
        self.counted(self.done)


class KeptParts:
    """What deployment kept for each image, in the store while conditions are still to be compared with it; removed at the end."""

    BYTES = 8 << 20  # of one entry: the store takes 16 MiB

    def __init__(self, store: EvidenceStore, deployment: CellIdentity) -> None:
        self.store, self.deployment = store, deployment

    def _identity(self, number: int) -> CellIdentity:
        return replace(self.deployment, details={**self.deployment.detail, "part": number})

    def save(self, measured: Measured) -> None:
        """Store it; to be called before deployment's own cell is stored, which `load` relies on."""
        images = len(measured.outcomes.index)
        bits = np.concatenate([np.zeros((images, 0), np.uint8), *measured.kept.values()], axis=1)
        step = max(1, self.BYTES // max(1, bits.shape[1]))
        starts = range(0, images, step)
        sites = [[block, site, kept.shape[1]] for (block, site), kept in measured.kept.items()]
        for number, start in enumerate(starts):
            self.store.put(self._identity(number), {"parts": len(starts), "sites": sites}, {"kept": bits[start : start + step]})

    def load(self) -> Measured | None:
        """Return what is stored of deployment, or None where an entry is missing."""
        keys = self._keys()
        if not keys or len(self.store.has_many(keys)) < len(keys):
            return None
        entries = [self.store.get(key) for key in keys]
        bits = np.concatenate([entry.arrays["kept"] for entry in entries])
        ends = np.cumsum([0, *(width for *_, width in entries[0].summary["sites"])])
        kept = {
            (block, site): bits[:, start:end]
            for (block, site, _), start, end in zip(entries[0].summary["sites"], ends[:-1], ends[1:], strict=True)
        }
        arrays = self.store.get(self.deployment.key).arrays
        return Measured(Outcomes(*(arrays[name] for name in IMAGE_OUTCOMES)), kept)

    def remove(self) -> None:
        """Remove it from the store."""
        self.store.remove(self._keys())

    def _keys(self) -> list[str]:
        first = self.store.heads([self._identity(0).key])
        return [self._identity(number).key for number in range(first[0].summary["parts"])] if first else []
