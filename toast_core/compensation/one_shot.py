"""One block pruned alone, at any ratio, from sums taken once: what a sweep over compensated cells needs (method, section 6)."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from toast_core.compensation.refit import fit_attention, fit_hidden, rank_hidden
from toast_core.compensation.regression import SplitSums
from toast_core.compensation.sums import HeadMoments, hidden_sums, mixed_sums
from toast_core.cost.shapes import ModelShape
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import BlockParts
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.schedule.compensation import Compensation
from toast_core.schedule.schedule import Schedule


@dataclass(eq=False)
class BlockSums:
    """What one block of the baseline says: its heads' moments, the sums of both its fits, and its hidden units in order of use."""

    index: int
    parts: BlockParts
    moments: HeadMoments
    mixed: SplitSums
    hidden: SplitSums
    order: torch.Tensor

    @torch.no_grad()
    def compensated(self, plan: BlockPlan, kept: dict[str, int], wants: Compensation) -> BlockPlan:
        """Return what `compensate` in `one_shot` calibration makes of this block: for qk and vo, or fc1 and fc2, not for all of them.

        The hidden layer's sums are those behind whole attention. `kept` are the counts of `kept_counts`.
        """
        if wants.attention == "project" and (plan.qk or plan.vo):
            plan = fit_attention(self.parts, plan, kept, self.moments, self.mixed)
        if wants.ffn != "none" and plan.fc2 and not self.parts.normalises_hidden:
            plan = fit_hidden(self.parts, plan, self.hidden, wants.ffn, order=self.order)
        return plan


def sums_bytes(shape: ModelShape) -> int:
    """What the sums of all blocks hold: of both layers' inputs squared, and with their outputs, for two halves of the images."""
    squares = sum(width * (width + block.width) for block in shape.blocks for width in (block.hidden, block.width))
    return 2 * 8 * squares


@torch.no_grad()
def one_shot_sums(model: nn.Module, images: list[torch.Tensor], wanted: Collection[int] | None = None) -> Iterator[BlockSums]:
    """Walk the baseline over image batches (B, C, H, W) and yield each block's sums in turn, so that one block's are held at a time.

    Args:
        wanted: blocks whose sums are asked for; None: all.
    """
    wanted = range(len(get_info(model).shape.blocks)) if wanted is None else wanted
    adapter, parameter = adapter_for(model, get_info(model).name), next(model.parameters())
    blocks = adapter.blocks(model.eval())
    unpruned = Plan(Schedule.uniform(len(blocks)), (BlockPlan(),) * len(blocks))
    streams = [adapter.embed(model, batch.to(parameter.device, parameter.dtype)) for batch in images]
    for index, block in enumerate(blocks[: max(wanted, default=-1) + 1]):
        streams = [adapter.before_block(model, index, x) for x in streams]
        if index not in wanted:
            streams = [block(x) for x in streams]
            continue
        parts, moments = adapter.parts(block), HeadMoments(adapter.parts(block).heads)
        whole = prune_block(block, adapter.layout(model, index), BlockPlan(), unpruned, adapter, "masked")
        left: list[torch.Tensor] = []
        mixed = mixed_sums(parts, whole, streams, moments=moments, left=left)
        hidden = hidden_sums(parts, whole, streams, left=left)
        yield BlockSums(index, parts, moments, mixed, hidden, rank_hidden(parts, hidden))
        ended = (whole.contract(*whole.expand(attended, None), None) for attended in left)
        streams = [out.reshape(x.shape) for out, x in zip(ended, streams, strict=True)]
