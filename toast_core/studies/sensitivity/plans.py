"""The cells of a grid on a model, and their plans: one block pruned at one site by one ratio, made once each."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from toast_core.compensation.one_shot import BlockSums, one_shot_sums
from toast_core.compensation.walk import score_channels, uncompensated
from toast_core.cost.macs import kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.models.info import get_info
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.studies.sensitivity.cells import SITE_GROUPS, Cell, grid
from toast_core.workbench import Workbench

_HELD_BYTES = 256 << 20


@dataclass(eq=False)
class CellPlans:
    """The plan of a cell, made by `make` when it is first asked for."""

    make: Callable[[Cell], Plan]
    made: dict[Cell, Plan] = field(default_factory=dict)

    def __call__(self, cell: Cell) -> Plan:
        """Make the plan, or give the one that was made."""
        if cell not in self.made:
            self.made[cell] = self.make(cell)
        return self.made[cell]

    def __getstate__(self) -> dict[str, object]:
        """What is sent to a worker: it makes the plans of its own cells."""
        return {**self.__dict__, "made": {}}


def selected(model: nn.Module, statistics: Statistics | None, settings: dict[str, Any], cell: Cell) -> Plan:
    """The plan of a cell's schedule, without compensation; `settings` are the schedule's fields beside its ratios."""
    return make_plan(model, cell.schedule(len(get_info(model).shape.blocks), **settings), statistics)


def selected_cells(
    workbench: Workbench, sites: tuple[str, ...], ratios: tuple[float, ...], selection: str, batch_size: int
) -> tuple[list[Cell], dict[str, Any], Statistics | None]:
    """The cells over the workbench's blocks, their schedules' settings with the seed of its setup, and what calibrated ones choose their
    channels from, None where none are.

    Raises:
        DataError: calibrated ones, and no calibration images are named.
    """
    blocks, settings = len(workbench.shape.blocks), {"selection": selection, "seed": workbench.setup.seed}
    cells = grid(blocks, sites, ratios)
    needed = any(cell.schedule(blocks, **settings).needs_calibration for cell in cells)
    return cells, settings, workbench.statistics(Schedule.class_weight, batch_size) if needed else None


def everywhere(model: nn.Module, cells: Collection[Cell], settings: dict[str, Any], images: list[torch.Tensor]) -> dict[float, Plan]:
    """By ratio the plan that prunes all the cells' sites in every block by it, from which the cells' compensation starts.

    Args:
        settings: the schedule's fields beside its ratios, compensation among them.
        images: to fit on, (B, C, H, W) a batch.
    """
    sites, blocks = {site for cell in cells for site in SITE_GROUPS[cell.site]}, len(get_info(model).shape.blocks)
    schedules = {
        ratio: Schedule.uniform(blocks, **dict.fromkeys(sites, ratio), **settings) for ratio in sorted({cell.ratio for cell in cells})
    }
    statistics = score_channels(model, next(iter(schedules.values())), images)
    return {ratio: uncompensated(model, schedule, statistics) for ratio, schedule in schedules.items()}


def compensated(begun: dict[float, Plan], sums: BlockSums, shape: ModelShape, cell: Cell) -> Plan:
    """The cell's plan, its block refitted in one shot; what it starts from is in `everywhere`'s plans, `sums` are its block's."""
    plan, blocks, sites = begun[cell.ratio], [BlockPlan()] * len(shape.blocks), SITE_GROUPS[cell.site]
    kept = kept_counts(shape.blocks[cell.block], plan.schedule, cell.block)
    whole = {site: shape.blocks[cell.block].site_width(site) for site in kept if site not in sites}
    alone = BlockPlan(**{site: getattr(plan.blocks[cell.block], site) for site in sites})
    blocks[cell.block] = sums.compensated(alone, kept | whole, plan.schedule.compensation)
    return replace(plan, blocks=tuple(blocks))


def _bytes_of(plan: Plan) -> int:
    return sum(x.numel() * x.element_size() for block in plan.blocks for x in (block.weights or {}).values())


@dataclass(eq=False)
class CompensatedPlans:
    """The plans of compensated cells; the sums of all blocks are held, and as many plans as fit in `_HELD_BYTES`, or those of one block.

    Args:
        model: a baseline.
        cells: those that will be asked for.
        settings: their schedules' fields beside the ratios.
        images: to fit on, (B, C, H, W) a batch.
    """

    model: nn.Module
    cells: Collection[Cell]
    settings: dict[str, Any]
    images: list[torch.Tensor]
    _begun: dict[float, Plan] = field(default_factory=dict)
    _sums: dict[int, BlockSums] = field(default_factory=dict)
    _made: dict[Cell, Plan] = field(default_factory=dict)

    def __call__(self, cell: Cell) -> Plan:
        """Fit the cell's block, or give the plan that was fitted."""
        if not self._sums:
            self._begun = everywhere(self.model, self.cells, self.settings, self.images)
            self._sums = {sums.index: sums for sums in one_shot_sums(self.model, self.images, {cell.block for cell in self.cells})}
        if cell not in self._made:
            if sum(map(_bytes_of, self._made.values())) > _HELD_BYTES:
                self._made = {one: plan for one, plan in self._made.items() if one.block == cell.block}
            self._made[cell] = compensated(self._begun, self._sums[cell.block], get_info(self.model).shape, cell)
        return self._made[cell]

    def __getstate__(self) -> dict[str, object]:
        """What is sent to a worker: it takes its own sums."""
        return {**self.__dict__, "_begun": {}, "_sums": {}, "_made": {}}
