"""Baseline, masked and compact on the same images, side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from toast_core.data.load import Batch, ImageData
from toast_core.errors import DeviceError, PlanError
from toast_core.models.info import get_info
from toast_core.studies.evaluation.measure import join_outcomes
from toast_core.studies.latency.pairs import Forward
from toast_core.studies.tasks.bank import Bank
from toast_core.studies.tasks.base import ImageOutcomes, Output, Task
from toast_core.studies.tasks.registry import task_of

EXECUTIONS = ("baseline", "masked", "compact")


@dataclass(frozen=True, eq=False)
class Compared:
    """What the executions said, and how far their outputs (logits, or pooled features) are from the compact model's.

    outcomes       by execution, in the same order
    differences    the largest of an output to compact, by execution, over all images
    largest_logit  the largest output of masked, by absolute value
    """

    outcomes: dict[str, ImageOutcomes]
    differences: dict[str, float]
    largest_logit: float

    @property
    def largest_difference(self) -> float:
        """The largest difference of an output, masked to compact."""
        return self.differences["masked"]

    @property
    def same(self) -> int | None:
        """How many images masked and compact answer alike; None where nothing is answered."""
        return self.same_as_compact("masked")

    def same_as_compact(self, name: str) -> int | None:
        """How many images this execution and compact answer alike; None where nothing is answered."""
        return self.outcomes[name].same_answers(self.outcomes["compact"])


def compare(
    models: Mapping[str, Forward], data: ImageData, batch_size: int, progress: Callable[[int, int], None] = lambda done, total: None,
    bank: Bank | None = None,
) -> Compared:
    """Run every image through the models named EXECUTIONS and through any others, all on the same batch before the next one is read.

    `progress` is told the images done and all of them; `bank` is for tasks that look for neighbours, by the features of each model.

    Raises:
        DataError: no image could be read.
        DeviceError: the device ran out of memory.
        PlanError: an output is not a finite number, so that nothing can be compared.
    """
    parts: dict[str, list[ImageOutcomes]] = {name: [] for name in models}
    differences, largest = dict.fromkeys(models, torch.zeros(())), torch.zeros(())
    parameter, done = next(models["baseline"].parameters()), 0
    task = task_of(get_info(models["baseline"]).shape)
    nearest = {name: task.neighbours(model, bank, parameter) for name, model in models.items()}
    for batch in data.batches(batch_size):
        outputs = {name: _output(task, model, batch, parameter) for name, model in models.items()}
        numbers = {name: task.numbers(output) for name, output in outputs.items()}
        for name, found in numbers.items():
            # torch's maximum, since Python's would pass over what is not a number
            differences[name] = torch.maximum(differences[name], (found - numbers["compact"]).abs().max())
        largest = torch.maximum(largest, numbers["masked"].abs().max())
        _check_finite(differences, largest, task)
        for name, output in outputs.items():
            parts[name].append(task.outcomes(output, outputs["baseline"], batch, nearest[name](output)))
        done += len(batch.index)
        progress(done, len(data))
    if not done:
        raise data.unread()
    found = {name: float(value) for name, value in differences.items()}
    return Compared({name: join_outcomes(outcomes) for name, outcomes in parts.items()}, found, float(largest))


def _check_finite(differences: Mapping[str, torch.Tensor], largest: torch.Tensor, task: Task) -> None:
    broken = [name for name, value in differences.items() if not torch.isfinite(value)]
    if broken or not torch.isfinite(largest):
        names = "masked and compact" if {"masked", "compact"} & {*broken} or not broken else ", ".join(broken)
        raise PlanError(f"{names} give {task.output}s that are not finite numbers; check the weights, or choose smaller ratios")


def _output(task: Task, model: Forward, batch: Batch, parameter: torch.Tensor) -> Output:
    """The output on a batch, run in the dtype and on the device of `parameter`."""
    try:
        with torch.inference_mode():
            return task.forward(model, batch.images.to(parameter.device, parameter.dtype))
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{parameter.device} ran out of memory with {len(batch.index)} images at once; choose a smaller model or --device cpu"
        ) from error
