"""The one forward of a pruned block, for ViT and Swin, masked and compact, dynamic and calibrated."""

import torch
from torch import nn

from toast_core.errors import PlanError
from toast_core.models.adapters.base import BlockParts, TokenLayout
from toast_core.pruning.execution.attention import PrunedAttention
from toast_core.pruning.execution.linear import keep_inputs, keep_outputs
from toast_core.pruning.execution.norm_exit import norm_exit
from toast_core.pruning.execution.ops import GatheredEntry, GatheredExit, MaskedEntry, MaskedExit, NarrowEntry, channel_mask
from toast_core.pruning.importance.activations import token_scores, top_channels
from toast_core.pruning.plan import BlockPlan, DynamicKeep, FixedKeep
from toast_core.schedule.schedule import Schedule


class FixedChannels(nn.Module):
    """A choice made when the plan was made."""

    def __init__(self, keep: FixedKeep, width: int) -> None:
        super().__init__()
        self.register_buffer("idx", keep.idx.clone())
        self.positions = width

    def forward(self, x: torch.Tensor, token_weight: torch.Tensor | None) -> torch.Tensor:
        """Return (K,) whatever the input."""
        return self.idx


class DynamicChannels(nn.Module):
    """A choice made from the activations: for the batch (`per_batch`) or for each image (`per_image`)."""

    def __init__(self, keep: DynamicKeep, layout: TokenLayout, schedule: Schedule) -> None:
        super().__init__()
        self.register_buffer("patch_idx", keep.patch_idx.clone())
        self.count, self.patches, self.prefix, self.class_weight = keep.count, layout.patches, layout.prefix, schedule.class_weight
        self.positions = layout.prefix + layout.patches
        self.whole_batch = schedule.selection == "per_batch"

    def forward(self, x: torch.Tensor, token_weight: torch.Tensor | None) -> torch.Tensor:
        """Return (K,) for the batch or (B, K) for each image, from x (B, N, C) and alpha (B, N)."""
        if self.whole_batch and token_weight is not None:
            token_weight = token_weight.mean(dim=0, keepdim=True).expand_as(token_weight)
        patch_idx = self.patch_idx
        if x.shape[1] != self.positions:  # patch dropout, in training
            patch_idx = (patch_idx - self.prefix) % (x.shape[1] - self.prefix) + self.prefix
        scores = token_scores(x, patch_idx, token_weight, self.class_weight, self.patches)
        return top_channels(scores.mean(dim=0) if self.whole_batch else scores, self.count)


class PrunedBlock(nn.Module):
    """A timm block, pruned by a plan; built from the modules of the block it replaces."""

    def __init__(self, parts: BlockParts, layout: TokenLayout, plan: BlockPlan, schedule: Schedule, compact: bool) -> None:
        super().__init__()
        device = parts.fc1.weight.device
        self.norm1, self.ls1, self.drop_path1 = parts.norm1, parts.ls1, parts.drop_path1
        self.attn = PrunedAttention(parts, plan.qk, plan.vo, compact)
        self.choose_in = _chooser(plan.fc1, parts.fc1.in_features, layout, schedule)
        self.choose_hidden = _chooser(plan.fc2, parts.fc2.in_features, layout, schedule)
        fc1, fc2, alone = parts.fc1, parts.fc2, None
        fixed_in, fixed_hidden = (isinstance(keep, FixedKeep) for keep in (plan.fc1, plan.fc2))
        if compact and fixed_hidden:  # dropped hidden units are never computed
            alone = plan.fc2.idx.to(device)
            rows = torch.cat([alone, alone + fc2.in_features]) if parts.gated else alone
            fc1, fc2 = keep_outputs(fc1, rows, compact), keep_inputs(fc2, alone, compact)
            self.choose_hidden = None
        if compact and fixed_in:
            self.enter = NarrowEntry(parts.norm2, fc1, plan.fc1.idx.to(device))
        else:
            self.enter = (GatheredEntry if compact else MaskedEntry)(parts.norm2, fc1)
        plain = GatheredExit if compact else MaskedExit
        self.leave = norm_exit(parts, alone, compact) if parts.normalises_hidden else plain(fc2)
        self.act, self.drop1, self.drop2 = parts.act, parts.drop1, parts.drop2
        self.ls2, self.drop_path2 = parts.ls2, parts.drop_path2
        self.selects_by_input = isinstance(plan.fc1, DynamicKeep) or isinstance(plan.fc2, DynamicKeep)
        self.wants_class_row = layout.has_class_token and self.selects_by_input
        self.to(device)

    def forward(
        self, x: torch.Tensor, rope: torch.Tensor | None = None, attn_mask: torch.Tensor | None = None, is_causal: bool = False
    ) -> torch.Tensor:
        """(B, N, D) -> (B, N, D), or (B, H, W, D) -> (B, H, W, D).

        A model with rotary embeddings gives its own for the batch, which patch dropout and training may have changed, and no mask.

        Raises:
            PlanError: there is a mask, which pruned attention knows nothing of.
        """
        if attn_mask is not None or is_causal:
            raise PlanError("a pruned block attends without a mask; call the model without attn_mask")
        attended, alpha = self.attend(x, rope)
        stream, hidden = self.expand(attended, alpha)
        return self.contract(stream, hidden, alpha).reshape(x.shape)

    def attend(self, x: torch.Tensor, rope: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The attention half: x in its shape -> the residual stream (B, N, D), and alpha (B, N) where dynamic selection needs it."""
        attended, alpha = self.attn(self.norm1(x), self.wants_class_row, rope)
        return self.add(x, attended), alpha

    def add(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Add attention's output to the stream x of the same shape: (B, N, D)."""
        return (x + self.drop_path1(self.ls1(attended))).reshape(x.shape[0], -1, x.shape[-1])

    def expand(self, x: torch.Tensor, alpha: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose fc1's channels and run up to the activation: the gated stream (B, N, D) and the hidden layer (B, N, M)."""
        keep_in = None if self.choose_in is None else self.choose_in(x, alpha)
        if keep_in is not None:  # dropped channels leave the residual stream as well
            x = x * channel_mask(keep_in, x.shape[2], x)
        return x, self.drop1(self.act(self.enter(x, keep_in)))

    def contract(self, x: torch.Tensor, hidden: torch.Tensor, alpha: torch.Tensor | None) -> torch.Tensor:
        """Choose fc2's hidden units, run fc2 and add the stream: (B, N, D)."""
        keep_hidden = None if self.choose_hidden is None else self.choose_hidden(hidden, alpha)
        return x + self.drop_path2(self.ls2(self.drop2(self.leave(hidden, keep_hidden))))


def _chooser(keep: FixedKeep | DynamicKeep | None, width: int, layout: TokenLayout, schedule: Schedule) -> nn.Module | None:
    if keep is None:
        return None
    return FixedChannels(keep, width) if isinstance(keep, FixedKeep) else DynamicChannels(keep, layout, schedule)
