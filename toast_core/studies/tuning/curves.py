"""Damage of compensated cells: one site of one block pruned, its block refitted in one shot, on images that no fit has seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce

from torch import nn

from toast_core.compensation.one_shot import BlockSums, one_shot_sums
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.pruning.plan import Plan
from toast_core.studies.sensitivity.cells import Cell, summarize
from toast_core.studies.sensitivity.measure import BatchResult, Sweep
from toast_core.studies.sensitivity.plans import compensated, everywhere
from toast_core.studies.tasks.registry import task_of
from toast_core.studies.tuning.images import CalibrationParts
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore

_PLACE = ("block", "site", "ratio")


@dataclass(eq=False)
class CurvesWork:
    """A model and its images: a task is a block's cells.

    begun     see `plans.everywhere`
    blocks    all that are asked for, ascending
    in_order  whether they are asked for in this order, so that one walk over the fit images gives the sums of all
    """

    model: nn.Module
    parts: CalibrationParts
    begun: dict[float, Plan]
    blocks: list[int]
    in_order: bool
    _walk: Iterator[BlockSums] | None = None

    def __call__(self, cells: tuple[Cell, ...]) -> list[dict]:
        """Fit and measure the cells of one block; a row each."""
        sums, shape = self._sums(cells[0].block), get_info(self.model).shape
        sweep = Sweep(self.model, planner=partial(compensated, self.begun, sums, shape))
        result = reduce(BatchResult.joined, (sweep.measure(batch, cells) for batch in self.parts.curves))
        return [summarize(cell, result.baseline, result.cells[cell]) for cell in cells]

    def _sums(self, block: int) -> BlockSums:
        if not self.in_order:
            return next(one_shot_sums(self.model, self.parts.fit_images, [block]))
        self._walk = self._walk or one_shot_sums(self.model, self.parts.fit_images, self.blocks)
        return next(self._walk)

    def move(self, device: str) -> None:
        """Move the model to a device."""
        self.model.to(device)


def measure_curves(
    model: nn.Module,
    request: TuningRequest,
    parts: CalibrationParts,
    progress: Callable[[int, int], None] = lambda done, total: None,
    store: TuningStore = TuningStore(),  # noqa: B008 - frozen, and empty
    executor: Executor = LOCAL,
) -> list[dict]:
    """Return the rows of a sweep (`cells.summarize`) over compensated cells; without labels, damage alone.

    A block's cells are fitted in `one_shot` calibration, from sums over the fit images that are taken once for all its ratios. Rows
    that are stored are not measured again.
    """
    shape = get_info(model).shape
    bare = (*_PLACE, task_of(shape).damage.key, "images")
    schedules = request.cell_schedules(shape)
    rows = store.rows(schedules)
    missing = [cell for cell in schedules if cell not in rows]
    if missing:
        begun = everywhere(model, missing, request.cell_settings, parts.fit_images)
        blocks = sorted({cell.block for cell in missing})
        work = CurvesWork(model, parts, begun, blocks, executor.in_order)
        tasks = [tuple(cell for cell in missing if cell.block == block) for block in blocks]
        for number, (own, found) in enumerate(executor.map(work, tasks)):
            for cell, row in zip(own, found, strict=True):
                rows[cell] = row if parts.labelled else {name: row[name] for name in bare}
                store.put_row(cell, schedules[cell], rows[cell])
            progress(number + 1, len(blocks))
        store.put_curves(schedules)
    return [rows[cell] for cell in schedules]
