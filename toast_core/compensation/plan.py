"""The one path from a schedule to a plan: by scores alone, or with weights refitted on calibration images."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from toast_core.compensation.memory import FitMemory
from toast_core.compensation.walk import Progress, compensate, score_channels
from toast_core.pruning.plan import Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule


def plan_for(
    model: nn.Module, schedule: Schedule, statistics: Callable[[], Statistics | None], images: Callable[[], list[torch.Tensor]],
    progress: Progress = lambda done, total: None, memory: FitMemory | None = None,
) -> Plan:
    """Return the plan of a schedule for a baseline model; a schedule that drops nothing is the baseline, whatever else it asks for.

    Args:
        statistics: asked for where channels are chosen by their scores; gives None where the schedule needs none.
        images: asked for where a block has to be fitted; calibration images, (B, C, H, W) a batch.
        progress: told of the blocks that are compensated.
        memory: of fits on this model and these images, see `compensate`.

    Raises:
        ScheduleError, PlanError, DataError: as `make_plan` and `compensate`.
    """
    if schedule.compensation.is_none or schedule.is_baseline:
        return make_plan(model, schedule, statistics())

    def batches() -> Iterator[torch.Tensor]:
        yield from images()

    return compensate(model, schedule, batches(), progress, memory)


def plan_on(model: nn.Module, schedule: Schedule, images: list[torch.Tensor], memory: FitMemory | None = None) -> Plan:
    """The plan of a schedule from image batches (B, C, H, W) in hand: what it needs of them, scores or refitted weights, follows from it.

    Args:
        memory: of fits on this model and these images, where several schedules are planned.

    Raises:
        ScheduleError, PlanError, DataError: as `make_plan` and `compensate`.
    """
    return plan_for(
        model, schedule, lambda: score_channels(model, schedule, images) if schedule.needs_calibration else None, lambda: images,
        memory=memory,
    )
