"""Baseline, masked and compact on the same images, side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from toast_core.data.load import Batch, ImageData
from toast_core.errors import DeviceError, PlanError
from toast_core.studies.evaluation.measure import join_outcomes, outcomes_of
from toast_core.studies.evaluation.result import Outcomes
from toast_core.studies.latency.pairs import Forward

EXECUTIONS = ("baseline", "masked", "compact")


@dataclass(frozen=True, eq=False)
class Compared:
    """What the executions answered, and how far their logits are from the compact model's.

    outcomes       by execution, in the same order
    differences    the largest of a logit to compact, by execution, over all images and classes
    largest_logit  of masked, by absolute value
    """

    outcomes: dict[str, Outcomes]
    differences: dict[str, float]
    largest_logit: float

    @property
    def largest_difference(self) -> float:
        """The largest difference of a logit, masked to compact."""
        return self.differences["masked"]

    @property
    def same(self) -> int:
        """How many images masked and compact give the same class."""
        return self.same_as_compact("masked")

    def same_as_compact(self, name: str) -> int:
        """How many images this execution and compact give the same class."""
        return int((self.outcomes[name].predicted == self.outcomes["compact"].predicted).sum())


def compare(
    models: Mapping[str, Forward], data: ImageData, batch_size: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> Compared:
    """Run every image through the models named EXECUTIONS and through any others, all on the same batch before the next one is read.

    `progress` is told the images done and all of them.

    Raises:
        DataError: no image could be read.
        DeviceError: the device ran out of memory.
        PlanError: a logit is not a finite number, so that nothing can be compared.
    """
    parts: dict[str, list[Outcomes]] = {name: [] for name in models}
    differences, largest = dict.fromkeys(models, torch.zeros(())), torch.zeros(())
    parameter, done = next(models["baseline"].parameters()), 0
    for batch in data.batches(batch_size):
        logits = {name: _logits(model, batch, parameter) for name, model in models.items()}
        for name, found in logits.items():
            parts[name].append(outcomes_of(found, batch.labels, batch.index))
            # torch's maximum, since Python's would pass over what is not a number
            differences[name] = torch.maximum(differences[name], (found - logits["compact"]).abs().max())
        largest = torch.maximum(largest, logits["masked"].abs().max())
        done += len(batch.index)
        progress(done, len(data))
    if not done:
        raise data.unread()
    broken = [name for name, value in differences.items() if not torch.isfinite(value)]
    if broken or not torch.isfinite(largest):
        names = "masked and compact" if {"masked", "compact"} & {*broken} or not broken else ", ".join(broken)
        raise PlanError(f"{names} give logits that are not finite numbers; check the weights, or choose smaller ratios")
    found = {name: float(value) for name, value in differences.items()}
    return Compared({name: join_outcomes(outcomes) for name, outcomes in parts.items()}, found, float(largest))


def _logits(model: Forward, batch: Batch, parameter: torch.Tensor) -> torch.Tensor:
    """The logits of a batch as float32 on the CPU, run in the dtype and on the device of `parameter`."""
    try:
        with torch.inference_mode():
            return model(batch.images.to(parameter.device, parameter.dtype)).float().cpu()
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{parameter.device} ran out of memory with {len(batch.index)} images at once; choose a smaller model or --device cpu"
        ) from error
