"""Leaving hidden units out before a LayerNorm that stands in front of fc2 (EVA-02): what `ops` does before norm2 and fc1, once more."""

from typing import Any

import torch
from torch import nn

from toast_core.models.adapters.base import BlockParts
from toast_core.pruning.execution.ops import GatheredEntry, Keep, MaskedEntry, NarrowEntry, channel_mask


class MaskedNormExit(MaskedEntry):
    """LayerNorm and fc2 at full width; dropped hidden units are zeroed here, before the norm."""

    def forward(self, x: torch.Tensor, keep: Keep) -> torch.Tensor:
        """(B, N, M) -> (B, N, D)."""
        return super().forward(x if keep is None else x * channel_mask(keep, x.shape[2], x), keep)


class NarrowNormExit(NarrowEntry):
    """The same values from hidden units that were chosen beforehand and alone were computed."""

    def forward(self, x: torch.Tensor, keep: Keep) -> torch.Tensor:
        """(B, N, K) -> (B, N, D)."""
        return self.from_kept(x)


def norm_exit(parts: BlockParts, idx: torch.Tensor | None, compact: bool) -> nn.Module:
    """Return a block's exit through its hidden norm; `idx` are the hidden units that alone are computed, None where all are."""
    norm: Any = parts.hidden_norm
    if idx is not None:
        return NarrowNormExit(norm, parts.fc2, idx)
    return (GatheredEntry if compact else MaskedNormExit)(norm, parts.fc2)
