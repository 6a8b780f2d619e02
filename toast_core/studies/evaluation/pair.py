"""A schedule and the baseline evaluated on the same images, as a page that compares them reads both from the store."""

from collections.abc import Callable
from functools import partial

from analysis_cache.store import EvidenceStore
from toast_core.intervals import Estimate
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.store import analyze_evaluation
from toast_core.studies.subject import Subject
from toast_core.studies.tasks.registry import task_in
from toast_core.workbench import Workbench


def evaluate_pair(
    workbench: Workbench, store: EvidenceStore, schedule: Schedule, sizes: tuple[int | None, int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Estimate, Estimate]:
    """Return the headline of the baseline and of the schedule, each with its 95 % interval, measuring what is not stored.

    Args:
        sizes: how many images of the set (None: all), and of a batch.
        progress: told of the images done and all of them, those of both together.

    Raises:
        DataError, DeviceError: see `analyze_evaluation`; the setup has no images.
    """
    images, batch_size = sizes
    found = []
    for number, one in enumerate((Schedule.uniform(len(schedule.blocks)), schedule)):
        statistics = workbench.statistics_for(one, batch_size)
        subject = Subject.on(workbench, "evaluation", images, batch_size)
        told = partial(_told, progress, number)
        analysis = analyze_evaluation(subject, store, one, "masked", statistics, told, partial(workbench.plan, one, batch_size))
        cell = store.get(analysis.cell_keys[0])
        found.append(Estimate.from_dict(cell.summary[task_in(cell.identity.detail).figures[0].key]))
    return found[0], found[1]


def _told(progress: Callable[[int, int], None], number: int, done: int, total: int) -> None:
    progress(number * total + done, 2 * total)
