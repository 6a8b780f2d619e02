"""What a composition analysis holds in the evidence store while it runs, and removes at its end. Imports no torch."""

from dataclasses import replace

import numpy as np

from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.studies.composition.result import Measured
from toast_core.studies.evaluation.result import OUTCOME_NAMES, Outcomes


class DeploymentParts:
    """The channels that deployment kept for each image, in the store while conditions are still to be compared with it."""

    BYTES = 8 << 20  # of one entry: the store takes 16 MiB

    def __init__(self, store: EvidenceStore, deployment: CellIdentity) -> None:
        self.store, self.deployment = store, deployment

    def _identity(self, number: int) -> CellIdentity:
        return replace(self.deployment, details={**self.deployment.detail, "part": number})

    def save(self, measured: Measured) -> None:
        """Store the channels of deployment; to be called before its own cell is stored, which `load` relies on."""
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
        return Measured(Outcomes(*(arrays[name] for name in OUTCOME_NAMES)), kept)

    def remove(self) -> None:
        """Remove every entry from the store."""
        self.store.remove(self._keys())

    def _keys(self) -> list[str]:
        first = self.store.heads([self._identity(0).key])
        return [self._identity(number).key for number in range(first[0].summary["parts"])] if first else []
