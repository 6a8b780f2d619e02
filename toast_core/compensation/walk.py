"""From a schedule and unlabelled images to a plan whose kept channels stand in for the dropped ones (method, section 6)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from toast_core.compensation.refit import fit_attention, fit_hidden, keeps_heads_apart, scale_of
from toast_core.compensation.regression import SplitSums
from toast_core.compensation.sums import HeadMoments, hidden_sums, mixed_sums, watch
from toast_core.cost.macs import kept_counts
from toast_core.errors import DataError, PlanError
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import BlockParts
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics, collect_statistics
from toast_core.schedule.compensation import NONE
from toast_core.schedule.schedule import Schedule

Progress = Callable[[int, int], None]


@dataclass(eq=False)
class _Streams:
    """What enters a block, a tensor an image batch: the baseline's and the pruned model's own."""

    baseline: list[torch.Tensor]
    own: list[torch.Tensor]


@dataclass(eq=False)
class _Goals:
    """The baseline's residual streams in a block, a tensor an image batch: after attention (B, N, D) and after the block."""

    attended: list[torch.Tensor]
    done: list[torch.Tensor]


def compensate(
    model: nn.Module, schedule: Schedule, batches: Iterable[torch.Tensor], progress: Progress = lambda done, total: None
) -> Plan:
    """Return a plan for `schedule` with the weights that its compensation asks for; labels are not used.

    The blocks are walked in order. In `one_shot` calibration every block is fitted on the baseline's activations; in `sequential`
    on those of the model pruned so far; in `error_correcting` also toward the baseline's residual stream after the block, so that it
    repairs what earlier blocks lost. All images' streams of one block are held at a time, four times in `error_correcting`.

    Args:
        batches: calibration images (B, C, H, W). Every second one of a batch belongs to the half on which a fit is judged.
        progress: called with the blocks done and all blocks.

    Raises:
        PlanError: the schedule asks for no compensation, or the model is already pruned.
        DataError: there are no images.
    """
    if schedule.compensation.is_none:
        raise PlanError("the schedule asks for no compensation; use make_plan, or set its compensation")
    images = list(batches)
    if not images:
        raise DataError("there are no calibration images; give a data set with at least one readable image")
    plan = uncompensated(model, schedule, score_channels(model, schedule, images))
    walk = _Walk(model.eval(), schedule, plan)
    with torch.no_grad():
        streams = walk.start(images)
        blocks = []
        for index in range(len(plan.blocks)):
            streams = walk.enter(index, streams)
            blocks.append(walk.fit_block(index, streams))
            progress(index + 1, len(plan.blocks))
    return replace(plan, blocks=tuple(blocks), notes=tuple(walk.notes))


def uncompensated(model: nn.Module, schedule: Schedule, statistics: Statistics) -> Plan:
    """The plan from which compensation starts: channels chosen by their scores."""
    return replace(make_plan(model, replace(schedule, compensation=NONE), statistics), schedule=schedule)


def score_channels(model: nn.Module, schedule: Schedule, images: list[torch.Tensor]) -> Statistics:
    """Scores of the feed-forward channels on the images; blank ones where the schedule's compensation chooses all by itself."""
    if schedule.compensation.ffn != "fold" or any(schedule.ratios("fc1")):
        return collect_statistics(model, images, schedule.class_weight)
    return Statistics.blank(get_info(model).shape)


