"""A plan put into effect: a new model; the original stays as it is."""

import copy
from dataclasses import replace

import torch
from torch import nn

from toast_core.errors import PlanError
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import Adapter, BlockParts, TokenLayout
from toast_core.models.info import check_baseline, get_info
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.schedule.execution import check_execution
from toast_core.schedule.sites import HEAD_SITES


def apply_plan(model: nn.Module, plan: Plan, execution: str = "compact") -> nn.Module:
    """Return a pruned copy of a baseline model: an ordinary nn.Module that can be moved, deep-copied, saved and trained.

    `masked` keeps every shape and zeroes what the plan drops; `compact` holds only what stays. Both compute the same
    function. Blocks that the plan leaves alone stay timm's own.

    Raises:
        PlanError: an unknown execution, an already pruned model, a plan of another length, or an uncoupled plan as compact.
    """
    check_execution(execution)
    info = get_info(model)
    check_baseline(info, "apply the plan to the baseline model")
    adapter = adapter_for(model, info.name)
    if len(plan.blocks) != len(adapter.blocks(model)):
        raise PlanError(f"the plan has {len(plan.blocks)} blocks but {info.name} has {len(adapter.blocks(model))}; make it from this model")
    if execution == "compact":
        _check_coupled(plan)
    layouts = [adapter.layout(model, index) for index in range(len(plan.blocks))]
    pruned = copy.deepcopy(model)
    for index, (block, block_plan) in enumerate(zip(adapter.blocks(pruned), plan.blocks, strict=True)):
        if not block_plan.is_whole:
            new = prune_block(block, layouts[index], block_plan, plan, adapter, execution)
            adapter.replace_block(pruned, index, new)
        elif block_plan.weights is not None:
            parts = adapter.parts(block)  # a joined qkv is a copy; its weights are never refitted where every dimension stays
            _fill(parts, {name: value for name, value in block_plan.weights.items() if not (parts.joined and name.startswith("qkv."))})
    pruned.toast_info = replace(info, execution=execution, schedule=plan.schedule)
    return pruned


def prune_block(block: nn.Module, layout: TokenLayout, block_plan: BlockPlan, plan: Plan, adapter: Adapter, execution: str) -> PrunedBlock:
    """Return the pruned form of one block; modules that the plan leaves alone are the block's own, not copies."""
    parts = adapter.parts(block)
    if block_plan.weights is not None:
        parts = replace(parts, **{name: copy.deepcopy(getattr(parts, name)) for name in ("qkv", "proj", "fc2")})
        _fill(parts, block_plan.weights)
    new = PrunedBlock(parts, layout, block_plan, plan.schedule, execution == "compact")
    return new.train(block.training)


def _fill(parts: BlockParts, weights: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, value in weights.items():
            layer, _, parameter = name.partition(".")
            getattr(getattr(parts, layer), parameter).copy_(value)


def _check_coupled(plan: Plan) -> None:
    for index, block in enumerate(plan.blocks):
        for pair in HEAD_SITES:
            keep = getattr(block, pair)
            if keep is not None and not keep.is_coupled:
                raise PlanError(
                    f"block {index} {pair} is pruned uncoupled: its sides keep different dimensions, so it has no compact form; "
                    "use execution masked"
                )
