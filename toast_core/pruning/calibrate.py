"""Calibration statistics of an image set, batch by batch, wherever batches are run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

from torch import nn

from toast_core.data.load import ImageData
from toast_core.data.numbered import NumberedBatches
from toast_core.errors import DataError
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.pruning.statistics import Statistics, collect_statistics


@dataclass(eq=False)
class StatisticsWork:
    """A baseline model and images: a task is a batch by number."""

    model: nn.Module
    batches: NumberedBatches
    class_weight: float

    def __call__(self, number: int) -> Statistics | None:
        """The statistics of one batch; None past the last."""
        batch = self.batches.get(number)
        return None if batch is None else collect_statistics(self.model, [batch.images], self.class_weight)

    def move(self, device: str) -> None:
        """Move the model to a device."""
        self.model.to(device)


def calibrate(
    model: nn.Module, data: ImageData, batch_size: int, class_weight: float, progress: Callable[[int, int], None],
    executor: Executor = LOCAL,
) -> Statistics:
    """Score the channels of a baseline model over the images, merged in the order of the batches: the same sums on every executor.

    `progress` is called after each batch with the images done and all images.

    Raises:
        DataError: no image could be read.
    """
    work = StatisticsWork(model, NumberedBatches(data, batch_size, executor.in_order), class_weight)
    found: dict[int, Statistics] = {}
    for number, statistics in executor.map(work, range(len(work.batches))):
        if statistics is not None:
            found[number] = statistics
            progress(sum(one.images for one in found.values()), len(data))
    if not found:
        if data.skipped:
            raise data.unread()
        raise DataError("there are no calibration images; give a data set with at least one readable image")
    return reduce(Statistics.merge, (found[number] for number in sorted(found)))
