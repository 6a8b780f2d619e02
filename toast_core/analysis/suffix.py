"""Running a baseline from a block on: what a sensitivity sweep repeats for every cell."""

import torch
from torch import nn
from torch.nn import functional as F

from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info


class Suffix:
    """The baseline's blocks from any block to the logits.

    Where the head reads only the class token, the last block computes keys and values for every token but queries, output
    and feed-forward network for the class token alone: the same logits for a sixth of that block's cost.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.adapter = model, adapter_for(model, get_info(model).name)
        self.blocks = self.adapter.blocks(model)
        self.class_token_only = self.adapter.layout(model, len(self.blocks) - 1).has_class_token

    def start(self, images: torch.Tensor) -> torch.Tensor:
        """Images -> block 0's input."""
        return self.adapter.before_block(self.model, 0, self.adapter.embed(self.model, images))

    def enter(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Block `index - 1`'s output -> block `index`'s input; past the last block, as it is."""
        return self.adapter.before_block(self.model, index, x) if index < len(self.blocks) else x

    def logits(self, x: torch.Tensor, first: int) -> torch.Tensor:
        """Block `first`'s input (the last block's output where `first` is the number of blocks) -> logits."""
        for index in range(first, len(self.blocks)):
            last = index == len(self.blocks) - 1
            x = self._class_token(self.blocks[index], x) if last and self.class_token_only else self.enter(index + 1, self.blocks[index](x))
        return self.adapter.head(self.model, x)

    def _class_token(self, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """The last block's output for token 0: (B, N, D) -> (B, 1, D)."""
        parts = self.adapter.parts(block)
        tokens, inner = parts.norm1(x), parts.heads * parts.head_dim
        weight, bias = parts.qkv.weight, parts.qkv.bias
        query = F.linear(tokens[:, :1], weight[:inner], None if bias is None else bias[:inner])
        both = F.linear(tokens, weight[inner:], None if bias is None else bias[inner:])
        q, k, v = (part.unflatten(2, (parts.heads, -1)).transpose(1, 2) for part in (query, *both.chunk(2, dim=2)))
        attended = F.scaled_dot_product_attention(parts.q_norm(q), parts.k_norm(k), v, scale=parts.scale)
        x = x[:, :1] + parts.ls1(parts.proj(attended.transpose(1, 2).flatten(2)))
        return x + parts.ls2(parts.fc2(parts.act(parts.fc1(parts.norm2(x)))))
