"""What a block's tokens say on calibration images: the sums that its closed-form fits depend on (method, section 6)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from toast_core.compensation.regression import SplitSums
from toast_core.models.adapters.base import BlockParts
from toast_core.pruning.execution.block import PrunedBlock


@dataclass(eq=False)
class HeadMoments:
    """Sums of q q^T and k k^T (H, d, d) and of k (H, d) over T tokens, float64."""

    heads: int
    tokens: int = 0
    second: list[torch.Tensor] = field(default_factory=list)
    keys: torch.Tensor | None = None

    def add(self, qkv: torch.Tensor) -> None:
        """Add the output of a whole block's qkv projection, (..., 3 H d)."""
        q, k, _ = qkv.reshape(-1, 3, self.heads, qkv.shape[-1] // (3 * self.heads)).double().unbind(1)
        found = [torch.einsum("the,thf->hef", x, x) for x in (q, k)]
        self.second = [old + new for old, new in zip(self.second, found, strict=True)] if self.second else found
        self.keys = k.sum(dim=0) if self.keys is None else self.keys + k.sum(dim=0)
        self.tokens += len(k)

    @property
    def query(self) -> torch.Tensor:
        """E[q q^T] of every head, (H, d, d)."""
        return self.second[0] / self.tokens

    @property
    def key(self) -> torch.Tensor:
        """Cov(k) of every head, (H, d, d)."""
        mean = self.keys / self.tokens
        return self.second[1] / self.tokens - torch.einsum("he,hf->hef", mean, mean)


def mixed_sums(
    parts: BlockParts,
    block: PrunedBlock,
    streams: Iterable[torch.Tensor],
    wanted: Callable[[int], torch.Tensor] | None = None,
    moments: HeadMoments | None = None,
    alone: bool = False,
    left: list[torch.Tensor] | None = None,
) -> SplitSums:
    """Sums of the output projection's inputs in `block` with what it should give; tokens that a Swin padded do not count.

    Args:
        streams: what enters the block, a tensor an image batch.
        wanted: from a batch's number to what the projection should give, (B, N, D) or windows of it; None: what it gives.
        moments: takes up queries and keys in the same pass; `block` must be whole then.
        alone: of the inputs alone, with no targets (Q is 0).
        left: takes up the inputs, a tensor a batch.
    """
    sums = SplitSums.zeros(parts.proj.in_features, 0 if alone else parts.proj.out_features, parts.proj.weight.device)
    for number, x in enumerate(streams):
        with watch(block.attn.qkv) as qkv, watch(block.attn.proj) as proj:
            block.attend(x)
        if moments is not None:
            moments.add(qkv["output"])
        if left is not None:
            left.append(proj["input"])
        mixed, target = proj["input"], proj["output"] if wanted is None else wanted(number)
        inside = None
        if parts.windows is not None:
            inside = parts.windows.split(torch.ones_like(x[..., :1]))[..., 0].reshape(len(x), -1) > 0
        targets = target.reshape(len(x), -1, target.shape[-1])
        sums.add(mixed.reshape(len(x), -1, mixed.shape[-1]), targets[..., :0] if alone else targets, inside)
    return sums


def hidden_sums(
    parts: BlockParts,
    block: PrunedBlock,
    streams: Iterable[torch.Tensor],
    wanted: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
    left: list[torch.Tensor] | None = None,
) -> SplitSums:
    """Sums of the hidden layer in `block` with what fc2 should give.

    Args:
        wanted: from a batch's number and the stream (B, N, D) that fc2's output is added to, to what fc2 should give; None: what it
            gives for the whole hidden layer.
        left: takes up what attention leaves, a tensor (B, N, D) a batch; where it holds a batch's mixed values already, those that
            `mixed_sums` has left, attention starts from them.
    """
    sums = SplitSums.zeros(parts.fc2.in_features, parts.fc2.out_features, parts.fc2.weight.device)
    for number, x in enumerate(streams):
        is_mixed = left is not None and number < len(left)
        attended = block.add(x, block.attn.project(left[number], x)) if is_mixed else block.attend(x)[0]
        if left is not None:
            left[number : number + 1] = [attended]
        stream, hidden = block.expand(attended, None)
        sums.add(hidden, parts.fc2(hidden) if wanted is None else wanted(number, stream))
    return sums


class watch:
    """What a module is given and gives, while the context lasts."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.seen = module, {}

    def __enter__(self) -> dict[str, torch.Tensor]:
        self.hook = self.module.register_forward_hook(self._keep)
        return self.seen

    def _keep(self, _: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self.seen |= {"input": inputs[0], "output": output}

    def __exit__(self, *_: object) -> None:
        self.hook.remove()
