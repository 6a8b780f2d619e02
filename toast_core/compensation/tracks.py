"""The residual streams of a walk over the blocks, the baseline's and the pruned model's own: run only as far as they are asked for."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from toast_core.compensation.memory import FitMemory, Step
from toast_core.compensation.stored import Fit
from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.schedule.schedule import Schedule

Streams = list[torch.Tensor]
"""A tensor an image batch."""


class Blocks:
    """The blocks of a baseline model, whole and under the plans of a schedule."""

    def __init__(self, model: nn.Module, schedule: Schedule) -> None:
        self.model, self.schedule = model, schedule
        self.adapter = adapter_for(model, get_info(model).name)
        self.modules = self.adapter.blocks(model)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """What enters the first block, but for what lies before it."""
        parameter = next(self.model.parameters())
        return self.adapter.embed(self.model, images.to(parameter.device, parameter.dtype))

    def enter(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """From what leaves the block before to what enters this one."""
        return self.adapter.before_block(self.model, index, x)

    def pruned(self, index: int, plan: BlockPlan) -> PrunedBlock:
        """The block under a plan of its own; an empty one gives the block itself, in halves that can be run one by one."""
        whole = Plan(self.schedule, ())
        return prune_block(self.modules[index], self.adapter.layout(self.model, index), plan, whole, self.adapter, "masked")


@dataclass(eq=False)
class Goals:
    """The baseline's residual streams in a block, a tensor an image batch: after attention (B, N, D) and after the block."""

    attended: Streams
    done: Streams


@dataclass(eq=False)
class _Place:
    """How far a stream has come: what leaves block `after - 1`."""

    after: int
    streams: Streams


class Tracks:
    """Both streams of one walk, which only goes on; whoever asks for a block's asks in the order of the blocks.

    Args:
        steps: of the walk.
        fits: what became of the blocks so far; the walk goes on adding to it.
        images: the calibration images; asked for where no stream is held to start from.
        memory: holds streams for later walks; None: every stream is let go of as soon as it can be.
    """

    def __init__(
        self, blocks: Blocks, steps: list[Step], fits: list[Fit], images: Callable[[], Streams], memory: FitMemory | None
    ) -> None:
        self.blocks, self.steps, self.fits, self.images, self.memory = blocks, steps, fits, images, memory
        self.in_halves = blocks.schedule.compensation.calibration == "error_correcting"
        self._baseline, self._own = _Place(-1, []), _Place(-1, [])
        self._half: tuple[int, Streams] | None = None

    def own(self, index: int) -> Streams:
        """What enters a block in the model pruned so far, the baseline's where nothing before it was damaged."""
        return [self.blocks.enter(index, x) for x in self._own_before(index)]

    def goals(self, index: int) -> Goals:
        """What the baseline makes of a block, both halves."""
        known, done = self._held(self._name("attended", index)), self._held(self._name("whole", index + 1))
        if known is not None and done is not None:
            self._baseline = _Place(index + 1, done)
            return Goals(known, done)
        attended: Streams = []
        self._before(index)
        self._run_whole(index, attended)
        self._hold(self._name("attended", index), attended)
        return Goals(attended, self._baseline.streams)

    def keep_attended(self, index: int, attended: Streams) -> None:
        """Take what attention leaves in a block that was just fitted, so that moving past it need not run that half again."""
        self._half = index, attended

    def _own_before(self, index: int) -> Streams:
        """What leaves the block before, in the model pruned so far."""
        if not self._is_damaged(index):
            return list(self._before(index))
        at = index
        while self._own.after != at:
            if not self._is_damaged(at):
                self._own = _Place(at, list(self._before(at)))
                if not self.in_halves:
                    self._baseline = _Place(-1, [])  # nobody asks for it again
            elif (held := self._held(self._left(at - 1))) is not None:
                self._own = _Place(at, held)
            else:
                at -= 1
        for block in range(at, index):
            self._own = self._advanced(self._own, self._mover(block))
            self._hold(self._left(block), self._own.streams)
        return self._own.streams

    def _is_damaged(self, index: int) -> bool:
        """Whether what enters the block may differ from the baseline's."""
        return index > 0 and self.steps[index - 1].damages

    def _mover(self, index: int) -> Callable[[int, torch.Tensor], torch.Tensor]:
        """From a batch's number and what entered the block to what leaves it, under the fit that it has got."""
        plan = self.fits[index].plan
        block = self.blocks.modules[index] if plan.is_baseline else self.blocks.pruned(index, plan)
        half = self._half[1] if self._half is not None and self._half[0] == index else None
        self._half = None
        if half is None or not isinstance(block, PrunedBlock):
            return lambda _, x: block(self.blocks.enter(index, x))

        def rest(number: int, x: torch.Tensor) -> torch.Tensor:
            shape = self.blocks.enter(index, x).shape
            return block.contract(*block.expand(half[number], None), None).reshape(shape)

        return rest

    def _before(self, index: int) -> Streams:
        """What leaves the block before, in the baseline."""
        at = index
        while self._baseline.after != at:
            if (held := self._held(self._name("whole", at))) is not None:
                self._baseline = _Place(at, held)
            elif at == 0:
                self._baseline = _Place(0, [self.blocks.embed(batch) for batch in self.images()])
                self._hold(self._name("whole", 0), self._baseline.streams)
            else:
                at -= 1
        for block in range(at, index):
            self._run_whole(block)
        return self._baseline.streams

    def _run_whole(self, index: int, attended: Streams | None = None) -> None:
        """Take the baseline past the block that it has come to; `attended` takes up what its first half leaves."""
        if not self.in_halves:
            module = self.blocks.modules[index]
            self._baseline = self._advanced(self._baseline, lambda _, x: module(self.blocks.enter(index, x)))
        else:
            whole = self.blocks.pruned(index, BlockPlan())

            def halves(_: int, x: torch.Tensor) -> torch.Tensor:
                x = self.blocks.enter(index, x)
                half, alpha = whole.attend(x)
                if attended is not None:
                    attended.append(half)
                return whole.contract(*whole.expand(half, alpha), alpha).reshape(x.shape)

            self._baseline = self._advanced(self._baseline, halves)
        self._hold(self._name("whole", index + 1), self._baseline.streams)

    def _advanced(self, place: _Place, run: Callable[[int, torch.Tensor], torch.Tensor]) -> _Place:
        """The place after one more block; streams that no memory may hold make room as they are used."""
        if self.memory is not None:
            return _Place(place.after + 1, [run(number, x) for number, x in enumerate(place.streams)])
        for number, x in enumerate(place.streams):
            place.streams[number] = run(number, x)
        return _Place(place.after + 1, place.streams)

    def _left(self, index: int) -> str:
        """The name of what leaves a block in the model pruned so far."""
        return f"own {self.steps[index].key}"

    def _name(self, what: str, index: int) -> str:
        base = "" if self.memory is None else self.memory.base
        return f"{base} {what} {'halves' if self.in_halves and index else 'block'} {index}"

    def _held(self, key: str) -> Streams | None:
        return None if self.memory is None else self.memory.streams(key)

    def _hold(self, key: str, streams: Streams) -> None:
        if self.memory is not None:
            self.memory.put_streams(key, streams)
