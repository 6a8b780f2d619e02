"""Running a sweep to its end: wave after wave of batches, until each cell has every image (exact) or is decided (adaptive)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from statistics import NormalDist
from typing import Protocol

from toast_core.data.load import ImageData
from toast_core.data.numbered import NumberedBatches
from toast_core.errors import ScheduleError
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.studies.sensitivity.cells import Cell, summarize
from toast_core.studies.sensitivity.measure import BatchResult, Sweep
from toast_core.studies.tasks.base import CellOutcomes

MODES = ("exact", "adaptive")
FIRST_LOOK_IMAGES = 64


@dataclass(frozen=True)
class Rule:
    """When a cell has seen enough, in adaptive mode.

    It stops once the 95 % interval of the paired difference of its headline (top-1; hundredths of a cosine) is at most `width` points
    to each side, or lies wholly below or wholly above -`tolerance` points: clearly worse than what is tolerated, or clearly not.

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
        low, high = outcomes.interval(baseline.first(len(outcomes)), self.z(images))
        return (high - low) / 2 <= self.width or high < -self.tolerance or low > -self.tolerance


class Parts(Protocol):
    """Where a sweep puts its finished parts: one part is one block's cells on one batch."""

    def load(self, batch: int, block: int) -> dict[Cell, CellOutcomes]:
        """Return the cells known for this part, possibly none."""

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Store the cells of this part; when this returns they outlive the process."""


class NoParts:
    """Parts of a sweep that is measured in one go: nothing is stored, so nothing is found."""

    def load(self, batch: int, block: int) -> dict[Cell, CellOutcomes]:
        """Find no cell."""
        return {}

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Store no cell."""


SweepTask = tuple[int, tuple[Cell, ...]]


@dataclass(eq=False)
class SweepWork:
    """A sweep and the images that it runs on: a task is a batch by number, and cells."""

    sweep: Sweep
    batches: NumberedBatches

    def __call__(self, task: SweepTask) -> BatchResult | None:
        """Measure the task's cells; None past the last batch."""
        number, cells = task
        batch = self.batches.get(number)
        return None if batch is None else self.sweep.measure(batch, cells)

    def move(self, device: str) -> None:
        """Move the model to a device."""
        self.sweep.model.to(device)


@dataclass
class _Known:
    """The outcomes of baseline and cells on the batches so far, and the rows of the cells that are decided."""

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
    executor: Executor = LOCAL,
) -> list[dict]:
    """Measure every cell and return one row a cell, in the order of `cells` (see `cells.summarize`).

    `parts` makes the sweep resumable: what it holds is not computed again. `on_cell` is given a cell's row and outcomes once it is
    done. `executor` measures; parts are stored and cells decided here.
    """
    parts = parts or NoParts()
    state, total = _Known(), len(data)
    work = SweepWork(sweep, NumberedBatches(data, batch_size, executor.in_order))
    whole = (sweep.limit.most or batch_size) < batch_size
    for wave in waves(len(work.batches), batch_size, rule):
        active = [cell for cell in cells if cell not in state.finished]
        if not active:
            break
        known = {(number, block): parts.load(number, block) for number in wave for block in sorted({cell.block for cell in active})}
        missing = {number: [cell for cell in active if cell not in known[number, cell.block]] for number in wave}
        baselines: dict[int, CellOutcomes] = {}
        tasks = [(number, own) for number in wave for own in cut(missing[number], whole)]
        for (number, _), result in executor.map(work, tasks, group=itemgetter(0)):
            if result is None:
                continue
            baselines[number] = result.baseline
            for block, part in by_block(result.cells).items():
                parts.save(number, block, part)
                known[number, block] = known[number, block] | part
        read = sorted(baselines)
        if not read:
            break
        state.baseline = _joined(state.baseline, [baselines[number] for number in read])
        for cell in active:
            state.cells[cell] = _joined(state.cells.get(cell), [known[number, cell.block][cell] for number in read])
            if rule.decided(state.baseline, state.cells[cell], total):
                state.finished[cell] = summarize(cell, state.baseline, state.cells[cell], rule.z(total))
                on_cell(state.finished[cell], state.cells[cell])
    for cell in cells:
        if cell not in state.finished and cell in state.cells:
            state.finished[cell] = summarize(cell, state.baseline, state.cells[cell], rule.z(total))
            on_cell(state.finished[cell], state.cells[cell])
    return [state.finished[cell] for cell in cells if cell in state.finished]


def waves(batches: int, batch_size: int, rule: Rule) -> Iterator[range]:
    """The numbers of the batches from one look to the next; within a wave batches depend on nothing but themselves."""
    start, next_look = 0, FIRST_LOOK_IMAGES
    for number in range(batches):
        seen = (number + 1) * batch_size
        if rule.mode == "adaptive" and seen >= next_look:
            yield range(start, number + 1)
            start = number + 1
            while next_look <= seen:
                next_look *= 2
    if start < batches:
        yield range(start, batches)


def cut(cells: list[Cell], whole: bool) -> list[tuple[Cell, ...]]:
    """A batch's cells as tasks: a block each; all in one where the batch does not fit whole, so that its pieces are begun once.

    Without cells one empty task is left, for the baseline's outcomes.
    """
    groups: dict[int, list[Cell]] = {cell.block: [] for cell in cells}
    for cell in cells:
        groups[cell.block].append(cell)
    return [tuple(cells)] if whole or not cells else [tuple(groups[block]) for block in sorted(groups)]


def by_block(found: dict[Cell, CellOutcomes]) -> dict[int, dict[Cell, CellOutcomes]]:
    """Outcomes of cells, apart for each block."""
    return {block: {cell: found[cell] for cell in found if cell.block == block} for block in sorted({cell.block for cell in found})}


def _joined(first: CellOutcomes | None, rest: list[CellOutcomes]) -> CellOutcomes:
    head, *tail = rest if first is None else [first, *rest]
    return head.joined(*tail)
