"""What a sweep that still runs knows so far: its finished parts in the store, paired with the baseline. Imports no torch.

An exact sweep finishes all its cells with the last batch; until then a cell's figures are in parts, one a block and batch, which
`toast_core.studies.sensitivity.parts.StoreParts` writes and the sweep removes at its end.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis_cache.analysis import Analysis
from analysis_cache.cell import Cell
from analysis_cache.errors import StoreError
from analysis_cache.replay import Replay
from toast_core.intervals import mean_interval, paired_interval
from toast_core.studies.sensitivity.cells import Cell as GridCell
from toast_core.studies.sensitivity.cells import CellOutcomes, summarize
from toast_core.studies.sensitivity.parts import PartKeys
from toast_core.studies.tasks.registry import task_of_row

Place = tuple[str, float]


@dataclass
class _Block:
    """What is read of one block: the arrays of its first `batches` batches, by cell and name."""

    batches: int = 0
    arrays: dict[Place, dict[str, list[np.ndarray]]] = field(default_factory=dict)


def planned_cells(analysis: Analysis) -> list[tuple[int, str, float]]:
    """Block, site and ratio of every cell that a sweep is to measure; nothing where its request does not list them."""
    cells = analysis.request.get("cells")
    return [tuple(cell) for cell in cells] if isinstance(cells, list) else []


class SweepSoFar:
    """Rows of an unfinished sweep, as `Replay.rows` gives them of a finished one, on the images that each block has seen.

    Parts are read once and held, so that asking again reads what is new. Safe to share between threads.
    """

    def __init__(self, replay: Replay, analysis: Analysis) -> None:
        self.replay, self.analysis_id, self.request = replay, analysis.id, analysis.request
        self._wanted = set(planned_cells(analysis))
        self._blocks = {block: _Block() for block, _, _ in sorted(self._wanted)}
        self._lock = threading.Lock()
        self._baseline: Mapping[str, np.ndarray] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Rows of every cell that has a part; none before the baseline is measured.

        Raises:
            StoreError: the source cannot be read any more.
        """
        baseline = self.replay.baseline(self.analysis_id)
        if baseline is None:
            return []
        if self._baseline is None:
            self._baseline = self.replay.outcomes(baseline.key)
        with self._lock:
            self._read()
            return [
                _row(GridCell(block, *place), {name: np.concatenate(parts) for name, parts in arrays.items()}, self._baseline)
                for block, read in self._blocks.items() for place, arrays in read.arrays.items() if all(arrays.values())
            ]

    def _read(self) -> None:
        keys = PartKeys.of_request(self.request)
        ahead = ((block, batch) for block, read in self._blocks.items() for batch in range(read.batches, keys.batches))
        wanted = {(block, batch): keys.identity_of(batch, block).key for block, batch in ahead}
        there = {head.key for head in self.replay.source.heads(list(wanted.values()))}
        for (block, batch), key in wanted.items():
            read = self._blocks[block]
            # a block's batches come in order, and pairing needs them without a gap
            if key in there and batch == read.batches and (part := self._part(key)) is not None:
                for row, (site, ratio) in enumerate(part.summary["cells"]):
                    arrays = read.arrays.setdefault((site, ratio), {name: [] for name in part.arrays})
                    # another sweep's parts have the same keys and may lack a cell of this one
                    if (block, site, ratio) in self._wanted and all(len(one) == batch for one in arrays.values()):
                        for name, values in part.arrays.items():
                            arrays[name].append(values[row])
                read.batches += 1

    def _part(self, key: str) -> Cell | None:
        """The part, or None where the sweep has ended and removed it since we looked."""
        try:
            return self.replay.source.get(key)
        except StoreError:
            return None


def _row(cell: GridCell, arrays: dict[str, np.ndarray], baseline: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The cell's row, with `intervals`: the baseline has no divergence from itself, and a row tells no margin."""
    if "correct" not in arrays:  # features are compared with the baseline's as they are measured
        own = task_of_row(arrays).read_cell(arrays)
        return summarize(cell, own, own)
    nothing = np.zeros_like(baseline["loss"])
    before = CellOutcomes(baseline["predicted"] == baseline["label"], baseline["top5"], baseline["loss"], nothing, nothing)
    return summarize(cell, before, CellOutcomes(**arrays)) | intervals(arrays, baseline)


def intervals(arrays: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """The 95 % intervals that a row does not carry: of the paired differences in top-5 (points) and in loss (nats).

    `arrays` are a cell's, on the first of the baseline's images in the same order.
    """
    count = len(arrays["top5"])
    losses = arrays["loss"].astype(np.float64) - baseline["loss"][:count].astype(np.float64)
    return {
        "top5_ci95": list(paired_interval(baseline["top5"][:count], arrays["top5"])), "loss_ci95": list(mean_interval(losses)),
    }
