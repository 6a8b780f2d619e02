"""Running a sweep to its end: wave after wave of batches, until each cell has every image (exact) or is decided (adaptive)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
class Known:
    """The outcomes so far: the baseline's on the first images, and those of every cell that was measured, on as many or fewer."""

    baseline: CellOutcomes
    cells: Mapping[Cell, CellOutcomes]


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

    def settles(self, low: float, high: float) -> bool:
        """Whether such an interval of the paired difference, in points, leaves nothing to ask."""
        return (high - low) / 2 <= self.width or high < -self.tolerance or low > -self.tolerance

    def decided(self, baseline: CellOutcomes, outcomes: CellOutcomes, images: int) -> bool:
        """Whether this cell needs no more images."""
        return self.mode == "adaptive" and self.settles(*outcomes.interval(baseline.first(len(outcomes)), self.z(images)))

    def first(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells to measure before it is known which others need it: none."""
        return []

    def rows(self, active: Sequence[Cell], known: Known, images: int) -> dict[Cell, dict]:
        """The rows of those active cells that are decided, of a sweep of so many images in all."""
        return {
            cell: summarize(cell, known.baseline, known.cells[cell], self.z(images))
            for cell in active if cell in known.cells and self.decided(known.baseline, known.cells[cell], images)
        }


class Judge(Protocol):
    """What decides the cells of a sweep: a `Rule`, or one that predicts; see there."""

    @property
    def mode(self) -> str: ...
    def z(self, images: int) -> float: ...
    def first(self, cells: Sequence[Cell]) -> list[Cell]: ...
    def rows(self, active: Sequence[Cell], known: Known, images: int) -> dict[Cell, dict]: ...


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


def run_sweep(
    sweep: Sweep,
    data: ImageData,
    cells: list[Cell],
    batch_size: int,
    rule: Judge = Rule(),
    parts: Parts | None = None,
    on_cell: Callable[[dict, CellOutcomes | None], None] = lambda row, outcomes: None,
    executor: Executor = LOCAL,
) -> list[dict]:
    """Measure every cell that the rule does not decide before, and return one row a cell, in the order of `cells` (see
    `cells.summarize`).

    `parts` makes the sweep resumable: what it holds is not computed again. `on_cell` is given a cell's row once it is done, and its
    outcomes, None where nothing of it was measured. `executor` measures; parts are stored and cells decided here.
    """
    running = _Running(SweepWork(sweep, NumberedBatches(data, batch_size, executor.in_order)), parts or NoParts(), executor)
    finished: dict[Cell, dict] = {}

    def finish(rows: dict[Cell, dict]) -> None:
        finished.update(rows)
        for cell, row in rows.items():
            on_cell(row, running.cells.get(cell))

    begun = rule.first(cells)
    for wave in waves(len(running.work.batches), batch_size, rule):
        for own in (begun, []) if begun and not wave.start else ([],):
            active = [cell for cell in cells if cell not in finished]
            if active and running.measure(wave, own or active):
                finish(rule.rows(active, running.known, len(data)))
    finish({
        cell: summarize(cell, running.known.baseline, running.cells[cell], rule.z(len(data)))
        for cell in cells if cell in running.cells and cell not in finished
    })
    return [finished[cell] for cell in cells if cell in finished]


@dataclass(eq=False)
class _Running:
    """A sweep as far as it is measured: the outcomes of cells wave by wave, and those of the baseline batch by batch."""

    work: SweepWork
    parts: Parts
    executor: Executor
    cells: dict[Cell, CellOutcomes] = field(default_factory=dict)
    _baselines: dict[int, CellOutcomes] = field(default_factory=dict)
    _waves: dict[Cell, int] = field(default_factory=dict)

    @property
    def known(self) -> Known:
        """What there is to decide by."""
        head, *tail = (self._baselines[number] for number in sorted(self._baselines))
        return Known(head.joined(*tail), self.cells)

    def measure(self, wave: range, cells: list[Cell]) -> bool:
        """Measure those of the cells that are not yet measured on these batches; whether there is any image."""
        cells = [cell for cell in cells if self._waves.get(cell) != wave.start]
        known = {(number, block): self.parts.load(number, block) for number in wave for block in sorted({cell.block for cell in cells})}
        missing = {number: [cell for cell in cells if cell not in known[number, cell.block]] for number in wave}
        whole = (self.work.sweep.limit.most or self.work.batches.batch_size) < self.work.batches.batch_size
        asked = [number for number in wave if missing[number] or number not in self._baselines]
        tasks = [(number, own) for number in asked for own in cut(missing[number], whole)]
        for (number, _), result in self.executor.map(self.work, tasks, group=itemgetter(0)):
            if result is None:
                continue
            self._baselines[number] = result.baseline
            for block, part in by_block(result.cells).items():
                self.parts.save(number, block, part)
                known[number, block] = known[number, block] | part
        read = [number for number in wave if number in self._baselines]
        for cell in cells if read else ():
            self._waves[cell] = wave.start
            self.cells[cell] = _joined(self.cells.get(cell), [known[number, cell.block][cell] for number in read])
        return bool(read)


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
