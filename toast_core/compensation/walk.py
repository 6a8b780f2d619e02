"""From a schedule and unlabelled images to a plan whose kept channels stand in for the dropped ones (method, section 6)."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property

import torch
from torch import nn

from toast_core.compensation.memory import FitMemory, Half, Step, steps
from toast_core.compensation.refit import fit_attention, fit_hidden, keeps_heads_apart, rank_hidden, scale_of
from toast_core.compensation.regression import SplitSums
from toast_core.compensation.stored import Fit
from toast_core.compensation.sums import HeadMoments, hidden_sums, mixed_sums, watch
from toast_core.compensation.tracks import Blocks, Goals, Streams, Tracks
from toast_core.cost.macs import kept_counts
from toast_core.errors import DataError, PlanError
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import BlockParts
from toast_core.models.info import check_baseline, get_info
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics, collect_statistics
from toast_core.schedule.compensation import NONE
from toast_core.schedule.schedule import Schedule

Progress = Callable[[int, int], None]


def compensate(
    model: nn.Module, schedule: Schedule, batches: Iterable[torch.Tensor], progress: Progress = lambda done, total: None,
    memory: FitMemory | None = None,
) -> Plan:
    """Return a plan for `schedule` with the weights that its compensation asks for; labels are not used.

    The blocks are walked in order. In `one_shot` calibration every block is fitted on the baseline's activations; in `sequential`
    on those of the model pruned so far; in `error_correcting` also toward the baseline's residual stream after the block, so that it
    repairs what earlier blocks lost. All images' streams of one block are held at a time, four times in `error_correcting`.

    Args:
        batches: calibration images (B, C, H, W), read when something has to be fitted. Every second one of a batch belongs to the half
            on which a fit is judged.
        progress: called with the blocks done and all blocks, from the first that had to be fitted on.
        memory: what was fitted before on this model and these images is taken from here, and what is new goes there; the plan is the
            same to the bit as without.

    Raises:
        PlanError: the schedule asks for no compensation, or the model is already pruned.
        DataError: there are no images.
    """
    if schedule.compensation.is_none:
        raise PlanError("the schedule asks for no compensation; use make_plan, or set its compensation")
    check_baseline(get_info(model), "make the plan from the baseline model")
    schedule.check_length(len(get_info(model).shape.blocks), get_info(model).name)
    walk = _Walk(model.eval(), schedule, batches, memory)
    with torch.no_grad():
        working = False
        for index in range(len(walk.steps)):
            working = walk.take(index) or working
            if working:
                progress(index + 1, len(walk.steps))
    return Plan(schedule, tuple(fit.plan for fit in walk.fits), tuple(note for fit in walk.fits for note in fit.notes))


def uncompensated(model: nn.Module, schedule: Schedule, statistics: Statistics) -> Plan:
    """The plan from which compensation starts: channels chosen by their scores."""
    return replace(make_plan(model, replace(schedule, compensation=NONE), statistics), schedule=schedule)


def score_channels(model: nn.Module, schedule: Schedule, images: list[torch.Tensor]) -> Statistics:
    """Scores of the feed-forward channels on the images; blank ones where the schedule's compensation chooses all by itself."""
    if chooses_by_scores(schedule):
        return collect_statistics(model, images, schedule.class_weight)
    return Statistics.blank(get_info(model).shape)


def chooses_by_scores(schedule: Schedule) -> bool:
    """Whether a compensated schedule's feed-forward channels are chosen by their scores on the images, somewhere at least."""
    return schedule.compensation.ffn != "fold" or any(schedule.ratios("fc1"))


def steps_of(model: nn.Module, schedule: Schedule, base: str) -> list[Step]:
    """What `compensate` will do block by block, by `memory.steps`; no image is read. `base` is that of the memory."""
    info, by_scores = get_info(model), chooses_by_scores(schedule)
    adapter = adapter_for(model, info.name)
    normalised = [adapter.parts(block).normalises_hidden for block in adapter.blocks(model)]
    return steps(base, info.shape, schedule, lambda index: by_scores or not normalised[index])


