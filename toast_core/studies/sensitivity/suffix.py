"""Running a baseline from a block on: what a sensitivity sweep repeats for every cell."""

import torch
from torch import nn

from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import BlockParts
from toast_core.models.info import get_info
from toast_core.studies.tasks.base import Output
from toast_core.studies.tasks.registry import task_of


class Suffix:
    """The baseline's blocks from any block to the output of its task.

    Where that reads only the class token, the last block runs for the class token alone: the same output for a small part of that
    block's cost.
    """

    def __init__(self, model: nn.Module) -> None:
        info = get_info(model)
        self.model, self.adapter, self.task = model, adapter_for(model, info.name), task_of(info.shape)
        self.blocks = self.adapter.blocks(model)
        layout = self.adapter.layout(model, len(self.blocks) - 1)
        self.class_token_only = not self.task.reads_tokens and layout.has_class_token and layout.read == 1

    def start(self, images: torch.Tensor) -> torch.Tensor:
        """Images -> block 0's input."""
        return self.adapter.before_block(self.model, 0, self.adapter.embed(self.model, images))

    def enter(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Block `index - 1`'s output -> block `index`'s input; past the last block, as it is."""
        return self.adapter.before_block(self.model, index, x) if index < len(self.blocks) else x

    def output(self, x: torch.Tensor, first: int) -> Output:
        """Block `first`'s input (the last block's output where `first` is the number of blocks) -> the task's output."""
        for index in range(first, len(self.blocks)):
            last = index == len(self.blocks) - 1
            x = self._class_token(self.blocks[index], x) if last and self.class_token_only else self.enter(index + 1, self.blocks[index](x))
        return self.task.head(self.adapter, self.model, x)

    def _class_token(self, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """The last block's output for token 0: (B, N, D) -> (B, 1, D)."""
        parts = self.adapter.parts(block)
        x = x[:, :1] + parts.ls1(parts.proj(_attend_once(parts, parts.norm1(x))))
        return x + parts.ls2(parts.fc2(parts.hidden_norm(parts.act(parts.fc1(parts.norm2(x))))))


def _attend_once(parts: BlockParts, tokens: torch.Tensor) -> torch.Tensor:
    """Attention of token 0 over all tokens (B, N, D) -> (B, 1, H d), before the output projection.

    With one query a head it is cheaper to bring the query to the tokens than the tokens to keys and values: q (W x)^T = (q W) x^T,
    and the weighted mean of values is the value of the weighted mean. Keys' biases shift a head's logits alike and cancel.
    """
    weight, bias = parts.qkv.weight, parts.qkv.bias
    wq, wk, wv = weight.unflatten(0, (3, parts.heads, -1))
    bq, bk, bv = (None, None, None) if bias is None else bias.unflatten(0, (3, parts.heads, -1))
    q = torch.einsum("bd,hed->bhe", tokens[:, 0], wq)
    q = parts.q_norm(q if bq is None else q + bq)
    if isinstance(parts.k_norm, nn.Identity) and parts.rotary is None:
        logits = torch.einsum("bhd,bnd->bhn", torch.einsum("bhe,hed->bhd", q, wk), tokens)
    else:
        k = torch.einsum("bnd,hed->bhne", tokens, wk)
        k = parts.k_norm(k if bk is None else k + bk.unsqueeze(1))
        k = k if parts.rotary is None else parts.rotary(k)  # the class token's query stands where nothing is turned
        logits = torch.einsum("bhe,bhne->bhn", q, k)
    mixed = torch.einsum("bhn,bnd->bhd", (logits * parts.scale).softmax(dim=2), tokens)
    v = torch.einsum("bhd,hed->bhe", mixed, wv)
    return (v if bv is None else v + bv).flatten(1).unsqueeze(1)
