"""Compensated models: never worse than selection where they were fitted, one function masked and compact, saved as they are."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.families import ALL, block_count, images_for, relative_error, schedule_for, shared_model
from tests.support.tiers import over
from toast_core.compensation.one_shot import one_shot_sums
from toast_core.compensation.plan import plan_on
from toast_core.compensation.walk import compensate, score_channels, uncompensated
from toast_core.cost.macs import count_cost, kept_counts
from toast_core.errors import DataError, PlanError
from toast_core.loading import load_model, save_model
from toast_core.models import adapters
from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan, prune_block
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import collect_statistics
from toast_core.schedule.compensation import CALIBRATIONS, FULL, Compensation
from toast_core.schedule.schedule import Schedule

FAMILIES = over("name", [family.name for family in ALL])
SOME_NAMES = ("plain", "layer_scale", "qk_norm", "registers", "no_proj_bias", "swin", "swin_padded_windows")
SOME = over("name", SOME_NAMES)
NORMALISED = ("qk_norm", "everything")
TURNED = ("eva02_fused", "eva02", "dinov3", "dinov3_plus", "perception_encoder")


def calibration(name: str) -> list[torch.Tensor]:
    """Two batches of the family's images."""
    return [images_for(name, 6, seed=21), images_for(name, 5, seed=22)]


def asked(name: str, wants: Compensation = FULL, **ratios: float) -> Schedule:
    """The same ratios in every block of a family's model, compensated."""
    return schedule_for(shared_model(name), "calibrated", compensation=wants, **ratios)


@cache
def full_plan(name: str) -> Plan:
    """Everything pruned and everything compensated, made once for all tests."""
    with torch.inference_mode(False):
        return compensate(shared_model(name), asked(name, qk=0.5, vo=0.3, fc1=0.2, fc2=0.6), calibration(name))


def block_outputs(model: nn.Module, images: list[torch.Tensor]) -> list[torch.Tensor]:
    """Every block's output for image batches, all tokens in one, float64 (T, D)."""
    adapter = next(adapter for adapter in adapters.FAMILIES.values() if type(model) is adapter.model_class)
    found: list[list[torch.Tensor]] = [[] for _ in adapter.blocks(model)]
    hooks = [
        block.register_forward_hook(lambda _, __, out, own=own: own.append(out.double().flatten(0, -2)))
        for block, own in zip(adapter.blocks(model), found, strict=True)
    ]
    with torch.inference_mode():
        for batch in images:
            model(batch)
    for hook in hooks:
        hook.remove()
    return [torch.cat(own) for own in found]


