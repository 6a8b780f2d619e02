"""Cost: the published budgets, one formula an operation, and torch's own count of the nine published architectures."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.support.families import CASES, macs_without_slots
from tests.support.tiers import tier_of
from toast_core.cost.macs import count_cost, kept_counts
from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.errors import ScheduleError
from toast_core.loading import load_model
from toast_core.models.adapters import adapter_for
from toast_core.models.counting import count_macs
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.plan import BlockPlan, FixedKeep, HeadKeep, Plan
from toast_core.schedule.presets import get_preset
from toast_core.schedule.rounding import keep_count
from toast_core.schedule.schedule import SELECTIONS, Schedule

PUBLISHED = json.loads(Path(__file__).with_name("published_gmacs.json").read_text())["models"]
SCHEDULES = [(row["model"], name, gmacs) for row in PUBLISHED for name, gmacs in row["schedules"].items()]
SHAPE = ModelShape(
    "by_hand", "vit",
    tuple(
        BlockShape(
            tokens=5, attention_tokens=5, keys=5, width=12, heads=3, head_dim=4, hidden=40, stage=0, qkv_bias=True, qk_norm=False,
            fc1_bias=True, fixed_params=48,
        )
        for _ in range(2)
    ),
    patches=4, image_size=8, num_classes=3, embed_macs=100, merge_macs=7, head_macs=36, other_params=11,
)


@cache
def meta_model(name: str) -> nn.Module:
    """A published architecture, shapes only."""
    return load_model(name, weights="none")


class TestPublishedBudgets:
    """GMACs of the published schedules to the third decimal."""

    def test_all_twenty_are_there(self) -> None:
        assert len(PUBLISHED) == 9
        assert len(SCHEDULES) == 20

    @pytest.mark.parametrize(("model", "gmacs"), [(row["model"], row["baseline"]) for row in PUBLISHED])
    def test_baseline(self, model: str, gmacs: float) -> None:
        assert count_macs(meta_model(model)) / 1e9 == pytest.approx(gmacs, abs=0.001)

    @pytest.mark.parametrize(("model", "name", "gmacs"), SCHEDULES)
    def test_schedule(self, model: str, name: str, gmacs: float) -> None:
        schedule = get_preset(f"{model}@{name}").schedule
        assert count_macs(meta_model(model), schedule) / 1e9 == pytest.approx(gmacs, abs=0.001)
        assert count_macs(get_info(meta_model(model)).shape, schedule) == count_macs(meta_model(model), schedule)

    @pytest.mark.parametrize(("model", "name", "gmacs"), SCHEDULES)
    def test_calibrated_selection_never_costs_more(self, model: str, name: str, gmacs: float) -> None:
        schedule = get_preset(f"{model}@{name}").schedule
        fixed = Schedule(schedule.blocks, selection="calibrated")
        assert count_macs(meta_model(model), fixed) < count_macs(meta_model(model), schedule)


class TestAgainstTorch:
    """The analytic count of compact models against FlopCounterMode, on the meta device."""

    @pytest.mark.parametrize("row", [
        pytest.param(row, id=row["model"], marks=tier_of(row["model"], ("deit_tiny_patch16_224", "swin_tiny_patch4_window7_224")))
        for row in PUBLISHED
    ])
    @pytest.mark.parametrize("ratios", [{}, {"qk": 0.9, "vo": 0.6, "fc2": 0.7}], ids=["baseline", "compact"])
    def test_macs_and_parameters(self, row: dict, ratios: dict) -> None:
        model = load_model(row["model"], weights="none")
        info, adapter = get_info(model), adapter_for(model)
        schedule = Schedule.uniform(len(info.shape.blocks), selection="calibrated", **ratios)
        plan = Plan(schedule, tuple(_first_channels(info.shape, schedule, index) for index in range(len(info.shape.blocks))))
        layouts = [adapter.layout(model, index) for index in range(len(plan.blocks))]
        if ratios:
            for index, block in enumerate(adapter.blocks(model)):
                adapter.replace_block(model, index, prune_block(block, layouts[index], plan.blocks[index], plan, adapter, "compact"))
        cost = count_cost(info.shape, schedule)
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            logits = model(torch.empty(1, 3, 224, 224))
        assert logits.shape == (1, 1000)
        assert counter.get_total_flops() / 2 == pytest.approx(cost.macs, rel=1e-3)
        assert counter.get_total_flops() / 2 == pytest.approx(macs_without_slots(model, cost.macs), rel=1e-9)
        assert sum(value.numel() for value in model.parameters()) == cost.params


def _first_channels(shape: ModelShape, schedule: Schedule, index: int) -> BlockPlan:
    kept, block = kept_counts(shape.blocks[index], schedule, index), shape.blocks[index]
    heads = {pair: torch.arange(kept[pair]).expand(block.heads, -1) for pair in ("qk", "vo")}
    return BlockPlan(**{pair: HeadKeep(idx, idx) for pair, idx in heads.items()}, fc2=FixedKeep(torch.arange(kept["fc2"])))


class TestFormulas:
    """Small integers, worked by hand."""

    def test_a_baseline_block(self) -> None:
        block = count_cost(SHAPE).blocks[0]
        assert block.attention_macs == 4 * 5 * 12**2 + 2 * 5**2 * 12
        assert block.ffn_macs == 2 * 5 * 12 * 40
        assert block.macs == block.attention_macs + block.ffn_macs
        assert block.params == 3 * 12 * 12 + 36 + 12 * 12 + 2 * 12 + 12 * 40 + 40 + 40 * 12 + 48

    def test_a_model_adds_what_lies_outside_its_blocks(self) -> None:
        cost = count_cost(SHAPE)
        assert cost.macs == 2 * cost.blocks[0].macs + 100 + 7 + 36
        assert cost.params == 2 * cost.blocks[0].params + 11

    @pytest.mark.parametrize("site", ["qk", "vo"])
    def test_half_the_dimensions_of_a_pair_halve_its_half_of_attention(self, site: str) -> None:
        full, half = count_cost(SHAPE), count_cost(SHAPE, Schedule.uniform(2, **{site: 0.5}))
        assert half.blocks[0].attention_macs * 4 == full.blocks[0].attention_macs * 3
        assert half.blocks[0].ffn_macs == full.blocks[0].ffn_macs

    @pytest.mark.parametrize(("fc1", "fc2"), [(0.5, 0.0), (0.0, 0.5), (0.25, 0.75), (0.3, 0.9)])
    def test_dynamic_selection_counts_the_fractions_kept(self, fc1: float, fc2: float) -> None:
        for selection in ("per_batch", "per_image"):
            cost = count_cost(SHAPE, Schedule.uniform(2, fc1=fc1, fc2=fc2, selection=selection))
            assert cost.blocks[1].ffn_macs == round(5 * 12 * 40 * ((1 - fc1) + (1 - fc2)))

    @pytest.mark.parametrize(("fc1", "fc2"), [(0.5, 0.0), (0.0, 0.5), (0.25, 0.75), (0.3, 0.9)])
    def test_calibrated_selection_counts_the_channels_kept(self, fc1: float, fc2: float) -> None:
        cost = count_cost(SHAPE, Schedule.uniform(2, fc1=fc1, fc2=fc2, selection="calibrated"))
        inputs, hidden = keep_count(12, fc1), keep_count(40, fc2)
        assert cost.blocks[1].ffn_macs == 5 * (inputs * hidden + hidden * 12)

    def test_a_multiple_is_counted_as_it_runs(self) -> None:
        cost = count_cost(SHAPE, Schedule.uniform(2, fc1=0.5, fc2=0.5, multiple_of=8, selection="per_image"))
        assert cost.blocks[0].ffn_macs == 5 * (8 * 40 + 24 * 12)

    def test_memory_is_that_of_the_largest_block(self) -> None:
        cost = count_cost(SHAPE)
        assert cost.blocks[0].activation_values == 5 * 12 + max(5 * 4 * 12, 5 * 2 * 40)
        assert cost.peak_activation_bytes() == 4 * (60 + 400)
        assert cost.peak_activation_bytes(value_bytes=2, batch_size=3) == 6 * (60 + 400)
        assert count_cost(
            SHAPE, Schedule.uniform(2, fc2=0.9, selection="calibrated")
        ).peak_activation_bytes() < cost.peak_activation_bytes()

    @given(st.sampled_from(list(SELECTIONS)), st.sampled_from(list(CASES)), st.floats(0, 0.99), st.floats(0, 0.99))
    def test_pruning_more_never_costs_more_macs(self, selection: str, case: str, first: float, second: float) -> None:
        low, high = sorted((first, second))
        cheap, dear = (
            count_cost(SHAPE, Schedule.uniform(2, selection=selection, **dict.fromkeys(CASES[case], ratio))).macs for ratio in (high, low)
        )
        assert cheap <= dear <= count_cost(SHAPE).macs

    def test_a_schedule_of_another_length(self) -> None:
        with pytest.raises(ScheduleError, match="the schedule has 3 blocks but by_hand has 2; use a schedule made for this model"):
            count_cost(SHAPE, Schedule.uniform(3))

    def test_shapes_survive_json(self) -> None:
        assert ModelShape.from_dict(json.loads(json.dumps(SHAPE.to_dict()))) == SHAPE

    def test_what_only_some_families_have_is_written_for_those_alone(self) -> None:
        turned = replace(SHAPE, blocks=tuple(replace(block, qk_tied=2, gated=True, key_bias=False) for block in SHAPE.blocks))
        assert set(turned.to_dict()["blocks"][0]) - set(SHAPE.to_dict()["blocks"][0]) == {"qk_tied", "gated", "key_bias"}
        assert ModelShape.from_dict(json.loads(json.dumps(turned.to_dict()))) == turned

    def test_tied_dimensions_are_counted_in_pairs(self) -> None:
        turned = replace(SHAPE, blocks=tuple(replace(block, qk_tied=2) for block in SHAPE.blocks))
        assert turned.blocks[0].site_width("qk") == 2
        half = Schedule.uniform(2, qk=0.5)
        assert kept_counts(turned.blocks[0], half, 0)["qk"] == 1
        assert count_cost(turned, half).blocks[0].attention_macs == count_cost(SHAPE, half).blocks[0].attention_macs

    @pytest.mark.parametrize(("site", "width"), [("qk", 4), ("vo", 4), ("fc1", 12), ("fc2", 40)])
    def test_a_site_chooses_among_its_width(self, site: str, width: int) -> None:
        assert SHAPE.blocks[0].site_width(site) == width
        assert kept_counts(SHAPE.blocks[0], Schedule.uniform(1, **{site: 0.5}), 0)[site] == width // 2
