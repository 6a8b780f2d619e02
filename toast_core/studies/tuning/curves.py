"""Damage of compensated cells: one site of one block pruned, its block refitted in one shot, on images that no fit has seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

from torch import nn

from toast_core.compensation.one_shot import BlockSums, one_shot_sums
from toast_core.compensation.walk import score_channels, uncompensated
from toast_core.cost.macs import kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.sensitivity.cells import Cell, summarize
from toast_core.studies.sensitivity.measure import BatchResult, Sweep
from toast_core.studies.tasks.registry import task_of
from toast_core.studies.tuning.images import CalibrationParts
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore

_PLACE = ("block", "site", "ratio")


@dataclass(eq=False)
class CurvesWork:
    """A model, its images and plans that prune everything by one ratio: a task is a block's cells.

    blocks    all that are asked for, ascending
    in_order  whether they are asked for in this order, so that one walk over the fit images gives the sums of all
    """

    model: nn.Module
    parts: CalibrationParts
    selected: dict[float, Plan]
    blocks: list[int]
    in_order: bool
    _walk: Iterator[BlockSums] | None = None

    def __call__(self, cells: tuple[Cell, ...]) -> list[dict]:
        """Fit and measure the cells of one block; a row each."""
        sums, shape = self._sums(cells[0].block), get_info(self.model).shape
        sweep = Sweep(self.model, planner=partial(_compensated_cell, self.selected, sums, shape))
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
        images = parts.fit_images
        uniform = {ratio: _uniform(model, request, ratio) for ratio in {cell.ratio for cell in missing}}
        statistics = score_channels(model, uniform[missing[0].ratio], images)
        selected = {ratio: uncompensated(model, schedule, statistics) for ratio, schedule in uniform.items()}
        blocks = sorted({cell.block for cell in missing})
        work = CurvesWork(model, parts, selected, blocks, executor.in_order)
        tasks = [tuple(cell for cell in missing if cell.block == block) for block in blocks]
        for number, (own, found) in enumerate(executor.map(work, tasks)):
            for cell, row in zip(own, found, strict=True):
                rows[cell] = row if parts.labelled else {name: row[name] for name in bare}
                store.put_row(cell, schedules[cell], rows[cell])
            progress(number + 1, len(blocks))
        store.put_curves(schedules)
    return [rows[cell] for cell in schedules]


def _uniform(model: nn.Module, request: TuningRequest, ratio: float) -> Schedule:
    settings: dict[str, Any] = dict.fromkeys(request.sites, ratio) | {"selection": "calibrated"} | request.settings
    return Schedule.uniform(len(get_info(model).shape.blocks), **settings)


def _compensated_cell(selected: dict[float, Plan], sums: BlockSums, shape: ModelShape, cell: Cell) -> Plan:
    """The cell's plan, its site taken from a plan that prunes every site of every block by the same ratio."""
    plan, blocks = selected[cell.ratio], [BlockPlan()] * len(shape.blocks)
    kept = kept_counts(shape.blocks[cell.block], plan.schedule, cell.block)
    whole = {site: shape.blocks[cell.block].site_width(site) for site in kept if site != cell.site}
    alone = BlockPlan(**{cell.site: getattr(plan.blocks[cell.block], cell.site)})
    blocks[cell.block] = sums.compensated(alone, kept | whole, plan.schedule.compensation)
    return replace(plan, blocks=tuple(blocks))
