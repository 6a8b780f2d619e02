"""Scores of feed-forward channels against explicit loops over the equations."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.families import images_for, shared_model, shared_statistics, tiny_vit
from tests.support.oracle import attend, token_score_loop, top_loop
from toast_core.pruning.importance.activations import class_attention, token_scores, top_channels
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Seeded standard normal values."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.integers(0, 4), st.integers(1, 9), st.data())
def test_scores_follow_the_equations(batch: int, prefix: int, patches: int, data: st.DataObject) -> None:
    tokens, channels = 1 + prefix + patches, 5
    x, alpha = noise(batch, tokens, channels), noise(batch, tokens, seed=1).softmax(dim=1)
    positions = range(tokens - patches, tokens)
    sample = sorted(data.draw(st.sets(st.sampled_from(positions), min_size=1)))
    weight = data.draw(st.sampled_from([0.0, 1.0, 2.0, 7.5]))
    got = token_scores(x, torch.tensor(sample), alpha, weight, patches)
    plain = token_scores(x, torch.tensor(sample), None, weight, patches)
    for image in range(batch):
        expected = token_score_loop(x[image], sample, alpha[image], weight, patches)
        assert torch.allclose(got[image].double(), expected, rtol=1e-5)
        assert torch.allclose(plain[image].double(), token_score_loop(x[image], sample, None, weight, patches), rtol=1e-5)


def test_tokens_outside_the_sample_do_not_count() -> None:
    x, alpha = noise(2, 8, 5), noise(2, 8, seed=1).softmax(dim=1)
    changed = x.clone()
    changed[:, [1, 2, 4, 5]] += 100.0  # registers 1 and 2, and patches that were not drawn
    sample = torch.tensor([3, 6, 7])
    assert torch.equal(token_scores(changed, sample, alpha, 2.0, 5), token_scores(x, sample, alpha, 2.0, 5))


def test_without_a_class_token_in_use_token_zero_does_not_count() -> None:
    x = noise(2, 8, 5)
    changed = x.clone()
    changed[:, 0] += 100.0
    sample = torch.tensor([3, 6])
    assert torch.equal(token_scores(changed, sample, None, 2.0, 5), token_scores(x, sample, None, 2.0, 5))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_the_best_channels_ascend_and_ties_go_to_the_lower_index(values: list[int], data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, len(values)))
    scores = torch.tensor(values, dtype=torch.float32)
    assert top_channels(scores, keep).tolist() == top_loop(scores, keep)
    assert top_channels(torch.stack([scores, -scores]), keep).tolist() == [top_loop(scores, keep), top_loop(-scores, keep)]


@pytest.mark.parametrize("scale", [0.2, 0.5])
def test_class_attention_is_the_row_of_the_full_map(scale: float) -> None:
    q, k = noise(2, 3, 7, 8), noise(2, 3, 7, 8, seed=1)
    full = torch.stack([torch.stack([(q[b, h] @ k[b, h].T * scale).softmax(dim=-1) for h in range(3)]) for b in range(2)])
    row = class_attention(q, k, scale)
    assert torch.allclose(row, full.mean(dim=1)[:, 0], atol=1e-6)
    assert torch.allclose(row.sum(dim=1), torch.ones(2))


def test_class_attention_in_the_block_is_timms() -> None:
    model, x = shared_model("qk_norm"), images_for("qk_norm", 2)
    block = model.blocks[0]
    with torch.inference_mode():
        tokens = model.norm_pre(model._pos_embed(model.patch_embed(x)))
        q, k, _ = block.attn.qkv(block.norm1(tokens)).reshape(2, -1, 3, 3, 8).permute(2, 0, 3, 1, 4)
        row = class_attention(block.attn.q_norm(q), block.attn.k_norm(k), block.attn.scale)
        assert torch.allclose(row, attend(block, tokens).alpha, atol=1e-6)


class TestTokenSample:
    """The patches that dynamic selection scores: drawn once, from the seed, when the plan is made."""

    @pytest.mark.parametrize(
        ("family", "prefix", "patches"),
        [
            ("plain", 1, 16), ("registers", 4, 16), ("siglip", 0, 16), ("no_embed_class", 3, 16), ("swin", 0, 196),
            ("swin_padded_windows", 0, 100),
        ],
    )
    @pytest.mark.parametrize("fraction", [0.01, 0.25, 0.3, 0.5, 1.0])
    def test_it_is_drawn_from_patches_without_replacement(self, family: str, prefix: int, patches: int, fraction: float) -> None:
        model = shared_model(family)
        blocks = 4 if family.startswith("swin") else 3
        plan = make_plan(model, Schedule.uniform(blocks, fc1=0.5, fc2=0.5, token_fraction=fraction))
        for keep in (plan.blocks[0].fc1, plan.blocks[0].fc2):
            drawn = keep.patch_idx.tolist()
            assert drawn == sorted(set(drawn))
            assert len(drawn) == max(1, int(fraction * patches + 1e-9))
            assert prefix <= drawn[0]
            assert drawn[-1] < prefix + patches

    @pytest.mark.parametrize(("family", "size"), [("plain", 1), ("swin", 39)])
    def test_the_default_fraction_is_the_familys(self, family: str, size: int) -> None:
        plan = make_plan(shared_model(family), Schedule.uniform(4 if family == "swin" else 3, fc2=0.5))
        assert len(plan.blocks[0].fc2.patch_idx) == size  # 2 % of 16, and 20 % of 196

    def test_the_whole_image_can_be_scored(self) -> None:
        plan = make_plan(shared_model("registers"), Schedule.uniform(3, fc1=0.5, token_fraction=1.0))
        assert plan.blocks[2].fc1.patch_idx.tolist() == list(range(4, 20))

    def test_same_seed_same_sample_and_another_seed_another(self) -> None:
        model = shared_model("plain")
        samples = []
        for seed in (0, 0, 1, 2):
            torch.manual_seed(len(samples))  # ambient randomness has no part in it
            plan = make_plan(model, Schedule.uniform(3, fc1=0.5, fc2=0.5, token_fraction=0.5, seed=seed))
            samples.append([keep.patch_idx.tolist() for block in plan.blocks for keep in (block.fc1, block.fc2)])
        assert samples[0] == samples[1]
        assert samples[0] != samples[2] != samples[3]

    def test_blocks_and_sites_have_their_own_samples(self) -> None:
        plan = make_plan(shared_model("plain"), Schedule.uniform(3, fc1=0.5, fc2=0.5, token_fraction=0.5))
        drawn = {tuple(keep.patch_idx.tolist()) for block in plan.blocks for keep in (block.fc1, block.fc2)}
        assert len(drawn) == 6

    def test_drawing_leaves_ambient_randomness_alone(self) -> None:
        state = torch.get_rng_state()
        make_plan(shared_model("plain"), Schedule.uniform(3, fc2=0.5))
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("seed", [2**40, 2**63 - 1], ids=["2^40", "10^30"])
    def test_every_seed_that_a_schedule_takes_can_be_drawn_from(self, seed: int) -> None:
        assert make_plan(shared_model("plain"), Schedule.uniform(3, fc2=0.5, seed=seed)).blocks[0].fc2.count == 48


def test_register_tokens_are_never_scored() -> None:
    """Statistics do not see a register's activations, however large."""
    quiet = shared_statistics("registers")
    from toast_core.pruning.statistics import collect_statistics

    model = tiny_vit(reg_tokens=3)
    handle = model.blocks[0].mlp.fc2.register_forward_pre_hook(lambda _, inputs: (inputs[0] + _bump(inputs[0], slice(1, 4)),))
    try:
        loud = collect_statistics(model, [images_for("registers", 3, seed=11), images_for("registers", 3, seed=12)])
    finally:
        handle.remove()
    assert torch.equal(loud.score_sums[0, "fc2"], quiet.score_sums[0, "fc2"])
    handle = model.blocks[0].mlp.fc2.register_forward_pre_hook(lambda _, inputs: (inputs[0] + _bump(inputs[0], slice(4, 5)),))
    try:
        patch = collect_statistics(model, [images_for("registers", 3, seed=11), images_for("registers", 3, seed=12)])
    finally:
        handle.remove()
    assert not torch.equal(patch.score_sums[0, "fc2"], quiet.score_sums[0, "fc2"])


def _bump(x: torch.Tensor, tokens: slice) -> torch.Tensor:
    bump = torch.zeros_like(x)
    bump[:, tokens] = 50.0
    return bump
