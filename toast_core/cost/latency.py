"""How long a model takes on one machine, from a table of its block shapes: any schedule by interpolation. Imports no torch.

    table = LatencyTable.from_dict(head.summary)        # of a cell of kind "latency" in the evidence store
    table.predict_ms()                                  # the baseline, as it was measured
    table.predict_ms(schedule)                          # a schedule's compact form, at table.batch_size images
    table.block_ms(3, kept_counts(shape.blocks[3], schedule, 3))   # (attention, feed-forward) of block 3
    table.scale * table.outside_ms                      # embedding, patch merging, pooling, classifier

A prediction is the sum of its parts, so a page that moves one bar asks for one block. `toast_core.studies.latency.measure` measures.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from toast_core.cost.macs import kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.schedule.schedule import Schedule

ALIGNED = 8  # counts that vector units take whole; the others can be a good deal slower, so they are interpolated among themselves


@dataclass(frozen=True)
class Line:
    """Milliseconds over one kept count: `kept` ascending, one value of `ms` each."""

    kept: tuple[int, ...]
    ms: tuple[float, ...]

    def at(self, kept: int) -> float:
        """Milliseconds at a count: as measured there, else between neighbours of its own kind (multiples of ALIGNED, or not)."""
        place = bisect_left(self.kept, kept)
        if place < len(self.kept) and self.kept[place] == kept:
            return self.ms[place]
        alike = [pair for pair in zip(self.kept, self.ms, strict=True) if (pair[0] % ALIGNED == 0) == (kept % ALIGNED == 0)]
        counts, values = zip(*(alike if len(alike) > 1 else zip(self.kept, self.ms, strict=True)), strict=True)
        return _between(counts, values, kept)


@dataclass(frozen=True)
class Sheet:
    """Milliseconds over two kept counts: a row for each of `first`, a column for each of `second`, both ascending."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    ms: tuple[tuple[float, ...], ...]

    def at(self, first: int, second: int) -> float:
        """Milliseconds between the four neighbours; the nearest edge's where there are not four."""
        return _between(self.first, [_between(self.second, row, second) for row in self.ms], first)


def _between(counts: Sequence[int], values: Sequence[float], wanted: int) -> float:
    """The straight line between the two counts around `wanted`; the end's value outside."""
    place = bisect_left(counts, wanted)
    if place == 0 or place == len(counts):
        return values[min(place, len(counts) - 1)]
    share = (wanted - counts[place - 1]) / (counts[place] - counts[place - 1])
    return values[place - 1] + share * (values[place] - values[place - 1])


@dataclass(frozen=True)
class BlockTimes:
    """One block shape, every part as its compact form runs it.

    equal    attention over qk = vo dimensions kept a head: one fused kernel
    unequal  attention over qk and vo where they differ, which can fall on another kernel
    whole    feed-forward over hidden units kept, every input channel kept
    narrow   feed-forward over input channels (fewer than all) and hidden units kept
    """

    equal: Line
    unequal: Sheet
    whole: Line
    narrow: Sheet

    def attention_ms(self, qk: int, vo: int) -> float:
        """Attention with its norm and residual sum."""
        return self.equal.at(qk) if qk == vo else self.unequal.at(qk, vo)

    def ffn_ms(self, fc1: int, fc2: int, width: int) -> float:
        """Feed-forward with its norm and residual sum; `width` is the block's."""
        return self.whole.at(fc2) if fc1 == width else self.narrow.at(fc1, fc2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BlockTimes":
        """Read the values that `to_dict` gives.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of another kind.
        """
        lines = {name: Line(_counts(values[name]["kept"]), _times(values[name]["ms"])) for name in ("equal", "whole")}
        sheets = {
            name: Sheet(
                _counts(values[name]["first"]), _counts(values[name]["second"]), tuple(_times(row) for row in values[name]["ms"])
            )
            for name in ("unequal", "narrow")
        }
        return cls(lines["equal"], sheets["unequal"], lines["whole"], sheets["narrow"])


@dataclass(frozen=True)
class LatencyTable:
    """Times of one model shape on one machine: milliseconds of a forward of `batch_size` images, medians of interleaved rounds.

    shape        of the model; weights do not matter
    batch_size, dtype, device, processor, threads, torch   what the times hold for
    rounds       how often each part was timed
    outside_ms   embedding, what lies between the blocks, and what follows them
    baseline_ms  the whole baseline, timed in the same rounds
    blocks       a BlockTimes for each distinct block shape
    kinds        which of them each block is
    """

    shape: ModelShape
    batch_size: int
    dtype: str
    device: str
    processor: str
    threads: int
    torch: str
    rounds: int
    outside_ms: float
    baseline_ms: float
    blocks: tuple[BlockTimes, ...]
    kinds: tuple[int, ...]

    @cached_property
    def scale(self) -> float:
        """The baseline as measured over the sum of its parts as measured; every part is multiplied by it.

        Near 1 on an idle machine. On a busy one a whole forward is interrupted more often than a short part.
        """
        whole = Schedule.uniform(len(self.kinds))
        parts = sum(sum(self._measured_ms(index, kept_counts(block, whole, index))) for index, block in enumerate(self.shape.blocks))
        return self.baseline_ms / (self.outside_ms + parts)

    def _measured_ms(self, block: int, kept: Mapping[str, int]) -> tuple[float, float]:
        times, shape = self.blocks[self.kinds[block]], self.shape.blocks[block]
        return times.attention_ms(kept["qk"] * shape.qk_tied, kept["vo"]), times.ffn_ms(kept["fc1"], kept["fc2"], shape.width)

    def block_ms(self, block: int, kept: Mapping[str, int]) -> tuple[float, float]:
        """Attention and feed-forward of one block, from the counts that it keeps by site (`schedule.cost.kept_counts`)."""
        attention, ffn = self._measured_ms(block, kept)
        return self.scale * attention, self.scale * ffn

    def predict_ms(self, schedule: Schedule | None = None) -> float:
        """One forward of the compact form of `schedule` with calibrated selection; None: the baseline.

        Raises:
            ScheduleError: the schedule has another number of blocks.
        """
        schedule = schedule or Schedule.uniform(len(self.kinds))
        schedule.check_length(len(self.kinds), self.shape.name)
        parts = (self.block_ms(index, kept_counts(block, schedule, index)) for index, block in enumerate(self.shape.blocks))
        return self.scale * self.outside_ms + sum(attention + ffn for attention, ffn in parts)

    def digest(self) -> str:
        """sha256 of all values: another measurement has another one."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The table as plain JSON values, as a file keeps it."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LatencyTable":
        """Read `to_dict`'s values back, from JSON too, which others may have written.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of another kind.
        """
        read = {field.name: values[field.name] for field in fields(cls)}
        read |= {name: int(read[name]) for name in ("batch_size", "threads", "rounds")}
        read |= {name: float(read[name]) for name in ("outside_ms", "baseline_ms")}
        read |= {name: str(read[name]) for name in ("dtype", "device", "processor", "torch")}
        read["shape"] = ModelShape.from_dict(read["shape"])
        read["blocks"] = tuple(BlockTimes.from_dict(block) for block in read["blocks"])
        read["kinds"] = _counts(read["kinds"])
        if len(read["kinds"]) != len(read["shape"].blocks) or not all(0 <= kind < len(read["blocks"]) for kind in read["kinds"]):
            raise ValueError("kinds do not name one of the measured blocks for each block of the model")
        return cls(**read)


def _counts(values: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _times(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
