"""A plan: the schedule turned into kept indices. Data only; it can be printed, compared, saved and replayed."""

from dataclasses import dataclass

import torch

from toast_core.schedule.schedule import Schedule


@dataclass(frozen=True)
class HeadKeep:
    """Kept dimensions of every head, (H, k) each, ascending: `first` for query or value, `second` for key or output."""

    first: torch.Tensor
    second: torch.Tensor

    @property
    def is_coupled(self) -> bool:
        """Whether both sides keep the same dimensions, as a compact form needs."""
        return torch.equal(self.first, self.second)


@dataclass(frozen=True)
class FixedKeep:
    """Channels chosen when the plan was made: (K,) ascending."""

    idx: torch.Tensor


@dataclass(frozen=True)
class DynamicKeep:
    """Channels chosen in the forward: how many, and the (S,) token positions that are scored, drawn when the plan was made."""

    count: int
    patch_idx: torch.Tensor


@dataclass(frozen=True)
class BlockPlan:
    """One block; None leaves a site as it is.

    weights: replacements of the block's `qkv`, `proj` and `fc2` by parameter name ("fc2.weight"), in the baseline's shapes, that
    hold for the kept channels; None keeps the baseline's own.
    """

    qk: HeadKeep | None = None
    vo: HeadKeep | None = None
    fc1: FixedKeep | DynamicKeep | None = None
    fc2: FixedKeep | DynamicKeep | None = None
    weights: dict[str, torch.Tensor] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every channel of the block stays, whatever becomes of its weights."""
        return not any((self.qk, self.vo, self.fc1, self.fc2))

    @property
    def is_baseline(self) -> bool:
        """Whether the block stays as it is, weights included."""
        return self.is_whole and self.weights is None


@dataclass(frozen=True)
class Plan:
    """The whole model: the schedule it came from, one BlockPlan a block, and notes on what could not be done as asked."""

    schedule: Schedule
    blocks: tuple[BlockPlan, ...]
    notes: tuple[str, ...] = ()