class _Walk:
    """A walk over the blocks. Nothing is run before a block has to be fitted; streams start where the memory has them."""

    def __init__(self, model: nn.Module, schedule: Schedule, batches: Iterable[torch.Tensor], memory: FitMemory | None) -> None:
        self.model, self.schedule, self.batches, self.memory = model, schedule, batches, memory
        self.blocks, self.wants = Blocks(model, schedule), schedule.compensation
        self.steps = steps_of(model, schedule, "" if memory is None else memory.base)
        self.fits: list[Fit] = []
        self.notes: list[str] = []
        self.correcting = False
        holding = memory if memory is not None and memory.budget else None
        self.tracks = Tracks(self.blocks, self.steps, self.fits, lambda: self.images, holding)

    @cached_property
    def images(self) -> list[torch.Tensor]:
        """The calibration images; a DataError where there are none."""
        images = list(self.batches)
        if not images:
            raise DataError("there are no calibration images; give a data set with at least one readable image")
        return images

    @cached_property
    def selected(self) -> Plan:
        """The plan from which compensation starts."""
        schedule = self.schedule
        if self.memory is None or not chooses_by_scores(schedule):
            return uncompensated(self.model, schedule, score_channels(self.model, schedule, self.images))
        scores = self.memory.statistics(schedule.class_weight, lambda: score_channels(self.model, schedule, self.images))
        return uncompensated(self.model, schedule, scores)

    def take(self, index: int) -> bool:
        """Add the fit of the next block; whether it had to be made."""
        step = self.steps[index]
        if not step.is_fitted:
            self.fits.append(Fit(BlockPlan()))
            return False
        known = None if self.memory is None else self.memory.fit(step.key, next(self.model.parameters()).device)
        self.fits.append(known or self._fit(index))
        return known is None

    def _fit(self, index: int) -> Fit:
        step, parts = self.steps[index], self.blocks.adapter.parts(self.blocks.modules[index])
        self.correcting = step.corrects
        refits = self.wants.ffn != "none" and not parts.normalises_hidden and (self.selected.blocks[index].fc2 is not None or step.corrects)
        half = None if self.memory is None else self.memory.half(step.half)
        if half is None or (refits and half.sums is None):
            half = self._fit_half(index, parts, refits)
            if self.memory is not None:
                self.memory.put_half(step.half, half, len(self.steps))
        plan, notes = replace(half.plan, fc2=self.selected.blocks[index].fc2), half.notes
        if half.sums is not None and refits:
            if self.wants.ffn == "fold" and plan.fc2 is not None and half.order is None:
                half.order = rank_hidden(parts, half.sums)
            plan = fit_hidden(parts, plan, half.sums, self.wants.ffn, self.correcting, half.order)
            self.tracks.keep_attended(index, half.attended)
        elif parts.normalises_hidden and self.wants.ffn != "none" and (plan.fc2 is not None or self.correcting):
            notes = *notes, f"block {index}: the hidden layer is normalised, so fc2 is not refitted"
        fit = Fit(plan, notes)
        if self.memory is not None:
            self.memory.put_fit(step.key, fit)
        return fit

    def _fit_half(self, index: int, parts: BlockParts, refits: bool) -> Half:
        """The attention half fitted and, where the hidden layer is to be as well, what its fit takes: neither depends on fc2's ratio."""
        plan, whole = self.selected.blocks[index], self.blocks.pruned(index, BlockPlan())
        own = self.tracks.own(index)
        goals = self.tracks.goals(index) if self.correcting else None
        self.notes = []
        left: Streams = []
        plan = replace(self._fit_attention(index, plan, whole, own, goals, left), fc2=None)
        if not refits:
            return Half(plan, tuple(self.notes))

        def missing(number: int, stream: torch.Tensor) -> torch.Tensor:
            return (goals.done[number].reshape(stream.shape) - stream) / scale_of(parts.ls2, stream)

        sums = hidden_sums(parts, self.blocks.pruned(index, plan), own, missing if self.correcting else None, left)
        return Half(plan, tuple(self.notes), sums, left)

    def _fit_attention(
        self, index: int, plan: BlockPlan, whole: PrunedBlock, own: Streams, goals: Goals | None, left: Streams
    ) -> BlockPlan:
        """Fit the attention half; `left` takes up the mixed values that it ends with, where they are known."""
        if self.wants.attention != "project" or (plan.qk is None and plan.vo is None and not self.correcting):
            return plan
        parts = self.blocks.adapter.parts(self.blocks.modules[index])
        if plan.qk is not None and (why := keeps_heads_apart(parts)):
            self.notes.append(f"block {index}: {why}, so qk keeps a selection of its dimensions")
        again = self.correcting or (plan.qk is not None and self.wants.calibration != "one_shot")
        sums, moments = None, HeadMoments(parts.heads)
        if plan.qk is not None or plan.vo is not None:
            sums = mixed_sums(parts, whole, own, moments=moments, alone=again)

        def measure(attempt: BlockPlan) -> SplitSums:
            pruned = self.blocks.pruned(index, attempt)
            return mixed_sums(parts, pruned, own, lambda number: self._wanted(parts, whole, own[number], number, goals), left=left)

        kept = kept_counts(get_info(self.model).shape.blocks[index], self.schedule, index)
        return fit_attention(parts, plan, kept, moments, sums, measure if again else None)

    def _wanted(self, parts: BlockParts, whole: PrunedBlock, own: torch.Tensor, number: int, goals: Goals | None) -> torch.Tensor:
        """What the output projection should give: what is missing to the baseline's stream, or its own whole output."""
        if not self.correcting:
            with watch(whole.attn.proj) as full:
                whole.attend(own)
            return full["output"]
        missing = (goals.attended[number] - own.flatten(1, -2)) / scale_of(parts.ls1, own)
        return missing if parts.windows is None else parts.windows.split(missing.reshape(own.shape))
