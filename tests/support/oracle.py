"""The method's equations once more, slowly: loops over images, heads and tokens, written from the paper and not from the engine."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


def token_score_loop(
    x: torch.Tensor, patches: list[int], alpha: torch.Tensor | None, class_weight: float, patch_total: int
) -> torch.Tensor:
    """Score of every channel of one image x (N, C); alpha (N,) or None where there is no class token."""
    scores = []
    for channel in range(x.shape[1]):
        patch = sum(abs(x[j, channel].item()) * (1.0 if alpha is None else alpha[j].item()) for j in patches) / len(patches)
        if alpha is None:
            scores.append(patch)
        else:
            scores.append(abs(x[0, channel].item()) * class_weight / (1 + patch_total) + patch * patch_total / (1 + patch_total))
    return torch.tensor(scores, dtype=torch.float64)


def top_loop(scores: torch.Tensor, keep: int) -> list[int]:
    """The `keep` best indices, ascending; a tie goes to the lower index."""
    return sorted(sorted(range(len(scores)), key=lambda index: (-scores[index].item(), index))[:keep])


@dataclass
class SplitSums:
    """A ViT block split where pruning looks: the stream after attention, the class token's attention row, the hidden layer."""

    stream: torch.Tensor
    alpha: torch.Tensor
    block: nn.Module

    def hidden(self, stream: torch.Tensor) -> torch.Tensor:
        """Activations after fc1."""
        return self.block.mlp.act(self.block.mlp.fc1(self.block.norm2(stream)))

    def out(self, stream: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The block's output."""
        return stream + self.block.ls2(self.block.mlp.fc2(hidden))


def attend(block: nn.Module, x: torch.Tensor, drop_qk: torch.Tensor | None = None, drop_vo: torch.Tensor | None = None) -> SplitSums:
    """A timm ViT block's attention by the textbook, with booleans (H, d) of the dimensions that are dropped."""
    attn, (batch, tokens, _) = block.attn, x.shape
    q, k, v = attn.qkv(block.norm1(x)).view(batch, tokens, 3, attn.num_heads, attn.head_dim).unbind(2)
    if drop_qk is not None:
        q, k = q * ~drop_qk, k * ~drop_qk
    q, k = attn.q_norm(q), attn.k_norm(k)
    if drop_qk is not None:
        q, k = q * ~drop_qk, k * ~drop_qk
    if drop_vo is not None:
        v = v * ~drop_vo
    maps, outs = [], []
    for head in range(attn.num_heads):
        logits = q[:, :, head] @ k[:, :, head].transpose(1, 2) / math.sqrt(attn.head_dim)
        maps.append(logits.softmax(dim=-1))
        outs.append(maps[-1] @ v[:, :, head])
    attended = attn.proj(torch.cat(outs, dim=-1))
    return SplitSums(x + block.ls1(attended), torch.stack(maps).mean(dim=0)[:, 0], block)


def zeroed(x: torch.Tensor, kept: list[int]) -> torch.Tensor:
    """x (..., C) with every channel but the kept ones zero."""
    mask = F.one_hot(torch.tensor(kept), x.shape[-1]).sum(dim=0)
    return x * mask