def squared_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean over tokens of the squared distance."""
    return float((one - other).square().sum(dim=1).mean())


@FAMILIES
def test_compact_is_masked(name: str) -> None:
    model, x, plan = shared_model(name), images_for(name, 3, seed=7), full_plan(name)
    with torch.inference_mode():
        masked, compact = (apply_plan(model, plan, execution)(x) for execution in ("masked", "compact"))
    assert relative_error(compact, masked) < 1e-4
    assert relative_error(masked, model(x)) > 1e-3


@FAMILIES
def test_shapes_and_cost_are_those_of_pruning(name: str) -> None:
    model, plan = shared_model(name), full_plan(name)
    compact = apply_plan(model, plan, "compact")
    assert sum(value.numel() for value in compact.parameters()) == count_cost(get_info(model).shape, plan.schedule).params


@FAMILIES
def test_across_a_norm_qk_falls_back_and_says_so(name: str) -> None:
    notes, blocks = full_plan(name).notes, block_count(shared_model(name))
    why = "q and k are normalised" if name in NORMALISED else "rotary embeddings turn q and k" if name in TURNED else ""
    heads = [f"block {block}: {why}, so qk keeps a selection of its dimensions" for block in range(blocks)] if why else []
    hidden = [f"block {block}: the hidden layer is normalised, so fc2 is not refitted" for block in range(blocks)]
    assert sorted(notes) == sorted(heads + (hidden if name == "eva02" else []))
    if heads:
        model = shared_model(name)
        plain = make_plan(model, asked(name, Compensation(), qk=0.5), collect_statistics(model, calibration(name)))
        assert torch.equal(full_plan(name).blocks[0].qk.first, plain.blocks[0].qk.first)


@SOME
@pytest.mark.parametrize("calibrated", CALIBRATIONS)
def test_ratios_of_zero_are_the_baseline(name: str, calibrated: str) -> None:
    model, x = shared_model(name), images_for(name)
    plan = compensate(model, asked(name, Compensation("fold", "project", calibrated)), calibration(name))
    assert all(block.is_baseline for block in plan.blocks)
    with torch.inference_mode():
        assert torch.equal(apply_plan(model, plan, "compact")(x), model(x))


@SOME
@pytest.mark.parametrize("site", ["qk", "vo", "fc2"])
@pytest.mark.parametrize("calibrated", CALIBRATIONS)
def test_one_pruned_block_errs_less_than_by_selection(name: str, site: str, calibrated: str) -> None:
    """The output of the block itself, over the calibration tokens: what the fit is to bring back."""
    model, last = shared_model(name), block_count(shared_model(name)) - 1
    plain = Schedule.uniform(last + 1, selection="calibrated").with_ratio(last, site, 0.5)
    wants = Compensation("fold", "project", calibrated)
    schedule = Schedule(plain.blocks, selection="calibrated", compensation=wants)
    selected = make_plan(model, plain, collect_statistics(model, calibration(name)))
    plans = {"selected": selected, "compensated": compensate(model, schedule, calibration(name))}
    goal = block_outputs(model, calibration(name))[last]
    errors = {
        label: squared_distance(block_outputs(apply_plan(model, plan, "masked"), calibration(name))[last], goal)
        for label, plan in plans.items()
    }
    if site == "qk" and (name in NORMALISED or calibrated == "one_shot"):
        assert errors["compensated"] <= 1.05 * errors["selected"], "a projection of q and k serves the logits, not the output"
    else:
        assert errors["compensated"] <= errors["selected"] * (1 + 1e-6)


@SOME
@pytest.mark.parametrize("ffn", ["bias", "fold"])
def test_folding_repairs_more_than_a_bias_and_a_bias_more_than_nothing(name: str, ffn: str) -> None:
    model = shared_model(name)
    goal = block_outputs(model, calibration(name))[0]

    def error(wants: Compensation) -> float:
        schedule = asked(name, wants).with_ratio(0, "fc2", 0.6)
        plan = plan_on(model, schedule, calibration(name))
        return squared_distance(block_outputs(apply_plan(model, plan, "masked"), calibration(name))[0], goal)

    less = {"bias": Compensation(), "fold": Compensation("bias")}[ffn]
    assert error(Compensation(ffn)) <= error(less) * 1.001


@pytest.mark.wide
def test_error_correction_ends_nearer_to_the_baseline() -> None:
    """After the last block, on the calibration images. Block by block it is guaranteed; at the end of the model it takes images."""
    shares = []
    for name in SOME_NAMES:
        model, images = shared_model(name), [images_for(name, 8, seed=seed) for seed in range(40, 44)]
        goal, errors = block_outputs(model, images)[-1], {}
        for calibrated in ("one_shot", "error_correcting"):
            plan = compensate(model, asked(name, Compensation("fold", "project", calibrated), vo=0.3, fc2=0.5), images)
            errors[calibrated] = squared_distance(block_outputs(apply_plan(model, plan, "masked"), images)[-1], goal)
        shares.append(errors["error_correcting"] / errors["one_shot"])
    assert max(shares) < 1
    assert sum(shares) / len(shares) < 0.95


@SOME
@pytest.mark.parametrize(("site", "ratio"), [("qk", 0.5), ("vo", 0.3), ("fc2", 0.6), ("fc2", 0.2)])
def test_shared_sums_give_what_one_shot_calibration_gives(name: str, site: str, ratio: float) -> None:
    model, images = shared_model(name), calibration(name)
    shape, x = get_info(model).shape, images_for(name, 3, seed=9)
    for sums in one_shot_sums(model, images):
        schedule = asked(name, Compensation("fold", "project", "one_shot")).with_ratio(sums.index, site, ratio)
        whole, selected = compensate(model, schedule, images), uncompensated(model, schedule, score_channels(model, schedule, images))
        kept = kept_counts(shape.blocks[sums.index], schedule, sums.index)
        block = sums.compensated(selected.blocks[sums.index], kept, schedule.compensation)
        blocks = [*selected.blocks]
        blocks[sums.index] = block
        with torch.inference_mode():
            one, other = (apply_plan(model, plan, "masked")(x) for plan in (whole, Plan(schedule, tuple(blocks))))
        assert relative_error(other, one) < 1e-4


@pytest.mark.wide
@pytest.mark.parametrize("execution", ["masked", "compact"])
@pytest.mark.parametrize("name", ["demo_vit", "demo_swin"])
def test_a_saved_compensated_model_is_the_same(tmp_path: Path, name: str, execution: str) -> None:
    model = load_model(name, weights="random", seed=3)
    images = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    schedule = Schedule.uniform(12, qk=0.5, vo=0.25, fc1=0.2, fc2=0.7, selection="calibrated", compensation=FULL).with_ratio(5, "fc2", 0)
    pruned = apply_plan(model, compensate(model, schedule, [images]), execution)
    save_model(pruned, tmp_path / "m.safetensors")
    again = load_model(weights=tmp_path / "m.safetensors")
    with torch.inference_mode():
        assert torch.equal(again(images), pruned(images))
    assert get_info(again).schedule == schedule


def test_the_original_stays_as_it_is_and_the_plan_repeats() -> None:
    model = shared_model("plain")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plans = [compensate(model, asked("plain", qk=0.5, vo=0.5, fc2=0.5), calibration("plain")) for _ in range(2)]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for one, other in zip(plans[0].blocks, plans[1].blocks, strict=True):
        assert all(torch.equal(one.weights[key], other.weights[key]) for key in one.weights)
        assert not any(value.requires_grad for value in one.weights.values())


def test_an_empty_plan_gives_the_block_itself() -> None:
    model, adapter, x = shared_model("plain"), adapter_for(shared_model("plain")), torch.randn(2, 17, 24)
    plan = Plan(Schedule.uniform(3), (BlockPlan(),) * 3)
    with torch.inference_mode():
        whole = prune_block(adapter.blocks(model)[1], adapter.layout(model, 1), BlockPlan(), plan, adapter, "masked")
        assert relative_error(whole(x), adapter.blocks(model)[1](x)) < 1e-5


def test_progress_is_told_block_by_block() -> None:
    told = []
    compensate(shared_model("plain"), asked("plain", fc2=0.5), calibration("plain"), lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_what_cannot_be_is_refused() -> None:
    model = shared_model("plain")
    with pytest.raises(PlanError, match="the schedule asks for no compensation; use make_plan, or set its compensation"):
        compensate(model, asked("plain", Compensation(), fc2=0.5), calibration("plain"))
    with pytest.raises(DataError, match="there are no calibration images; give a data set with at least one readable image"):
        compensate(model, asked("plain", fc2=0.5), [])
    pruned = apply_plan(model, make_plan(model, Schedule.uniform(3, qk=0.5)))
    with pytest.raises(PlanError, match="is already pruned"):
        compensate(pruned, asked("plain", fc2=0.5), calibration("plain"))
