"""Rotary embeddings: which dimensions are tied, that pairs leave together, and what files keep of it."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.support.families import EVERY_SITE, images_for, relative_error, schedule_for, shared_model, shared_statistics
from toast_core.errors import ModelError, PlanError
from toast_core.loading import load_model, save_model
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.rotary import Rotation, rope_giver
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule

TURNED = ("eva02", "dinov3")
TINY = "vit_tiny_patch16_dinov3_qkvb"


def rotation(half: bool) -> Rotation:
    """Of three places and six dimensions, in timm's layout: the same angle in both dimensions of a pair."""
    angles = torch.arange(1.0, 10.0).view(3, 3)
    angles = torch.cat([angles, angles], 1) if half else angles.repeat_interleave(2, 1)
    return Rotation(torch.cat([angles.sin(), angles.cos()], 1), 2, half)


@pytest.mark.parametrize(("half", "expected"), [(True, [[0, 3], [1, 4], [2, 5]]), (False, [[0, 1], [2, 3], [4, 5]])])
def test_pairs_are_those_that_turn_together(half: bool, expected: list) -> None:
    turn = rotation(half)
    assert turn.pairs().tolist() == expected
    for first, second in expected:
        x = torch.zeros(1, 1, 5, 6)
        x[..., first] = 1.0
        moved = turn(x)[0, 0, 2:].abs().sum(dim=0).nonzero().flatten().tolist()
        assert moved == [first, second]


@pytest.mark.parametrize("half", [True, False])
def test_what_is_left_turns_as_before(half: bool) -> None:
    turn, x = rotation(half), torch.randn(2, 2, 5, 6)
    keep = torch.stack([turn.pairs()[[0, 2]].flatten().sort().values, turn.pairs()[[1, 2]].flatten().sort().values])
    kept = x.gather(3, keep.view(1, 2, 1, 4).expand(2, 2, 5, 4))
    assert torch.allclose(turn.keeping(keep)(kept), turn(x).gather(3, keep.view(1, 2, 1, 4).expand(2, 2, 5, 4)))
    batched = turn.table.expand(2, 1, 3, 12)
    assert torch.allclose(turn.keeping(keep)(kept, batched), turn.keeping(keep)(kept))
    assert torch.equal(turn(x)[:, :, :2], x[:, :, :2])  # prefix tokens stay


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("coupling", ["coupled", "average", "q_only"])
def test_whole_pairs_leave(name: str, coupling: str) -> None:
    model = shared_model(name)
    plan = make_plan(model, schedule_for(model, "calibrated", qk=0.5, coupling=coupling), shared_statistics(name))
    tied = adapter_for(model).parts(adapter_for(model).blocks(model)[0]).rotary.pairs().tolist()
    for block in plan.blocks:
        for row in block.qk.first.tolist():
            assert row == sorted(row) and len(row) == 4  # of 8 dimensions
            assert all((first in row) is (second in row) for first, second in tied)


@pytest.mark.parametrize("name", TURNED)
def test_a_block_runs_by_itself_as_in_its_model(name: str) -> None:
    model, x = copy.deepcopy(shared_model(name)), images_for(name)
    adapter, seen = adapter_for(model), {}
    blocks = adapter.blocks(model)
    assert adapter.blocks(model) and all(rope_giver(block) is not None for block in blocks)
    assert all(len(block._forward_pre_hooks) == 1 for block in blocks)
    hook = blocks[0].register_forward_hook(lambda _, inputs, output: seen.update(x=inputs[0], y=output))
    with torch.inference_mode():
        model(x)
        hook.remove()
        assert torch.equal(blocks[0](seen["x"]), seen["y"])


def test_a_copy_takes_its_own_embedding(name: str = "dinov3") -> None:
    model = shared_model(name)
    adapter_for(model).blocks(model)
    twin = copy.deepcopy(model)
    giver = rope_giver(twin.blocks[0])
    assert giver.rope is twin.rope and giver.rope is not model.rope


def test_a_mask_is_refused() -> None:
    model = shared_model("dinov3")
    pruned = apply_plan(model, make_plan(model, schedule_for(model, vo=0.5)))
    with pytest.raises(PlanError, match="a pruned block attends without a mask"):
        pruned(images_for("dinov3"), is_causal=True)


@pytest.mark.parametrize("execution", ["masked", "compact"])
@pytest.mark.parametrize("selection", ["calibrated", "per_image"])
def test_a_pruned_file_is_read_again(tmp_path: Path, execution: str, selection: str) -> None:
    model = load_model(TINY, weights="random", img_size=64, num_classes=5)
    x = torch.randn(2, 3, 64, 64)
    schedule = Schedule.uniform(len(get_info(model).shape.blocks), selection=selection, token_fraction=0.5, **EVERY_SITE)
    statistics = None
    if selection == "calibrated":
        from toast_core.pruning.statistics import collect_statistics

        statistics = collect_statistics(model, [x])
    pruned = apply_plan(model, make_plan(model, schedule, statistics), execution)
    save_model(pruned, tmp_path / "p.safetensors")
    again = load_model(weights=tmp_path / "p.safetensors")
    with torch.inference_mode():
        assert torch.equal(again(x), pruned(x))
        assert relative_error(pruned(x), model(x)) > 1e-3


def test_a_damaged_pair_is_refused(tmp_path: Path) -> None:
    model = load_model(TINY, weights="random", img_size=32, num_classes=5)
    save_model(apply_plan(model, make_plan(model, Schedule.uniform(len(get_info(model).shape.blocks), qk=0.5))), tmp_path / "p.safetensors")
    state = load_file(tmp_path / "p.safetensors")
    state["blocks.3.attn.rotary.keep"][1, 2] = 64
    with safe_open(tmp_path / "p.safetensors", "pt") as file:
        metadata = file.metadata()
    save_file(state, tmp_path / "p.safetensors", metadata)
    with pytest.raises(ModelError, match=r"damaged index blocks.3.attn.rotary.keep: it must ascend below 64"):
        load_model(weights=tmp_path / "p.safetensors")


def test_a_checkpoint_fills_the_model_with_equal_logits(tmp_path: Path) -> None:
    original = load_model(TINY, weights="random", img_size=64, num_classes=5, seed=4)
    save_file(original.state_dict(), tmp_path / "w.safetensors")
    model, x = load_model(TINY, weights=tmp_path / "w.safetensors", img_size=64), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(x), original(x))