class _Walk:
    def __init__(self, model: nn.Module, schedule: Schedule, plan: Plan) -> None:
        self.model, self.schedule, self.plan = model, schedule, plan
        self.notes: list[str] = []
        self.adapter, self.shape = adapter_for(model, get_info(model).name), get_info(model).shape
        self.blocks = self.adapter.blocks(model)
        self.wants, self.damaged = schedule.compensation, False

    @property
    def correcting(self) -> bool:
        """Whether the pruned stream may differ from the baseline's and is to be brought back to it."""
        return self.wants.calibration == "error_correcting" and self.damaged

    def start(self, images: list[torch.Tensor]) -> _Streams:
        parameter = next(self.model.parameters())
        first = [self.adapter.embed(self.model, batch.to(parameter.device, parameter.dtype)) for batch in images]
        return _Streams(first, list(first))

    def enter(self, index: int, streams: _Streams) -> _Streams:
        return _Streams(*([self.adapter.before_block(self.model, index, x) for x in part] for part in (streams.baseline, streams.own)))

    def fit_block(self, index: int, streams: _Streams) -> BlockPlan:
        """Fit one block, and move both streams past it, in place."""
        block, plan, whole = self.blocks[index], self.plan.blocks[index], self._pruned(index, BlockPlan())
        goals = self._goals(whole, streams.baseline) if self.wants.calibration == "error_correcting" else None
        if not plan.is_baseline or self.correcting:
            plan = self._fit_attention(index, plan, whole, streams.own, goals)
            plan = self._fit_hidden(index, plan, streams.own, goals)
            self.damaged = self.damaged or self.wants.calibration != "one_shot"
        moving = block if plan.is_baseline or not self.damaged else self._pruned(index, plan)
        for number, own in enumerate(streams.own):
            streams.own[number] = goals.done[number] if goals and not self.damaged else moving(own)
        streams.baseline[:] = goals.done if goals else streams.own
        return plan

    def _goals(self, whole: PrunedBlock, baseline: list[torch.Tensor]) -> _Goals:
        goals = _Goals([], [])
        for x in baseline:
            attended, alpha = whole.attend(x)
            goals.attended.append(attended)
            goals.done.append(whole.contract(*whole.expand(attended, alpha), alpha).reshape(x.shape))
        return goals

    def _pruned(self, index: int, plan: BlockPlan) -> PrunedBlock:
        """The block under a plan of its own; an empty one gives the block itself, in halves that can be run one by one."""
        return prune_block(self.blocks[index], self.adapter.layout(self.model, index), plan, self.plan, self.adapter, "masked")

    def _fit_attention(self, index: int, plan: BlockPlan, whole: PrunedBlock, own: list[torch.Tensor], goals: _Goals | None) -> BlockPlan:
        if self.wants.attention != "project" or (plan.qk is None and plan.vo is None and not self.correcting):
            return plan
        parts = self.adapter.parts(self.blocks[index])
        if plan.qk is not None and (why := keeps_heads_apart(parts)):
            self.notes.append(f"block {index}: {why}, so qk keeps a selection of its dimensions")
        again = self.correcting or (plan.qk is not None and self.wants.calibration != "one_shot")
        sums, moments = None, HeadMoments(parts.heads)
        if plan.qk is not None or plan.vo is not None:
            sums = mixed_sums(parts, whole, own, moments=moments)

        def measure(attempt: BlockPlan) -> SplitSums:
            pruned = self._pruned(index, attempt)
            return mixed_sums(parts, pruned, own, lambda number: self._wanted(parts, whole, own[number], number, goals))

        kept = kept_counts(self.shape.blocks[index], self.schedule, index)
        return fit_attention(parts, plan, kept, moments, sums, measure if again else None)

    def _wanted(self, parts: BlockParts, whole: PrunedBlock, own: torch.Tensor, number: int, goals: _Goals | None) -> torch.Tensor:
        """What the output projection should give: what is missing to the baseline's stream, or its own whole output."""
        if not self.correcting:
            with watch(whole.attn.proj) as full:
                whole.attend(own)
            return full["output"]
        missing = (goals.attended[number] - own.flatten(1, -2)) / scale_of(parts.ls1, own)
        return missing if parts.windows is None else parts.windows.split(missing.reshape(own.shape))

    def _fit_hidden(self, index: int, plan: BlockPlan, own: list[torch.Tensor], goals: _Goals | None) -> BlockPlan:
        if self.wants.ffn == "none" or (plan.fc2 is None and not self.correcting):
            return plan
        parts = self.adapter.parts(self.blocks[index])
        if parts.normalises_hidden:
            self.notes.append(f"block {index}: the hidden layer is normalised, so fc2 is not refitted")
            return plan

        def missing(number: int, stream: torch.Tensor) -> torch.Tensor:
            return (goals.done[number].reshape(stream.shape) - stream) / scale_of(parts.ls2, stream)

        sums = hidden_sums(parts, self._pruned(index, replace(plan, fc2=None)), own, missing if self.correcting else None)
        return fit_hidden(parts, plan, sums, self.wants.ffn, self.correcting)
