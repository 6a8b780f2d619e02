"""What is run to calibrate a sketch: a few of its cells, and a few whole schedules."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from toast_core.cost.shapes import ModelShape
from toast_core.data.load import ImageData
from toast_core.executors.base import Executor
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.plan import Plan
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.studies.evaluation.measure import margins, outcomes_beside, outputs_of
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.sweep import run_sweep
from toast_core.studies.sketch.prediction import unsureness
from toast_core.studies.sketch.result import Trial
from toast_core.studies.tasks.base import CellOutcomes, Output, Task
from toast_core.studies.tasks.registry import task_of

TRIALS = 6


def run_cells(sweep: Sweep, data: ImageData, cells: Sequence[Cell], batch_size: int, executor: Executor) -> dict[Cell, np.ndarray]:
    """The damage of every image, (images,) float32, of these cells. Labels, which need not be the model's classes, are not looked at."""
    found: dict[Cell, np.ndarray] = {}

    def keep(row: dict, outcomes: CellOutcomes | None) -> None:
        if outcomes is not None:  # an exact sweep measures every cell
            found[Cell(row["block"], row["site"], row["ratio"])] = outcomes.damage().astype(np.float32)

    source = replace(data.source, labels=np.zeros(len(data.source), np.int64))
    unlabelled = ImageData(source, data.transform, data.index, data.order, data.seed)
    run_sweep(sweep, unlabelled, sorted(cells), batch_size, on_cell=keep, executor=executor)
    return found


def run_schedules(
    model: nn.Module, plan_of: Callable[[Schedule], Plan], schedules: Sequence[Schedule], data: ImageData, batch_size: int,
    pause: Callable[[], object],
) -> tuple[tuple[Trial, ...], float | None]:
    """These schedules beside the baseline, and how unsure that is of the images; `pause` is called between two schedules."""
    found, batches, task = [], list(data.batches(batch_size)), task_of(get_info(model).shape)
    whole = outputs_of(model, batches)
    is_answered = task.cell(whole[0], whole[0], task.labels(whole[0])).kept() is not None
    unsure = unsureness(np.concatenate([answer_margins(output, task) for output in whole])) if is_answered else None
    for schedule in schedules:
        pause()
        damage = outcomes_beside(model, whole, apply_plan(model, plan_of(schedule), "masked"), batches).damage()
        found.append(Trial(schedule, float(np.mean(damage, dtype=np.float64)), len(damage)))
    return tuple(found), unsure


def answer_margins(output: Output, task: Task) -> np.ndarray:
    """The largest logit less the next one, (B,) float64."""
    found: np.ndarray = margins(output.double(), task.labels(output)).cpu().numpy()
    return found


def trial_schedules(shape: ModelShape, cells: Sequence[Cell], settings: dict[str, Any], count: int, seed: int) -> list[Schedule]:
    """Random schedules from lightly to heavily pruned, every second one mostly in a few adjacent blocks, where changes meet.

    Args:
        cells: what is sketched: their single sites are pruned, each by no more than its largest ratio.
        settings: fields of the schedules beside their ratios.
        seed: of the draw.
    """
    draw, blocks, found = np.random.default_rng(seed), len(shape.blocks), []
    most = {site: max(cell.ratio for cell in cells if cell.site == site) for site in {cell.site for cell in cells if "+" not in cell.site}}
    for number in range(count if most else 0):
        share = draw.uniform(0, 1, (blocks, len(most)))
        if number % 2:
            near = (np.arange(blocks) - draw.integers(blocks)) % blocks < max(2, blocks // 4)
            share = np.where(near[:, None], (1 + share) / 2, share / 4)
        share = (number + 1) / count * share
        entries = [dict(zip(sorted(most), map(float, row), strict=True)) for row in share]
        found.append(Schedule(tuple(
            BlockSchedule(**{site: round(part * most[site], 3) for site, part in entry.items()}) for entry in entries
        ), **settings))
    return found
