"""A machine's table of block shapes: each part of a block that a schedule narrows, timed at a grid of kept counts.

Every part runs as the compact model runs it (`prune_block`), on the activations that reach it in the model, with weights of its own.
All parts take turns, round after round: what slows the machine slows all alike, and no part finds its weights in the cache because
it has just run.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import torch
from torch import nn

from toast_core.cost.latency import ALIGNED, BlockTimes, LatencyTable, Line, Sheet
from toast_core.cost.shapes import BlockShape
from toast_core.errors import DeviceError
from toast_core.machine import dtype_name, processor_name
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import Adapter
from toast_core.models.info import check_baseline, get_info
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.plan import BlockPlan, FixedKeep, HeadKeep, Plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.latency.pairs import forward_seconds

ROUNDS = 25
_LEAST_ROUNDS = 5
_LIMIT_S = 90.0
# of a site's width. Equal qk and vo are timed at every count instead: there a few dimensions more can halve the time
_UNEQUAL = (1 / 16, 1 / 4, 1 / 2, 3 / 4, 1.0)
_HIDDEN = (0.0, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1.0)
_INPUTS = (1 / 16, 3 / 8, 11 / 16, 1.0)
_NARROW_HIDDEN = (1 / 16, 1 / 4, 1 / 2, 3 / 4, 1.0)
Place = tuple[int, str, int, int]  # of a block shape: which, its part, two kept counts
Name = Place | str  # parts have a place, everything else a name
Trial = tuple[Callable[[torch.Tensor], object], torch.Tensor]
OUTSIDE, BASELINE = "outside", "baseline"


@dataclass(frozen=True)
class _Grid:
    """The kept counts at which one block shape is timed."""

    heads: tuple[int, ...]
    unequal: tuple[int, ...]
    hidden: tuple[int, ...]
    inputs: tuple[int, ...]
    narrow_hidden: tuple[int, ...]

    @classmethod
    def of(cls, shape: BlockShape) -> "_Grid":
        head, hidden = shape.head_dim, shape.hidden
        aligned = (round(share * hidden / ALIGNED) * ALIGNED for share in _HIDDEN)
        odd = (round(share * hidden / ALIGNED) * ALIGNED - ALIGNED // 2 - 1 for share in _HIDDEN)
        # a norm of q and k costs more once it covers some of the dimensions only
        unequal = (*(share * head for share in _UNEQUAL), head - 1)
        inputs = (min(share * shape.width, shape.width - 1) for share in _INPUTS)
        return cls(
            tuple(range(1, head + 1)), _ascending(unequal, head), _ascending((1, *aligned, *odd, hidden - 1, hidden), hidden),
            _ascending(inputs, max(1, shape.width - 1)), _ascending((share * hidden for share in _NARROW_HIDDEN), hidden),
        )

    def places(self, kind: int) -> Iterator[Place]:
        """Every place of this shape that is timed: (kind, part, kept count, kept count)."""
        yield from ((kind, "attention", kept, kept) for kept in self.heads)
        yield from ((kind, "attention", qk, self.apart(qk, vo)) for qk in self.unequal for vo in self.unequal if self.heads[1:])
        yield from ((kind, "whole", 0, kept) for kept in self.hidden)
        yield from ((kind, "narrow", kept, hidden) for kept in self.inputs for hidden in self.narrow_hidden)

    def apart(self, qk: int, vo: int) -> int:
        """The vo count that stands for `vo` beside `qk`: a neighbour where they are equal, since only unequal ones are meant."""
        return vo if qk != vo else vo - 1 if vo > 1 else vo + 1

    def times(self, kind: int, ms: dict[Name, float]) -> BlockTimes:
        """The block times of a shape from the milliseconds of its places, numbered `kind`."""
        apart = self.apart if self.heads[1:] else lambda qk, vo: vo
        return BlockTimes(
            Line(self.heads, tuple(ms[kind, "attention", kept, kept] for kept in self.heads)),
            Sheet(
                self.unequal, self.unequal,
                tuple(tuple(ms[kind, "attention", qk, apart(qk, vo)] for vo in self.unequal) for qk in self.unequal),
            ),
            Line(self.hidden, tuple(ms[kind, "whole", 0, kept] for kept in self.hidden)),
            Sheet(
                self.inputs, self.narrow_hidden,
                tuple(tuple(ms[kind, "narrow", kept, hidden] for hidden in self.narrow_hidden) for kept in self.inputs),
            ),
        )


def _ascending(counts: Iterable[float], most: int) -> tuple[int, ...]:
    return tuple(sorted({min(max(1, round(count)), most) for count in counts}))


def measure_table(
    model: nn.Module, images: torch.Tensor, rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LatencyTable:
    """Return the table of a baseline model, in the dtype and on the device that it is on, for batches of this size.

    Args:
        images: (B, C, H, W); any will do, their values do not matter.
        rounds, clock, progress: see `in_turns`.

    Raises:
        PlanError: the model is already pruned.
        DeviceError: the device ran out of memory.
    """
    trials = table_trials(model, images)
    return table_of(model, len(images), *in_turns(trials, rounds, clock, progress))


def table_of(model: nn.Module, batch_size: int, ms: dict[Name, float], rounds: int) -> LatencyTable:
    """The table of a baseline model from the milliseconds of its `table_trials`, and the rounds that they are medians of."""
    info, parameter = get_info(model), next(model.parameters())
    kinds = list(dict.fromkeys(info.shape.blocks))
    return LatencyTable(
        shape=info.shape, batch_size=batch_size, dtype=dtype_name(parameter.dtype), device=parameter.device.type,
        processor=processor_name(parameter.device), threads=torch.get_num_threads(), torch=version("torch"), rounds=rounds,
        outside_ms=ms[OUTSIDE], baseline_ms=ms[BASELINE],
        blocks=tuple(_Grid.of(shape).times(kind, ms) for kind, shape in enumerate(kinds)),
        kinds=tuple(kinds.index(block) for block in info.shape.blocks),
    )


@torch.inference_mode()
def table_trials(model: nn.Module, images: torch.Tensor) -> dict[Name, Trial]:
    """Return what is to be timed for a baseline model's table, each with its input.

    Raises:
        PlanError: the model is already pruned.
    """
    info, parameter = get_info(model), next(model.parameters())
    check_baseline(info, "measure the table of the baseline model")
    images, adapter = images.to(parameter.device, parameter.dtype), adapter_for(model, info.name)
    arriving = _arriving(model, adapter, images)
    trials: dict[Name, Trial] = {OUTSIDE: (partial(_outside, model, adapter, arriving), images), BASELINE: (model, images)}
    for kind, shape in enumerate(dict.fromkeys(info.shape.blocks)):
        first = info.shape.blocks.index(shape)
        x = adapter.before_block(model, first, arriving[first])
        stream = x.reshape(x.shape[0], -1, x.shape[-1])
        for place in _Grid.of(shape).places(kind):
            block = _narrowed(model, adapter, first, shape, place)
            trials[place] = (block.attend, x) if place[1] == "attention" else (partial(_feed_forward, block), stream)
    return trials


def _arriving(model: nn.Module, adapter: Adapter, images: torch.Tensor) -> list[torch.Tensor]:
    """What stands before each block, and after the last, before anything that lies between blocks."""
    found = [adapter.embed(model, images)]
    for index, block in enumerate(adapter.blocks(model)):
        found.append(block(adapter.before_block(model, index, found[-1])))
    return found


def _outside(model: nn.Module, adapter: Adapter, arriving: list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    adapter.embed(model, images)
    for index, x in enumerate(arriving[:-1]):
        adapter.before_block(model, index, x)
    return adapter.head(model, arriving[-1])


def _feed_forward(block: PrunedBlock, stream: torch.Tensor) -> torch.Tensor:
    return block.contract(*block.expand(stream, None), None)


def _narrowed(model: nn.Module, adapter: Adapter, index: int, shape: BlockShape, place: Place) -> PrunedBlock:
    """The compact block that keeps these counts in one part, evenly spread, and all of the other part."""
    _, part, first, second = place
    if part == "attention":
        plan = BlockPlan(qk=_heads(-(-first // shape.qk_tied) * shape.qk_tied, shape), vo=_heads(second, shape))
    else:
        plan = BlockPlan(fc1=_channels(first, shape.width) if part == "narrow" else None, fc2=_channels(second, shape.hidden))
    whole = Plan(Schedule.uniform(len(adapter.blocks(model)), selection="calibrated"), ())
    return prune_block(adapter.blocks(model)[index], adapter.layout(model, index), plan, whole, adapter, "compact")


def _heads(kept: int, shape: BlockShape) -> HeadKeep | None:
    if kept == shape.head_dim:
        return None
    every = _spread(kept, shape.head_dim).expand(shape.heads, -1)
    return HeadKeep(every, every)


def _channels(kept: int, width: int) -> FixedKeep | None:
    return FixedKeep(_spread(kept, width)) if kept < width else None


def _spread(kept: int, width: int) -> torch.Tensor:
    return torch.arange(kept) * width // kept


def in_turns(
    trials: dict[Name, Trial], rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[Name, float], int]:
    """Return the median milliseconds of each trial, and the rounds done after one that only warms up.

    Every round has an order of its own, drawn from seed 0: a machine that is slow for some seconds is so for other trials each time.

    Args:
        rounds: at most; fewer, from `_LEAST_ROUNDS` on, once `_LIMIT_S` seconds have passed.
        progress: is told the timings done and all of them.

    Raises:
        DeviceError: the device ran out of memory.
    """
    seconds: dict[Name, list[float]] = {place: [] for place in trials}
    start, done, total = clock(), -1, (rounds + 1) * len(trials)
    order, draw = list(trials.items()), random.Random(0)
    while done < rounds and (done < _LEAST_ROUNDS or clock() - start < _LIMIT_S):
        draw.shuffle(order)
        for number, (place, (run, x)) in enumerate(order):
            seconds[place].append(_seconds(run, x, clock))
            progress((done + 1) * len(trials) + number + 1, total)
        done += 1
    progress(total, total)
    return {place: 1e3 * statistics.median(found[1:]) for place, found in seconds.items()}, done


def _seconds(run: Callable[[torch.Tensor], object], x: torch.Tensor, clock: Callable[[], float]) -> float:
    try:
        return forward_seconds(run, x, clock)
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{x.device} ran out of memory with {len(x)} images at once; choose a smaller batch size") from error
