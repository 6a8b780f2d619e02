"""Masked blocks against the equations: attention with weights zeroed by hand, and the feed-forward network token by token."""

import copy

import pytest
import torch
from torch import nn

from tests.support.families import block_count, images_for, relative_error, schedule_for, shared_model, shared_statistics
from tests.support.oracle import attend, token_score_loop, top_loop, zeroed
from tests.support.tiers import over
from toast_core.models.adapters import adapter_for
from toast_core.pruning.execution.apply import apply_plan, prune_block
from toast_core.pruning.plan import HeadKeep, Plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import COUPLINGS, Schedule
from toast_core.schedule.scores import SCORES

ZEROABLE = ["plain", "layer_scale", "registers", "siglip", "no_qkv_bias", "pre_norm", "swin", "swin_padded_windows"]


def dropped(keep: HeadKeep, side: str, head_dim: int) -> torch.Tensor:
    """(H, d) true where a dimension leaves."""
    kept = getattr(keep, side)
    return torch.ones(kept.shape[0], head_dim, dtype=torch.bool).scatter_(1, kept, False)


def zero_by_hand(attn: nn.Module, plan: Plan, index: int) -> None:
    """Zero the rows and columns that the plan drops, in timm's own attention."""
    heads = attn.num_heads
    head_dim = attn.qkv.out_features // 3 // heads
    block = plan.blocks[index]
    for part, (keep, side) in enumerate([(block.qk, "first"), (block.qk, "second"), (block.vo, "first")]):
        if keep is not None:
            for head, dim in dropped(keep, side, head_dim).nonzero().tolist():
                row = (part * heads + head) * head_dim + dim
                attn.qkv.weight[row] = 0
                if attn.qkv.bias is not None:
                    attn.qkv.bias[row] = 0
    if block.vo is not None:
        for head, dim in dropped(block.vo, "second", head_dim).nonzero().tolist():
            attn.proj.weight[:, head * head_dim + dim] = 0


@pytest.mark.parametrize("coupling", COUPLINGS)
@over("family", ZEROABLE)
def test_masked_attention_is_timms_with_weights_zeroed(family: str, coupling: str) -> None:
    model, x = shared_model(family), images_for(family, 3)
    plan = make_plan(model, Schedule.uniform(block_count(model), qk=0.5, vo=0.25, coupling=coupling))
    by_hand = copy.deepcopy(model)
    with torch.no_grad():
        for index, block in enumerate(adapter_for(by_hand).blocks(by_hand)):
            zero_by_hand(block.attn, plan, index)
        assert relative_error(apply_plan(model, plan, "masked")(x), by_hand(x)) < 1e-5


@pytest.mark.parametrize("score", SCORES)
def test_each_head_keeps_its_best_scored_dimensions(score: str) -> None:
    from toast_core.pruning.importance.pairs import pair_scores

    model = shared_model("plain")
    plan = make_plan(model, Schedule.uniform(3, qk=0.5, vo=0.25, score=score))
    for block, block_plan in zip(model.blocks, plan.blocks, strict=True):
        weight, out = block.attn.qkv.weight.detach(), block.attn.proj.weight.detach()
        q, k, v = (torch.stack([weight[part * 24 + head * 8 :][:8] for head in range(3)]) for part in range(3))
        o = torch.stack([out[:, head * 8 : head * 8 + 8].T for head in range(3)])
        for keep, sides, count in ((block_plan.qk, (q, k), 4), (block_plan.vo, (v, o), 6)):
            assert keep.is_coupled
            joint, _ = pair_scores(*sides, score, "coupled", "qk")
            assert [row.tolist() for row in keep.first] == [top_loop(joint[head], count) for head in range(3)]


def test_uncoupled_sides_keep_different_dimensions() -> None:
    plan = make_plan(shared_model("plain"), Schedule.uniform(3, qk=0.5, coupling="uncoupled"))
    assert not all(block.qk.is_coupled for block in plan.blocks)


@pytest.mark.parametrize("selection", ["per_image", "per_batch"])
@over("family", ["plain", "layer_scale", "qk_norm", "registers", "siglip", "average_pooled", "no_embed_class"])
def test_a_dynamic_block_follows_the_equations(family: str, selection: str) -> None:
    model, adapter = shared_model(family), adapter_for(shared_model(family))
    schedule = schedule_for(model, selection, qk=0.5, vo=0.25, fc1=0.4, fc2=0.7, class_weight=3.0)
    plan = make_plan(model, schedule)
    layout, block_plan, block = adapter.layout(model, 0), plan.blocks[0], model.blocks[0]
    has_class = layout.has_class_token
    assert has_class == (family not in ("siglip", "average_pooled"))
    with torch.inference_mode():
        x = adapter.embed(model, images_for(family, 3)).double()
        block = copy.deepcopy(block).double()
        halves = attend(block, x, dropped(block_plan.qk, "first", 8), dropped(block_plan.vo, "first", 8))
        alpha = halves.alpha.mean(dim=0, keepdim=True).expand_as(halves.alpha) if selection == "per_batch" else halves.alpha

        def choose(values: torch.Tensor, keep: object) -> list[list[int]]:
            scores = [
                token_score_loop(values[image], keep.patch_idx.tolist(), alpha[image] if has_class else None, 3.0, layout.patches)
                for image in range(len(values))
            ]
            if selection == "per_batch":
                scores = [sum(scores) / len(scores)] * len(scores)
            return [top_loop(score, keep.count) for score in scores]

        stream = torch.stack([zeroed(row, kept) for row, kept in zip(halves.stream, choose(halves.stream, block_plan.fc1), strict=True)])
        hidden = halves.hidden(stream)
        hidden = torch.stack([zeroed(row, kept) for row, kept in zip(hidden, choose(hidden, block_plan.fc2), strict=True)])
        expected = halves.out(stream, hidden)
        for execution in ("masked", "compact"):
            got = prune_block(block, layout, block_plan, plan, adapter, execution)(x)
            assert relative_error(got, expected) < 1e-6, execution


