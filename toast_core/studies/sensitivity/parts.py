"""Finished parts of a sweep in the evidence store while it runs, for the sweep itself and for pages that look on. Imports no torch."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from analysis_cache.key import CellIdentity, Scalar
from analysis_cache.store import EvidenceStore
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.tasks.base import CellOutcomes, Task


@dataclass(frozen=True)
class PartKeys:
    """Which cells of the store hold the parts of one sweep: one cell for a block's cells on a batch.

    identity     what all of them share: model, weights and images
    calibration  what calibrated channels are chosen from, see `statistics_digest`
    settings     the schedule's fields that every cell of the sweep has
    """

    identity: CellIdentity
    calibration: str
    settings: Mapping[str, Any]

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> "PartKeys":
        """Read them from the request of a sweep's analysis.

        Raises:
            KeyError, TypeError, StoreError: it is no sweep's.
        """
        shared = {field.name: request[field.name] for field in fields(CellIdentity) if field.name != "details"}
        return cls(CellIdentity(**shared), request["calibration"], request["settings"])

    @property
    def batches(self) -> int:
        """How many batches the images come in."""
        return math.ceil(self.identity.images / self.identity.batch_size)

    def identity_of(self, batch: int, block: int) -> CellIdentity:
        """The cell of one part."""
        settings = json.dumps(dict(self.settings), sort_keys=True)
        details: dict[str, Scalar] = {
            "part": "sensitivity", "calibration": self.calibration, "settings": settings, "batch": batch, "block": block,
        }
        return replace(self.identity, details=details)

    def of_blocks(self, blocks: Iterable[int]) -> list[str]:
        """The keys of these blocks' parts on every batch, stored or not."""
        return [self.identity_of(batch, block).key for block in blocks for batch in range(self.batches)]


class StoreParts:
    """A sweep's parts written to the store and read back, see `sweep.Parts`.

    task     whose outcomes they are
    counted  is told the cell-images written and read so far
    """

    def __init__(self, store: EvidenceStore, keys: PartKeys, task: Task, counted: Callable[[int], object] = lambda done: None) -> None:
        self.store, self.keys, self.task, self.counted, self.done = store, keys, task, counted, 0

    def load(self, batch: int, block: int) -> dict[Cell, CellOutcomes]:
        """Return what is stored of this part, possibly nothing."""
        key = self.keys.identity_of(batch, block).key
        if not self.store.has_many([key]):
            return {}
        stored = self.store.get(key)
        known = {
            Cell(block, site, ratio): self.task.read_cell({name: values[row] for name, values in stored.arrays.items()})
            for row, (site, ratio) in enumerate(stored.summary["cells"])
        }
        self._count(known)
        return known

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Store this part; committed when this returns."""
        if not cells:
            return
        names = next(iter(cells.values())).NAMES
        arrays = {name: np.stack([getattr(outcomes, name) for outcomes in cells.values()]) for name in names}
        self.store.put(self.keys.identity_of(batch, block), {"cells": [[cell.site, cell.ratio] for cell in cells]}, arrays)
        self._count(cells)

    def _count(self, cells: dict[Cell, CellOutcomes]) -> None:
        self.done += sum(len(outcomes) for outcomes in cells.values())
        self.counted(self.done)
