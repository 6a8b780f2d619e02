"""Measuring one schedule after another on the same images, recomputing only from the first block that changed."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from toast_core.data.load import Batch
from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.measure import join_outcomes
from toast_core.studies.tasks.base import ImageOutcomes, Output
from toast_core.studies.tasks.registry import task_of

_MAX_KNOWN = 64  # schedules; some 30 KB each on 1,000 images


@dataclass
class _Chunk:
    """One batch: its images and labels, the input of every block for the schedule measured last, and its outcomes.

    reference  the baseline's output, which the first measurement leaves
    damage     of the schedule measured last beside it, an image each; None where it was not run, but known
    """

    batch: Batch
    inputs: list[torch.Tensor | None]
    valid: int = 0
    outcomes: ImageOutcomes | None = field(default=None, repr=False)
    reference: Output = field(default=None, repr=False)
    damage: np.ndarray | None = field(default=None, repr=False)


class LiveEvaluator:
    """Holds a baseline model and image batches; measures schedules with the blocks' inputs kept between calls.

    Where the task looks for neighbours none are given here: a bank's features would have to be taken anew for every edit.

    Memory: one activation tensor a batch and block of `held` (None: all), in the model's dtype; where a block's input is not held, the
    blocks from the last held one on are run again. The figures equal those of a whole forward of
    `apply_plan(..., "masked")`, since both run the same blocks. The last schedules' outcomes are kept, so that going back to one
    of them runs nothing.
    """

    def __init__(
        self, model: nn.Module, batches: list[Batch], statistics: Statistics | None = None, held: Collection[int] | None = None
    ) -> None:
        self.model, self.statistics = model.eval(), statistics
        self.info, self.adapter = get_info(model), adapter_for(model)
        self.task = task_of(self.info.shape)
        self.blocks = self.adapter.blocks(model)
        self.layouts = [self.adapter.layout(model, index) for index in range(len(self.blocks))]
        self.chunks = [_Chunk(batch, [None] * len(self.blocks)) for batch in batches]
        self.held = range(len(self.blocks)) if held is None else held
        self.known: OrderedDict[tuple[object, ...], dict[int, ImageOutcomes]] = OrderedDict()
        self.current: list[object] = [None] * len(self.blocks)
        self.current_blocks: list[nn.Module] = list(self.blocks)

    def measure(
        self, schedule: Schedule, superseded: Callable[[], bool] = lambda: False, plan: Plan | None = None
    ) -> Iterator[ImageOutcomes]:
        """Yield the outcomes so far after each batch; stops early, yielding no more, once `superseded()` is true.

        A schedule with compensation needs its `plan`, from `compensate`.

        Raises:
            ScheduleError, PlanError: the schedule does not fit, or needs calibration that is not there.
        """
        plan = plan or make_plan(self.model, schedule, self.statistics)
        keys = [schedule.block_key(index) for index in range(len(self.blocks))]
        first = next((index for index, key in enumerate(keys) if key != self.current[index]), len(keys))
        for index in range(first, len(keys)):
            self.current_blocks[index] = self._block(index, plan.blocks[index], plan)
        self.current = keys
        if first < len(keys):
            for chunk in self.chunks:
                chunk.valid, chunk.outcomes, chunk.damage = min(chunk.valid, first), None, None
        known, done = self._known(tuple(keys)), []
        for number, chunk in enumerate(self.chunks):
            if superseded():
                return
            chunk.outcomes = chunk.outcomes or known.get(number)
            if chunk.outcomes is None:
                with torch.inference_mode():  # left before the yield: sessions take turns, and the mode is the thread's
                    chunk.outcomes = self._run(chunk)
            known[number] = chunk.outcomes
            done.append(chunk.outcomes)
            yield join_outcomes(done)

    def damage(self) -> np.ndarray | None:
        """What the schedule measured last loses beside the baseline, an image each; None where not every image was run."""
        found = [chunk.damage for chunk in self.chunks if chunk.damage is not None]
        return np.concatenate(found) if len(found) == len(self.chunks) else None

    def _known(self, keys: tuple[object, ...]) -> dict[int, ImageOutcomes]:
        """The outcomes of a schedule by the number of their batch, which is now the one measured last."""
        known = self.known.setdefault(keys, {})
        self.known.move_to_end(keys)
        while len(self.known) > _MAX_KNOWN:
            self.known.popitem(last=False)
        return known

    def _block(self, index: int, block_plan: BlockPlan, plan: Plan) -> nn.Module:
        block = self.blocks[index]
        return block if block_plan.is_baseline else prune_block(block, self.layouts[index], block_plan, plan, self.adapter, "masked")

    def _run(self, chunk: _Chunk) -> ImageOutcomes:
        """Run one batch from the last block whose input is held and still right; `inputs[i]` is valid for i <= valid."""
        first = next((index for index in range(chunk.valid, -1, -1) if chunk.inputs[index] is not None), 0)
        x = self._entering(chunk) if first == 0 else chunk.inputs[first]
        for index in range(first, len(self.blocks)):
            chunk.inputs[index] = x if index in self.held else None
            x = self.current_blocks[index](x)
            chunk.valid = index
            if index + 1 < len(self.blocks):
                x = self.adapter.before_block(self.model, index + 1, x)
        output = self.task.head(self.adapter, self.model, x)
        is_whole = all(one is own for one, own in zip(self.current_blocks, self.blocks, strict=True))
        if chunk.reference is None and (is_whole or self.task.compares):
            chunk.reference = output if is_whole else self._whole(chunk)
        if chunk.reference is not None and not is_whole:
            chunk.damage = self.task.cell(output, chunk.reference, self.task.labels(chunk.reference)).damage()
        return self.task.outcomes(output, chunk.reference, chunk.batch)

    def _entering(self, chunk: _Chunk) -> torch.Tensor:
        """What enters the first block."""
        if chunk.inputs[0] is not None:
            return chunk.inputs[0]
        parameter = next(self.model.parameters())
        images = chunk.batch.images.to(parameter.device, parameter.dtype)
        return self.adapter.before_block(self.model, 0, self.adapter.embed(self.model, images))

    def _whole(self, chunk: _Chunk) -> Output:
        """The baseline's output on one batch."""
        x = self._entering(chunk)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index + 1 < len(self.blocks):
                x = self.adapter.before_block(self.model, index + 1, x)
        return self.task.head(self.adapter, self.model, x)
