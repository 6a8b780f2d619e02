"""Batch composition: what a schedule answers, and which channels it keeps, when the same images come in other batches (method, 2)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from toast_core.data.load import ImageData, arranged
from toast_core.errors import DataError, DeviceError
from toast_core.intervals import paired_interval
from toast_core.machine import dtype_name
from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.execution.ops import channel_mask
from toast_core.pruning.plan import Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.studies.composition.result import CompositionRow, Condition, Measured
from toast_core.studies.evaluation.measure import evaluate


@contextmanager
def watch_kept(blocks: Sequence[nn.Module]) -> Iterator[dict[tuple[int, str], list[np.ndarray]]]:
    """Record which channels masked pruned blocks keep for every image, while open: one array of bits a forward, see Measured.

    It hooks the modules that choose; the forward computes what it always does, and nothing once this is closed.
    """
    seen: dict[tuple[int, str], list[np.ndarray]] = {}

    def keeper(key: tuple[int, str]) -> Callable[[nn.Module, tuple, torch.Tensor], None]:
        seen[key] = []

        def on_choice(_: nn.Module, inputs: tuple, keep: torch.Tensor) -> None:
            batch, _, width = inputs[0].shape
            chosen = channel_mask(keep, width, inputs[0]).bool().reshape(-1, width).cpu().numpy()
            bits = np.packbits(chosen, axis=1)
            seen[key].append(np.broadcast_to(bits, (batch, bits.shape[1])))

        return on_choice

    handles = [
        chooser.register_forward_hook(keeper((index, site)))
        for index, block in enumerate(blocks)
        if isinstance(block, PrunedBlock)
        for site, chooser in (("fc1", block.choose_in), ("fc2", block.choose_hidden))
        if chooser is not None
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def measure_condition(
    model: nn.Module,
    schedule: Schedule,
    statistics: Statistics | None,
    data: ImageData,
    condition: Condition,
    progress: Callable[[int, int], None] | None = None,
    fitted: Plan | None = None,
) -> Measured:
    """Evaluate a baseline model under a schedule, masked, on the images of `data` in the condition's order, batches and token sample.

    `fitted` is the plan of a schedule with compensation, which no condition changes.

    Raises:
        DeviceError: a batch of this size does not fit into the device's memory.
    """
    plan = fitted or make_plan(model, replace(schedule, seed=condition.token_seed), statistics)
    pruned = apply_plan(model, plan, "masked")
    images = arranged(data, condition.order, condition.seed)
    dtype = dtype_name(next(model.parameters()).dtype)
    with watch_kept(adapter_for(model).blocks(pruned)) as seen:
        try:
            outcomes = evaluate(pruned, images, condition.batch_size, dtype, progress).answers
        except DeviceError as error:
            raise DeviceError(
                f"batches of {condition.batch_size} images, which the composition metric compares, do not fit into the device's memory; "
                "use a smaller --img-size, --dtype bfloat16 or --device cpu"
            ) from error
    return Measured(outcomes, {key: np.concatenate(rows) for key, rows in seen.items()})


@dataclass(eq=False)
class CompositionWork:
    """A model, a schedule and images: a task is a condition. `advance` is told the images done within a task, in this process.

    `fitted` is the plan of a schedule with compensation.
    """

    model: nn.Module
    schedule: Schedule
    statistics: Statistics | None
    data: ImageData
    advance: Callable[[int], None]
    fitted: Plan | None = None

    def __call__(self, condition: Condition) -> Measured:
        """Measure one condition."""
        return measure_condition(self.model, self.schedule, self.statistics, self.data, condition, self._tell, self.fitted)

    def _tell(self, done: int, _: int) -> None:
        self.advance(done)

    def __getstate__(self) -> dict[str, object]:
        """What is sent to a worker: nobody to tell."""
        return {**self.__dict__, "advance": _tell_nobody}

    def move(self, device: str) -> None:
        """Move the model to a device."""
        self.model.to(device)


def _tell_nobody(done: int) -> None:
    pass


def composition_row(model: nn.Module, schedule: Schedule, condition: Condition, measured: Measured, deployment: Measured) -> CompositionRow:
    """Compare a condition with deployment, image by image.

    Raises:
        DataError: the two did not read the same images.
    """
    here, there = (np.argsort(one.outcomes.index) for one in (measured, deployment))
    if not np.array_equal(measured.outcomes.index[here], deployment.outcomes.index[there]):
        raise DataError(
            f"{len(here)} images could be read {condition.order} in batches of {condition.batch_size} but {len(there)} one by one; "
            "the files change while they are measured: run it again once they stay"
        )
    outcomes, expected = measured.outcomes, deployment.outcomes
    correct, top1 = outcomes.correct[here], outcomes.top1_estimate
    overlaps = {key: float(np.mean(overlap(bits[here], deployment.kept[key][there]))) for key, bits in measured.kept.items()}
    jaccard = {site: [value for (_, at), value in overlaps.items() if at == site] for site in ("fc1", "fc2")}
    return CompositionRow(
        model=get_info(model).name,
        selection=schedule.selection,
        schedule=schedule.digest(),
        dtype=dtype_name(next(model.parameters()).dtype),
        deployment=measured is deployment,
        order=condition.order,
        batch_size=condition.batch_size,
        seed=condition.seed,
        token_seed=condition.token_seed,
        images=len(here),
        top1=top1.value,
        ci95=top1.ci95,
        top1_delta=top1.value - expected.top1_estimate.value,
        delta_ci95=paired_interval(expected.correct[there], correct),
        agreement=100 * float(np.mean(outcomes.predicted[here] == expected.predicted[there])),
        jaccard_fc1=float(np.mean(jaccard["fc1"])) if jaccard["fc1"] else None,
        jaccard_fc2=float(np.mean(jaccard["fc2"])) if jaccard["fc2"] else None,
    )


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jaccard index of two sets of channels for each image: bits (images, bytes) -> (images,), in [0, 1]."""
    shared, either = (np.bitwise_count(bits).sum(axis=1) for bits in (first & second, first | second))
    return shared / either
