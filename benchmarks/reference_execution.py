"""The reference implementation's compact execution, written from its description, for benchmarks to be compared with; never for use.

Attention keeps its narrowed heads but forms the whole map: explicit softmax, and the class token's row from it. The feed-forward
network scores its channels in every forward, for the whole batch; normalises over fc1's kept channels only; and computes every
hidden unit, since fc2's are chosen after the activation.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule

CLASS_WEIGHT = 2.0
TOKEN_FRACTION = 0.02


class ReferenceBlock(nn.Module):
    """A ViT block with the narrowed attention weights of a compact block, executed as above."""

    def __init__(self, block: PrunedBlock, keep_in: int, keep_hidden: int, seed: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.act = block.norm1, block.enter.norm, block.act
        self.qkv, self.proj, self.heads, self.scale = block.attn.qkv, block.attn.proj, block.attn.heads, block.attn.scale
        self.sizes = [self.heads * block.attn.qk_dim] * 2 + [self.heads * block.attn.vo_dim]
        self.fc1, self.fc2 = block.enter.fc1, block.leave.fc2
        self.keep_in, self.keep_hidden = keep_in, keep_hidden
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, D) -> (B, N, D)."""
        qkv = F.linear(self.norm1(x), self.qkv.weight, self.qkv.bias)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in qkv.split(self.sizes, dim=2))
        attention = (q * self.scale @ k.transpose(2, 3)).softmax(dim=3)
        alpha = attention.mean(dim=(0, 1))[0]
        x = x + self.proj((attention @ v).transpose(1, 2).flatten(2))
        if self.keep_in < x.shape[2]:
            idx = self._top(x, alpha, self.keep_in)
            x = x * torch.zeros(x.shape[2]).index_fill_(0, idx, 1.0)
            kept = F.layer_norm(x[:, :, idx], (self.keep_in,), self.norm2.weight[idx], self.norm2.bias[idx], self.norm2.eps)
            hidden = F.linear(kept, self.fc1.weight[:, idx], self.fc1.bias)
        else:
            hidden = self.fc1(self.norm2(x))
        hidden = self.act(hidden)
        if self.keep_hidden < hidden.shape[2]:
            idx = self._top(hidden, alpha, self.keep_hidden)
            return x + F.linear(hidden[:, :, idx], self.fc2.weight[:, idx], self.fc2.bias)
        return x + self.fc2(hidden)

    def _top(self, x: torch.Tensor, alpha: torch.Tensor, count: int) -> torch.Tensor:
        patches = x.shape[1] - 1
        sample = 1 + torch.randperm(patches, generator=self.generator)[: max(1, int(TOKEN_FRACTION * patches))]
        of_class = CLASS_WEIGHT * x[:, 0].abs().mean(dim=0)
        of_patches = (x[:, sample].abs() * alpha[sample].unsqueeze(1)).mean(dim=(0, 1))
        return (of_class / (1 + patches) + of_patches * patches / (1 + patches)).topk(count).indices


def reference_model(model: nn.Module, schedule: Schedule) -> nn.Module:
    """A ViT, executed as the reference does; blocks that the schedule leaves alone stay timm's, with fused attention."""
    adapter, shape = adapter_for(model, get_info(model).name), get_info(model).shape
    compact = apply_plan(model, make_plan(model, schedule), "compact")
    for index, (block, entry) in enumerate(zip(adapter.blocks(compact), schedule.blocks, strict=True)):
        if isinstance(block, PrunedBlock):
            width, hidden = shape.blocks[index].width, shape.blocks[index].hidden
            counts = (max(1, int(width * (1 - entry.fc1))), max(1, int(hidden * (1 - entry.fc2))))
            adapter.replace_block(compact, index, ReferenceBlock(copy.deepcopy(block), *counts, seed=index))
    return compact.eval()
