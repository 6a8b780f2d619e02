"""Running a sweep to its end: batch after batch, until each cell has every image (exact) or is decided (adaptive)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Protocol

from toast_core.analysis.cells import Cell, CellOutcomes, paired_interval, summarize
from toast_core.analysis.sensitivity import Sweep
from toast_core.data.load import ImageData
from toast_core.errors import ScheduleError

MODES = ("exact", "adaptive")
FIRST_LOOK_IMAGES = 64


@dataclass(frozen=True)
class Rule:
    """When a cell has seen enough, in adaptive mode.

    It stops once the 95 % interval of its paired top-1 difference is at most `width` points to each side, or lies wholly below
    or wholly above -`tolerance` points: clearly worse than what is tolerated, or clearly not.

    Looks are at 64, 128, 256, ... images and at the last; each uses 1 - 0.05 / looks, so that all looks
    together miss the truth in at most 5 % of cells (Bonferroni).
    """

    mode: str = "exact"
    width: float = 2.0
    tolerance: float = 2.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ScheduleError(f"unknown mode {self.mode!r}; choose from {', '.join(MODES)}")

    def z(self, images: int) -> float:
        """The normal quantile of one look."""
        looks = 1 if self.mode == "exact" else 1 + max(0, math.ceil(math.log2(max(images, 1) / FIRST_LOOK_IMAGES)))
        return NormalDist().inv_cdf(1 - 0.025 / looks)

    def decided(self, baseline: CellOutcomes, outcomes: CellOutcomes, images: int) -> bool:
        """Whether this cell needs no more images."""
        if self.mode == "exact":
            return False
        low, high = paired_interval(baseline.correct[: len(outcomes)], outcomes.correct, self.z(images))
        return (high - low) / 2 <= self.width or high < -self.tolerance or low > -self.tolerance


class Parts(Protocol):
    """Where finished parts of a sweep are kept: one part is one block's cells on one batch."""

    def load(self, batch: int, block: int) -> dict[Cell, CellOutcomes]:
        """Return the cells known for this part, possibly none."""

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Keep them; when this returns they outlive the process."""


class NoParts:
    """Keeps nothing."""

    def load(self, batch: int, block: int) -> dict[Cell, CellOutcomes]:
        """Nothing is known."""
        return {}

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Nothing is kept."""


@dataclass
class _Progress:
    """What is known so far."""

    baseline: CellOutcomes | None = None
    cells: dict[Cell, CellOutcomes] = field(default_factory=dict)
    finished: dict[Cell, dict] = field(default_factory=dict)


def run_sweep(
    sweep: Sweep,
    data: ImageData,
    cells: list[Cell],
    batch_size: int,
    rule: Rule = Rule(),
    parts: Parts | None = None,
    on_cell: Callable[[dict, CellOutcomes], None] = lambda row, outcomes: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict]:
    """Measure every cell and return one row a cell, in the order of `cells` (see `cells.summarize`).

    `parts` makes the sweep resumable: what it holds is not computed again. `on_cell` is called when a cell is done, and
    `progress` with the cell-images done and all of them (an upper bound in adaptive mode).
    """
    parts = parts or NoParts()
    state, total, next_look, seen = _Progress(), len(data), FIRST_LOOK_IMAGES, 0
    for number, batch in enumerate(data.batches(batch_size)):
        active = [cell for cell in cells if cell not in state.finished]
        if not active:
            break
        known = {block: parts.load(number, block) for block in {cell.block for cell in active}}
        todo = [cell for cell in active if cell not in known[cell.block]]
        result = sweep.measure(batch, todo, on_part=lambda block, found, number=number: parts.save(number, block, found))
        seen += len(batch.index)
        state.baseline = result.baseline if state.baseline is None else state.baseline.joined(result.baseline)
        for cell in active:
            new = known[cell.block].get(cell) or result.cells[cell]
            state.cells[cell] = state.cells[cell].joined(new) if cell in state.cells else new
        look = rule.mode == "adaptive" and seen >= next_look
        while next_look <= seen:
            next_look *= 2
        for cell in active:
            if look and rule.decided(state.baseline, state.cells[cell], total):
                state.finished[cell] = summarize(cell, state.baseline, state.cells[cell], rule.z(total))
                on_cell(state.finished[cell], state.cells[cell])
        progress(sum(len(state.cells[cell]) for cell in cells), total * len(cells))
    for cell in cells:
        if cell not in state.finished and cell in state.cells:
            state.finished[cell] = summarize(cell, state.baseline, state.cells[cell], rule.z(total))
            on_cell(state.finished[cell], state.cells[cell])
    return [state.finished[cell] for cell in cells if cell in state.finished]
