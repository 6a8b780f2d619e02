"""What fits were made before, and the streams that the next one starts from: within a number of bytes, the last used stays longest."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Generic, TypeVar

import torch

from analysis_cache.shelf import Shelf
from toast_core.compensation.regression import SplitSums
from toast_core.compensation.stored import Fit, read_fit, write_fit
from toast_core.cost.macs import kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.pruning.plan import BlockPlan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule

Value = TypeVar("Value")


@dataclass(eq=False)
class FitMemory:
    """Fits of blocks, residual streams and channel scores by key; whoever asks for what is not held makes it again, to the same bits.

    Fits and halves take half of the room at most, streams what those leave. Not locked: one thread at a time.

    budget   bytes that may be held
    shelf    where fits are kept for other processes; None for none
    base     what every key begins from: model, images and code, as text
    """

    budget: int
    shelf: Shelf | None = None
    base: str = ""
    _fits: "Held[Fit | Statistics]" = field(default_factory=lambda: Held())
    _halves: "Held[Half]" = field(default_factory=lambda: Held())
    _streams: "Held[list[torch.Tensor]]" = field(default_factory=lambda: Held())

    def on(self, base: str) -> "FitMemory":
        """The same memory, for another model or other images."""
        return FitMemory(self.budget, self.shelf, base, self._fits, self._halves, self._streams)

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self._fits.used + self._halves.used + self._streams.used

    @property
    def held_fits(self) -> int:
        """How many fits and sets of scores are held."""
        return len(self._fits)

    def fit(self, key: str, device: torch.device) -> Fit | None:
        """The fit of that key, from here or from the shelf; None where it has to be made. A damaged one counts as none."""
        known = self._fits.get(key)
        if known is None and self.shelf is not None and (content := self.shelf.get(key)) is not None:
            read = read_fit(content, device)
            if read is not None:
                self._put_fit(key, read, read.size)
            return read
        return known if isinstance(known, Fit) else None

    def put_fit(self, key: str, fit: Fit) -> None:
        """Hold a fit, and put it on the shelf."""
        self._put_fit(key, fit, fit.size)
        if self.shelf is not None:
            self.shelf.put(key, write_fit(fit))

    def knows(self, key: str) -> bool:
        """Whether `fit` would find something, as far as can be told without reading it."""
        return key in self._fits or (self.shelf is not None and key in self.shelf)

    def streams(self, key: str) -> list[torch.Tensor] | None:
        """Held streams, a tensor an image batch: not to be changed."""
        return self._streams.get(key)

    def put_streams(self, key: str, streams: list[torch.Tensor]) -> None:
        """Hold streams as far as there is room."""
        size = sum(x.numel() * x.element_size() for x in streams)
        self._streams.put(key, streams, size, self.budget - self._fits.used - self._halves.used)

    def half(self, key: str) -> "Half | None":
        """The attention half of a block, fitted, with what the other half's fit takes."""
        return self._halves.get(key)

    def put_half(self, key: str, half: "Half", blocks: int) -> None:
        """Hold the half of one of so many blocks, unless as many of its size would leave streams less than half of the room."""
        if half.size * blocks <= self.budget // 2:
            self._halves.put(key, half, half.size, self.budget // 2 - self._fits.used)
            self._shrink()

    def statistics(self, class_weight: float, make: Callable[[], Statistics]) -> Statistics:
        """The scores of the images at this weight of the class token, made once."""
        found = self._fits.get(self._scores(class_weight))
        if not isinstance(found, Statistics):
            found = make()
            self.put_statistics(class_weight, found)
        return found

    def put_statistics(self, class_weight: float, statistics: Statistics) -> None:
        """Hold scores that were made elsewhere from the same images in the same batches."""
        size = sum(x.numel() * x.element_size() for x in statistics.score_sums.values())
        self._put_fit(self._scores(class_weight), statistics, size)

    def _scores(self, class_weight: float) -> str:
        return f"{self.base} scores {class_weight!r}"

    def _put_fit(self, key: str, value: Fit | Statistics, size: int) -> None:
        self._fits.put(key, value, size, self.budget // 2)
        self._shrink()

    def _shrink(self) -> None:
        """Let halves keep within what fits leave of half the room, and streams within what both leave."""
        self._halves.shrink(max(0, self.budget // 2 - self._fits.used))
        self._streams.shrink(self.budget - self._fits.used - self._halves.used)


class Held(Generic[Value]):
    """Values by key with their sizes; what was used longest ago goes first."""

    def __init__(self) -> None:
        self.used = 0
        self._of: OrderedDict[str, tuple[Value, int]] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        """Whether the key has a value; not a use of it."""
        return key in self._of

    def __len__(self) -> int:
        """How many values there are."""
        return len(self._of)

    def get(self, key: str) -> Value | None:
        """The value, which is now the one used last."""
        if key not in self._of:
            return None
        self._of.move_to_end(key)
        return self._of[key][0]

    def put(self, key: str, value: Value, size: int, limit: int) -> None:
        """Hold a value of `size` bytes unless it alone is over the limit, and let go of others until all are within it."""
        if size > limit:
            return
        self.used += size - (self._of[key][1] if key in self._of else 0)
        self._of[key] = value, size
        self._of.move_to_end(key)
        self.shrink(limit)

    def shrink(self, limit: int) -> None:
        """Let go of values until `limit` bytes are left."""
        while self.used > limit:
            self.used -= self._of.popitem(last=False)[1][1]


@dataclass(eq=False)
class Half:
    """A block whose attention half is fitted, before its hidden layer is.

    plan      without fc2
    sums      of the hidden layer with what fc2 should give; None where that is not to be fitted
    attended  what attention leaves, a tensor (B, N, D) an image batch; read only
    order     of the hidden units by use, once it was asked for
    """

    plan: BlockPlan
    notes: tuple[str, ...]
    sums: SplitSums | None = None
    attended: list[torch.Tensor] = field(default_factory=list)
    order: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """Bytes of its tensors, about."""
        held = sum(x.numel() * x.element_size() for x in self.attended) + (self.sums.size if self.sums else 0)
        return held + Fit(self.plan).size


@dataclass(frozen=True)
class Step:
    """What is known of one block of a walk before it is walked.

    key       of its fit, and of the stream that leaves it where that is not the baseline's
    half      key of its attention half: all but fc2's count
    is_whole  nothing of it is dropped
    damaged   whether the stream that enters it may differ from the baseline's
    damages   whether the one that leaves it may
    corrects  whether it is to bring the stream back to the baseline's
    """

    key: str
    half: str
    is_whole: bool
    damaged: bool
    damages: bool
    corrects: bool

    @property
    def is_fitted(self) -> bool:
        """Whether it gets weights of its own at all."""
        return self.corrects or not self.is_whole


def steps(base: str, shape: ModelShape, schedule: Schedule, scored: Callable[[int], object]) -> list[Step]:
    """What a walk over a schedule's blocks will do: a block's key holds all that its fit depends on, and nothing else.

    That is its own kept counts, the settings of the whole schedule (every field, so that a new one is too; seed and rounding say
    nothing of their own once images and counts are known, `multiple_of` is left out) and, unless blocks are fitted on the
    baseline's activations, the blocks before it from the first that drops something.

    Args:
        scored: whether scores of the images choose among a block's channels.
    """
    wants = schedule.compensation
    settings = {one.name: getattr(schedule, one.name) for one in fields(schedule) if one.name not in ("blocks", "multiple_of")}
    settings["compensation"] = asdict(wants)
    before, damaged, found = "", False, []
    for index, block in enumerate(shape.blocks):
        kept = kept_counts(block, schedule, index)
        is_whole = all(count == block.site_width(site) for site, count in kept.items())
        corrects = wants.calibration == "error_correcting" and damaged
        damages = damaged or (not is_whole and wants.calibration != "one_shot")
        facts = [base, before, index, settings, scored(index)]
        key, half = (_digest([*facts, counts]) for counts in (kept, kept | {"fc2": None}))
        found.append(Step(key, half, is_whole, damaged, damages, corrects))
        before, damaged = (key, True) if damages else ("", False)
    return found


def _digest(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
