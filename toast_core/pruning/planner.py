"""From schedule, weights and statistics to a plan. Reads and returns; changes nothing."""

import torch
from torch import nn

from toast_core.cost.macs import kept_counts
from toast_core.errors import PlanError
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import BlockParts, TokenLayout
from toast_core.models.info import check_baseline, get_info
from toast_core.pruning.importance.activations import top_channels
from toast_core.pruning.importance.pairs import pair_scores
from toast_core.pruning.plan import BlockPlan, DynamicKeep, FixedKeep, HeadKeep, Plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import CHANNEL_SITES, HEAD_SITES


def make_plan(model: nn.Module, schedule: Schedule, statistics: Statistics | None = None) -> Plan:
    """Decide which channels of a baseline model stay.

    Head dimensions are ranked by their weights. Feed-forward channels are ranked by `statistics` in `calibrated` mode; in the
    dynamic modes only the token sample is drawn here, from the schedule's seed, and the forward ranks the channels.

    Args:
        model: a supported timm model, not one that a plan was already applied to.
        statistics: from `collect_statistics`; only `calibrated` selection reads them.

    Raises:
        ScheduleError: the schedule has another number of blocks.
        PlanError: statistics are needed and missing, the model is already pruned, or compensation is asked for where something is dropped.
        ModelError: the model is not supported.
    """
    info = get_info(model)
    check_baseline(info, "make the plan from the baseline model")
    if not (schedule.compensation.is_none or schedule.is_baseline):
        raise PlanError("the schedule asks for compensation, which needs images; pass --calibration DATA (compensate in Python)")
    adapter = adapter_for(model, info.name)
    blocks = adapter.blocks(model)
    schedule.check_length(len(blocks), info.name)
    if schedule.needs_calibration and statistics is None:
        raise PlanError("selection 'calibrated' needs calibration images; pass --calibration DATA (statistics= in Python)")
    shape = adapter.shape(model, info.name)
    fraction = schedule.token_fraction or adapter.default_token_fraction
    plans = []
    for index, block in enumerate(blocks):
        entry, kept, parts = schedule.blocks[index], kept_counts(shape.blocks[index], schedule, index), adapter.parts(block)
        widths = {pair: shape.blocks[index].site_width(pair) for pair in HEAD_SITES}
        heads = {pair: _keep_heads(parts, pair, kept[pair], schedule) if kept[pair] < widths[pair] else None for pair in HEAD_SITES}
        channels: dict[str, FixedKeep | DynamicKeep | None] = {}
        for site in CHANNEL_SITES:
            if kept[site] == shape.blocks[index].site_width(site):
                channels[site] = None
            elif schedule.selection == "calibrated":
                channels[site] = FixedKeep(
                    top_channels(statistics.importance(index, site, shape.blocks[index].site_width(site)), kept[site])
                )
            else:
                sample = _token_sample(adapter.layout(model, index), fraction, schedule.seed, index, site)
                channels[site] = DynamicKeep(kept[site], sample)
        plans.append(BlockPlan(**heads, **channels) if not entry.is_baseline else BlockPlan())
    return Plan(schedule, tuple(plans))


def head_rows(parts: BlockParts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return Q, K, V and the transposed output projection as rows of head dimensions, (H, d, D) each."""
    q, k, v = parts.qkv.weight.detach().view(3, parts.heads, parts.head_dim, -1)
    o = parts.proj.weight.detach().t().reshape(parts.heads, parts.head_dim, -1)
    return q, k, v, o


def _keep_heads(parts: BlockParts, pair: str, keep: int, schedule: Schedule) -> HeadKeep:
    q, k, v, o = (rows.float() for rows in head_rows(parts))
    sides = (q, k) if pair == "qk" else (v, o)
    first, second = pair_scores(*sides, schedule.score, schedule.coupling, pair)
    if pair == "qk" and parts.rotary is not None:
        tied = parts.rotary.pairs().to(first.device)
        return HeadKeep(*(tied[top_channels(scores[:, tied].sum(dim=2), keep)].flatten(1).sort().values for scores in (first, second)))
    return HeadKeep(top_channels(first, keep), top_channels(second, keep))


def _token_sample(layout: TokenLayout, fraction: float, seed: int, block: int, site: str) -> torch.Tensor:
    """Draw max(1, floor(fraction * P)) patch positions without replacement; the reference draws with replacement, each forward."""
    generator = torch.Generator().manual_seed((seed * 100_003 + block * 2 + (site == "fc2")) % 2**63)
    size = max(1, int(fraction * layout.patches + 1e-9))
    chosen = torch.randperm(layout.patches, generator=generator)[:size]
    return chosen.sort().values + layout.prefix
