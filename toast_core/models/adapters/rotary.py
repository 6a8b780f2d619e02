"""Rotary position embeddings: pairs of a head's dimensions are turned by an angle that a patch's place gives. They stay or go together."""

from typing import Any

import torch
from timm.layers.pos_embed_sincos import apply_rot_embed
from torch import nn


class Rotation(nn.Module):
    """Turns queries or keys of patch tokens; prefix tokens stay as they are.

    table   sines and cosines side by side, (P, 2 d); they follow from the patches' places and are not saved
    prefix  tokens before the patches
    halves  dimension i is tied to i + d/2; else 2 i to 2 i + 1
    keep    dimensions that stay of every head, (H, k) ascending in whole pairs, of a compact model; None: all d
    """

    keep: torch.Tensor | None
    table: torch.Tensor

    def __init__(self, table: torch.Tensor, prefix: int, halves: bool, keep: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("keep", keep)
        self.register_buffer("table", table.detach(), persistent=False)
        self.prefix, self.halves, self.positions = prefix, halves, table.shape[-1] // 2

    def keeping(self, keep: torch.Tensor) -> "Rotation":
        """The same for heads of which only these dimensions (H, k) are left."""
        return Rotation(self.table, self.prefix, self.halves, keep.clone())

    def pairs(self) -> torch.Tensor:
        """Which dimensions are tied to each other, (d/2, 2)."""
        every = torch.arange(self.positions)
        return every.view(2, -1).t() if self.halves else every.view(-1, 2)

    def forward(self, x: torch.Tensor, table: torch.Tensor | None = None) -> torch.Tensor:
        """(B, H, N, k) -> (B, H, N, k); `table` is what the model gives for this batch, (P, 2 d) or (B, 1, P, 2 d), in training."""
        sines, cosines = (self.table if table is None else table).to(x.device).chunk(2, dim=-1)
        if self.keep is not None:
            sines, cosines = (_of_heads(values, self.keep) for values in (sines, cosines))
        turned = apply_rot_embed(x[:, :, self.prefix :], sines, cosines, half=self.halves)
        return torch.cat([x[:, :, : self.prefix], turned.to(x.dtype)], dim=2)


def _of_heads(values: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """(..., P, d) -> (..., H, P, k), the batch's own singleton of heads left out."""
    values = values.squeeze(1) if values.ndim == 4 else values
    return values[..., keep].movedim(-2, -3)


class GiveRope:
    """A forward hook by which a timm block that is called by itself gets the rotary embedding that its model would hand it."""

    def __init__(self, rope: nn.Module, grid: tuple[int, int]) -> None:
        self.rope, self.grid = rope, grid

    def table(self) -> torch.Tensor:
        """Sines and cosines of the model's own grid of patches, (P, 2 d)."""
        get: Any = self.rope.get_embed
        return get(shape=list(self.grid)) if getattr(self.rope, "feat_shape", None) is None else get()

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Add `rope` where the caller gave none."""
        if len(args) > 1 or kwargs.get("rope") is not None:
            return None
        return args, {**kwargs, "rope": self.table()}


def rope_giver(block: nn.Module) -> GiveRope | None:
    """The hook on a block, if there is one."""
    return next((hook for hook in block._forward_pre_hooks.values() if isinstance(hook, GiveRope)), None)