@pytest.mark.parametrize("family", ["plain", "registers", "siglip"])
def test_a_calibrated_block_follows_the_equations(family: str) -> None:
    model, adapter = shared_model(family), adapter_for(shared_model(family))
    plan = make_plan(model, schedule_for(model, "calibrated", fc1=0.4, fc2=0.7), shared_statistics(family))
    block_plan, block = plan.blocks[0], model.blocks[0]
    with torch.inference_mode():
        x = adapter.embed(model, images_for(family, 3))
        halves = attend(block, x)
        stream = zeroed(halves.stream, block_plan.fc1.idx.tolist())
        expected = halves.out(stream, zeroed(halves.hidden(stream), block_plan.fc2.idx.tolist()))
        for execution in ("masked", "compact"):
            got = prune_block(block, adapter.layout(model, 0), block_plan, plan, adapter, execution)(x)
            assert relative_error(got, expected) < 1e-5, execution


def test_compact_holds_what_stays_and_masked_keeps_every_shape() -> None:
    model = shared_model("plain")
    plan = make_plan(model, schedule_for(model, "calibrated", qk=0.5, vo=0.25, fc1=0.5, fc2=0.75), shared_statistics("plain"))
    compact, masked = (apply_plan(model, plan, execution).blocks[1] for execution in ("compact", "masked"))
    assert compact.attn.qkv.weight.shape == (3 * (4 + 4 + 6), 24)
    assert compact.attn.proj.weight.shape == (24, 3 * 6)
    assert compact.enter.weight.shape == (24, 12)
    assert compact.leave.fc2.weight.shape == (24, 24)
    assert masked.attn.qkv.weight.shape == (72, 24)
    assert masked.attn.proj.weight.shape == (24, 24)
    assert masked.enter.fc1.weight.shape == (96, 24)
    assert masked.leave.fc2.weight.shape == (24, 96)
    assert compact.attn.scale == masked.attn.scale == 8**-0.5


@pytest.mark.parametrize("options", [{"attn_drop_rate": 0.3}, {"proj_drop_rate": 0.3}, {"drop_path_rate": 0.5}])
def test_dropout_and_drop_path_are_honoured_in_training(options: dict) -> None:
    from tests.support.families import tiny_vit

    model, x = tiny_vit(**options), images_for("plain", 6)
    new = apply_plan(model, make_plan(model, schedule_for(model, qk=0.25, fc2=0.25)), "compact")
    with torch.no_grad():
        assert torch.equal(new(x), new(x))
        new.train()
        torch.manual_seed(0)
        first = new(x)
        assert relative_error(new(x), first) > 1e-3
        torch.manual_seed(0)
        assert torch.equal(new(x), first)


def test_patch_dropout_in_training_is_honoured() -> None:
    from tests.support.families import tiny_vit

    model = tiny_vit(patch_drop_rate=0.5)
    new = apply_plan(model, make_plan(model, schedule_for(model, fc1=0.25, fc2=0.25)), "compact").train()
    assert new(images_for("plain", 2)).isfinite().all()


@pytest.mark.parametrize("execution", ["masked", "compact"])
@pytest.mark.parametrize("selection", ["per_batch", "per_image", "calibrated"])
def test_bfloat16_runs_close_to_float32(selection: str, execution: str) -> None:
    model, x = shared_model("plain"), images_for("plain", 3)
    new = apply_plan(model, make_plan(model, schedule_for(model, selection, qk=0.25, vo=0.25), shared_statistics("plain")), execution)
    with torch.inference_mode():
        low = copy.deepcopy(new).to(torch.bfloat16)(x.bfloat16())
        assert low.dtype == torch.bfloat16
        assert relative_error(low.float(), new(x)) < 0.1
    new = apply_plan(model, make_plan(model, schedule_for(model, selection, fc1=0.25, fc2=0.5), shared_statistics("plain")), execution)
    with torch.inference_mode():
        assert new.to(torch.bfloat16)(x.bfloat16()).isfinite().all()
