"""Plans and their application: what is refused, and what is left alone."""

import copy
import dataclasses

import pytest
import torch

from tests.support.families import images_for, schedule_for, shared_model, shared_statistics
from toast_core.cost.macs import count_cost
from toast_core.errors import PlanError, ScheduleError, ToastError
from toast_core.models.counting import count_macs
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.plan import BlockPlan, DynamicKeep, FixedKeep, Plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import SELECTIONS, Schedule

MODEL = "plain"


def test_a_plan_follows_the_selection_mode() -> None:
    model = shared_model(MODEL)
    for selection in SELECTIONS:
        plan = make_plan(model, schedule_for(model, selection, fc1=0.5, fc2=0.25), shared_statistics(MODEL))
        kind = FixedKeep if selection == "calibrated" else DynamicKeep
        for block in plan.blocks:
            assert isinstance(block.fc1, kind)
            assert isinstance(block.fc2, kind)
            assert block.qk is block.vo is None
        counts = (plan.blocks[0].fc1, plan.blocks[0].fc2)
        assert [len(keep.idx) if kind is FixedKeep else keep.count for keep in counts] == [12, 72]


def test_multiples_round_kept_counts_up() -> None:
    model = shared_model(MODEL)
    block = make_plan(model, schedule_for(model, "per_image", qk=0.9, vo=0.3, fc1=0.9, fc2=0.9, multiple_of=4)).blocks[0]
    assert (block.qk.first.shape, block.vo, block.fc1.count, block.fc2.count) == ((3, 4), None, 4, 12)  # vo: 5 of 8, rounded up to all


def test_a_ratio_that_drops_nothing_leaves_timms_block() -> None:
    model = shared_model(MODEL)
    pruned = apply_plan(model, make_plan(model, schedule_for(model, qk=0.1, multiple_of=8)), "compact")
    with torch.inference_mode():
        assert torch.allclose(pruned(images_for(MODEL)), shared_model(MODEL)(images_for(MODEL)), atol=1e-5)


def test_blocks_that_are_not_pruned_stay_timms_own() -> None:
    model = shared_model(MODEL)
    pruned = apply_plan(model, make_plan(model, Schedule.uniform(3).with_ratio(1, "fc2", 0.5)))
    assert [isinstance(block, PrunedBlock) for block in pruned.blocks] == [False, True, False]


def test_making_a_plan_changes_nothing() -> None:
    model = copy.deepcopy(shared_model(MODEL))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first, second = (make_plan(model, schedule_for(model, "calibrated", qk=0.5, fc2=0.5), shared_statistics(MODEL)) for _ in range(2))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(
        torch.equal(a.fc2.idx, b.fc2.idx) and torch.equal(a.qk.first, b.qk.first) for a, b in zip(first.blocks, second.blocks, strict=True)
    )


def test_a_plan_is_frozen() -> None:
    plan = make_plan(shared_model(MODEL), Schedule.uniform(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.schedule = Schedule.uniform(3)
    assert all(block.is_baseline for block in plan.blocks)


def test_the_info_says_what_was_done() -> None:
    model, schedule = shared_model(MODEL), schedule_for(shared_model(MODEL), "calibrated", fc2=0.5)
    pruned = apply_plan(model, make_plan(model, schedule, shared_statistics(MODEL)), "masked")
    info = get_info(pruned)
    assert (info.execution, info.schedule, info.name) == ("masked", schedule, "VisionTransformer")
    assert count_macs(pruned) == count_cost(info.shape, schedule).macs < count_macs(model)
    assert count_macs(pruned, Schedule.uniform(3)) == count_macs(model)


class TestRefusals:
    """Each with what to do instead."""

    def test_a_schedule_of_another_length(self) -> None:
        with pytest.raises(
            ScheduleError, match="the schedule has 12 blocks but VisionTransformer has 3; use a schedule made for this model"
        ):
            make_plan(shared_model(MODEL), Schedule.uniform(12))

    @pytest.mark.parametrize("execution", ["masked", "compact"])
    def test_a_model_that_is_already_pruned(self, execution: str) -> None:
        model = shared_model(MODEL)
        plan = make_plan(model, schedule_for(model, fc2=0.5))
        pruned = apply_plan(model, plan, execution)
        with pytest.raises(PlanError, match=rf"is already pruned \({execution}\); make the plan from the baseline model"):
            make_plan(pruned, schedule_for(model, fc2=0.5))
        with pytest.raises(PlanError, match=rf"is already pruned \({execution}\); apply the plan to the baseline model"):
            apply_plan(pruned, plan)

    @pytest.mark.parametrize("execution", ["dense", "", "Compact", None])
    def test_an_unknown_execution(self, execution: object) -> None:
        with pytest.raises(PlanError, match=f"unknown execution {execution!r}; choose from masked, compact"):
            apply_plan(shared_model(MODEL), make_plan(shared_model(MODEL), Schedule.uniform(3)), execution)

    def test_a_plan_of_another_length(self) -> None:
        plan = Plan(Schedule.uniform(2), (BlockPlan(), BlockPlan()))
        with pytest.raises(PlanError, match="the plan has 2 blocks but VisionTransformer has 3; make it from this model"):
            apply_plan(shared_model(MODEL), plan)

    @pytest.mark.parametrize("pair", ["qk", "vo"])
    def test_an_uncoupled_plan_as_compact(self, pair: str) -> None:
        model = shared_model(MODEL)
        plan = make_plan(model, Schedule.uniform(3, coupling="uncoupled", **{pair: 0.5}))
        with pytest.raises(PlanError, match=rf"block \d {pair} is pruned uncoupled: .* no compact form; use execution masked"):
            apply_plan(model, plan, "compact")
        with torch.inference_mode():
            assert apply_plan(model, plan, "masked")(images_for(MODEL)).isfinite().all()

    def test_all_are_toast_errors(self) -> None:
        assert issubclass(PlanError, ToastError)
        assert issubclass(PlanError, ValueError)
