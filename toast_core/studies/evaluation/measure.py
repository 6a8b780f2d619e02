"""The outcomes of a model on images, as its task takes them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from toast_core.cost.macs import count_cost
from toast_core.data.load import Batch, ImageData
from toast_core.data.numbered import NumberedBatches
from toast_core.errors import DataError, DeviceError
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.machine import cast
from toast_core.models.info import get_info
from toast_core.studies.evaluation.result import Evaluation, Outcomes
from toast_core.studies.tasks.bank import Bank
from toast_core.studies.tasks.base import CellOutcomes, ImageOutcomes, Output, Probe
from toast_core.studies.tasks.finiteness import check_finite
from toast_core.studies.tasks.registry import task_of


def outcomes_of(logits: torch.Tensor, labels: torch.Tensor, index: np.ndarray) -> Outcomes:
    """Reduce logits (B, classes) to per-image outcomes.

    Raises:
        PlanError: a logit is not a finite number.
    """
    check_finite(logits, "logits", index)
    logits, labels = logits.detach().float().cpu(), labels.cpu()
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    loss = F.cross_entropy(logits.double(), labels, reduction="none")
    hits = (top == labels.unsqueeze(1)).any(dim=1)
    return Outcomes(index, labels.numpy(), top[:, 0].numpy(), hits.numpy(), loss.numpy(), margins(logits.double(), labels).numpy())


def margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The label's logit less the largest other logit, (B, classes) -> (B,); zero where there is one class only."""
    if logits.shape[1] == 1:
        return torch.zeros_like(logits[:, 0])
    own = logits.gather(1, labels.unsqueeze(1))
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    return (own - others.amax(1, keepdim=True)).squeeze(1)


def run_batch(model: nn.Module, batch: Batch) -> Outcomes:
    """The outcomes of one batch, run in the model's dtype where it is."""
    parameter = next(model.parameters())
    with torch.inference_mode():
        return outcomes_of(model(batch.images.to(parameter.device, parameter.dtype)), batch.labels, batch.index)


@torch.inference_mode()
def outputs_of(model: nn.Module, batches: Iterable[Batch]) -> list[Output]:
    """What a model says of every batch."""
    parameter, task = next(model.parameters()), task_of(get_info(model).shape)
    return [task.forward(model, batch.images.to(parameter.device, parameter.dtype)) for batch in batches]


@torch.inference_mode()
def outcomes_beside(model: nn.Module, whole: list[Output], pruned: nn.Module, batches: Iterable[Batch]) -> CellOutcomes:
    """What a pruned model loses beside its baseline, whose outputs on the same batches are `whole`; its answers are the labels."""
    task = task_of(get_info(model).shape)
    first, *others = (
        task.cell(after, before, task.labels(before)) for before, after in zip(whole, outputs_of(pruned, batches), strict=True)
    )
    return first.joined(*others)


def beside_baseline(model: nn.Module, pruned: nn.Module, batches: Sequence[Batch]) -> CellOutcomes:
    """What a pruned model loses beside its baseline on these batches."""
    return outcomes_beside(model, outputs_of(model, batches), pruned, batches)


def join_outcomes(parts: list[ImageOutcomes]) -> ImageOutcomes:
    """Put the outcomes of several batches together."""
    first, *others = parts
    return first.joined(*others)


@dataclass(frozen=True, eq=False)
class Beside:
    """What a model is measured beside, where its task asks: the baseline that it was pruned from, and images of known classes."""

    baseline: nn.Module | None = None
    bank: Bank | None = None


@dataclass(eq=False)
class EvaluationWork:
    """A model, what it is measured beside, and images: a task is a batch by number."""

    model: nn.Module
    beside: Beside
    batches: NumberedBatches
    _probe: Probe | None = None

    def __call__(self, number: int) -> ImageOutcomes | None:
        """The outcomes of one batch; None past the last."""
        batch = self.batches.get(number)
        if batch is None:
            return None
        self._probe = self._probe or task_of(get_info(self.model).shape).probe(self.model, self.beside.baseline, self.beside.bank)
        try:
            return self._probe(batch)
        except torch.OutOfMemoryError as error:
            device, size = next(self.model.parameters()).device, self.batches.batch_size
            raise DeviceError(f"{device} ran out of memory at batch size {size}; use --batch-size {max(1, size // 2)}") from error

    def move(self, device: str) -> None:
        """Move the model and its baseline to a device."""
        self.model.to(device)
        if self.beside.baseline is not None:
            self.beside.baseline.to(device)


def evaluate(
    model: nn.Module,
    data: ImageData,
    batch_size: int = 64,
    dtype: str = "float32",
    progress: Callable[[int, int], None] | None = None,
    executor: Executor = LOCAL,
    beside: Beside = Beside(),
) -> Evaluation:
    """Run every image of `data` through `model`, on the device it is on, and return the per-image outcomes with their summary.

    `progress` is called after each batch with the images done and all images. Elsewhere than in this process, an `executor` runs
    the model on its own device.

    Raises:
        DataError: no image could be read.
        PlanError: the model's output is not finite.
        DeviceError: an unknown dtype, or the device ran out of memory.
    """
    info = get_info(model)
    if info.weights == "none":
        raise DataError(f"{info.name} was loaded without weights, for counting only; load it with weights to evaluate")
    was_training, model = model.training, cast(model, dtype)
    model.eval()
    parameter = next(model.parameters())
    baseline = model if info.execution == "baseline" else beside.baseline and cast(beside.baseline, dtype).eval()
    parts: dict[int, ImageOutcomes] = {}
    done = 0
    try:
        work = EvaluationWork(model, Beside(baseline, beside.bank), NumberedBatches(data, batch_size, executor.in_order))
        for number, outcomes in executor.map(work, range(len(work.batches))):
            if outcomes is not None:
                parts[number] = outcomes
                done += len(outcomes.index)
                if progress:
                    progress(done, len(data))
    finally:
        model.train(was_training)
    if not parts:
        raise data.unread()
    outcomes = join_outcomes([parts[number] for number in sorted(parts)])
    if not outcomes.estimates():
        raise DataError(
            f"{info.name} is pruned and has no classifier, and neither its baseline nor labelled images to compare with are there; "
            "name the baseline with its schedule, or pass --calibration DATA with the class folders of the images"
        )
    return Evaluation(
        outcomes,
        data.order,
        batch_size,
        info.schedule.selection if info.schedule else None,
        info.execution,
        data.seed,
        dtype,
        str(parameter.device) if executor.in_order else executor.device,
        count_cost(info.shape, info.schedule).macs,
        tuple(data.skipped),
        tuple(data.reasons),
    )
