"""The cells of a grid on a model, and their plans: one block pruned at one site by one ratio, made once each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from toast_core.models.info import get_info
from toast_core.pruning.plan import Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.studies.sensitivity.cells import Cell, grid
from toast_core.workbench import Workbench


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
