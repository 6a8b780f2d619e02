"""What every model family keeps, whatever the schedule. A subclass lists the families; each test runs on each of them."""

import copy
import functools

import pytest
import torch
from torch import nn

from tests.support.families import (
    CASES,
    EVERY_SITE,
    Family,
    baseline_shape,
    block_count,
    images_for,
    macs_without_slots,
    relative_error,
    schedule_for,
    shared_model,
    shared_statistics,
)
from toast_core.cost.macs import count_cost
from toast_core.models.adapters import adapter_for
from toast_core.models.counting import counted_macs
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.plan import BlockPlan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.execution import EXECUTIONS
from toast_core.schedule.schedule import SELECTIONS, Schedule

EXACT = 1e-5
CLOSE = 1e-4


def pruned(name: str, schedule: Schedule, execution: str) -> nn.Module:
    """The shared model of a family under a schedule, to do with as a test likes."""
    model = shared_model(name)
    return apply_plan(model, make_plan(model, schedule, shared_statistics(name)), execution)


@functools.cache
def shared_pruned(name: str, schedule: Schedule, execution: str) -> nn.Module:
    """The same for tests that only look; built outside inference mode, whatever the caller is in."""
    with torch.inference_mode(False):
        return pruned(name, schedule, execution)


@functools.cache
def baseline_logits(name: str) -> torch.Tensor:
    """What the shared model says of the family's images."""
    with torch.inference_mode():
        return shared_model(name)(images_for(name))


class FamilyContract:
    """Inherit, and parametrise `family`."""

    @pytest.mark.parametrize("execution", EXECUTIONS)
    def test_a_zero_schedule_changes_no_logit(self, family: Family, execution: str) -> None:
        same = pruned(family.name, Schedule.uniform(block_count(shared_model(family.name))), execution)
        with torch.inference_mode():
            assert torch.allclose(same(images_for(family.name)), baseline_logits(family.name), atol=EXACT)

    @pytest.mark.parametrize("compact", [False, True])
    def test_a_full_width_pruned_block_is_timms_block(self, family: Family, compact: bool) -> None:
        model = shared_model(family.name)
        rebuilt, adapter = copy.deepcopy(model), adapter_for(model)
        schedule = Schedule.uniform(block_count(model))
        for index, block in enumerate(adapter.blocks(rebuilt)):
            new = PrunedBlock(adapter.parts(block), adapter.layout(model, index), BlockPlan(), schedule, compact).eval()
            adapter.replace_block(rebuilt, index, new)
        assert all(isinstance(block, PrunedBlock) for block in adapter.blocks(rebuilt))
        with torch.inference_mode():
            assert torch.allclose(rebuilt(images_for(family.name)), baseline_logits(family.name), atol=EXACT)

    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_masked_equals_compact_and_both_differ_from_the_baseline(self, family: Family, selection: str, case: str) -> None:
        x, schedule = images_for(family.name), schedule_for(shared_model(family.name), selection, **CASES[case])
        with torch.inference_mode():
            masked, compact = (shared_pruned(family.name, schedule, execution)(x) for execution in ("masked", "compact"))
        assert relative_error(compact, masked) < CLOSE
        assert relative_error(masked, baseline_logits(family.name)) > 1e-3

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_masked_equals_compact_to_the_last_digits_of_float64(self, family: Family, selection: str) -> None:
        x = images_for(family.name).double()
        schedule = schedule_for(shared_model(family.name), selection, **EVERY_SITE)
        with torch.inference_mode():
            masked, compact = (pruned(family.name, schedule, execution).to(torch.float64)(x) for execution in ("masked", "compact"))
        assert masked.dtype == compact.dtype == torch.float64
        assert relative_error(compact, masked) < 1e-6  # constants folded in float32; the forward itself in float64

    @pytest.mark.parametrize("case", CASES)
    def test_pruning_block_zero_alone_has_an_effect(self, family: Family, case: str) -> None:
        schedule = schedule_for(shared_model(family.name))
        for site, ratio in CASES[case].items():
            schedule = schedule.with_ratio(0, site, ratio)
        with torch.inference_mode():
            assert relative_error(pruned(family.name, schedule, "compact")(images_for(family.name)), baseline_logits(family.name)) > 1e-3

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_the_original_stays_as_it_is(self, family: Family, selection: str) -> None:
        model, x = shared_model(family.name), images_for(family.name)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        modules = list(model.modules())
        for execution in EXECUTIONS:
            new = pruned(family.name, schedule_for(model, selection, **EVERY_SITE), execution)
            with torch.no_grad():
                new(x)
                for value in new.parameters():
                    value.add_(1.0)  # a shared tensor would carry this over
        after = model.state_dict()
        assert after.keys() == before.keys()
        assert all(torch.equal(after[key], before[key]) for key in before)
        assert [id(module) for module in model.modules()] == [id(module) for module in modules]
        assert not hasattr(model, "toast_info") or model.toast_info.execution == "baseline"

    @pytest.mark.parametrize("execution", EXECUTIONS)
    def test_a_pruned_model_is_an_ordinary_module(self, family: Family, execution: str) -> None:
        x = images_for(family.name)
        model = pruned(family.name, schedule_for(shared_model(family.name), **EVERY_SITE), execution)
        with torch.inference_mode():
            expected = model(x)
        # Copied outside of inference mode, whose tensors PyTorch 2.9 sends through another kernel: the last digit would differ.
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for value in model.parameters():
                value.zero_()
        refilled = copy.deepcopy(model)
        refilled.load_state_dict(twin.state_dict())
        with torch.inference_mode():
            assert torch.equal(twin(x), expected)
            assert torch.equal(refilled(x), expected)

    @pytest.mark.parametrize("training", [False, True])
    def test_the_training_mode_is_carried_over(self, family: Family, training: bool) -> None:
        model = copy.deepcopy(shared_model(family.name)).train(training)
        new = apply_plan(model, make_plan(model, schedule_for(model, **EVERY_SITE)), "compact")
        assert {module.training for module in new.modules()} == {training}
        assert model.training is training

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_gradients_flow_and_agree_between_executions(self, family: Family, selection: str) -> None:
        x, grads = images_for(family.name, 3), {}
        for execution in EXECUTIONS:
            model = pruned(family.name, schedule_for(shared_model(family.name), selection, **EVERY_SITE), execution)
            model(x).square().sum().backward()
            missing = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
            assert not missing
            grads[execution] = model.patch_embed.proj.weight.grad
        assert grads["masked"].norm() > 0
        assert relative_error(grads["compact"], grads["masked"]) < 1e-3

    @pytest.mark.parametrize("execution", EXECUTIONS)
    @pytest.mark.parametrize("selection", ["per_image", "calibrated"])
    def test_logits_of_an_image_do_not_depend_on_its_batch(self, family: Family, selection: str, execution: str) -> None:
        x = images_for(family.name, 4)
        model = shared_pruned(family.name, schedule_for(shared_model(family.name), selection, **EVERY_SITE), execution)
        with torch.inference_mode():
            together, alone = model(x), torch.cat([model(image.unsqueeze(0)) for image in x])
            backwards, pairs = model(x.flip(0)).flip(0), torch.cat([model(x[:2]), model(x[2:])])
        for other in (alone, backwards, pairs):
            assert relative_error(other, together) < CLOSE

    @pytest.mark.parametrize("execution", EXECUTIONS)
    def test_per_batch_does_depend_on_the_batch(self, family: Family, execution: str) -> None:
        x = images_for(family.name, 4)
        model = pruned(family.name, schedule_for(shared_model(family.name), "per_batch", fc1=0.4, fc2=0.7), execution)
        with torch.inference_mode():
            together, alone = model(x), torch.cat([model(image.unsqueeze(0)) for image in x])
        assert relative_error(alone, together) > 1e-3

    def test_per_image_equals_per_batch_on_a_single_image(self, family: Family) -> None:
        x = images_for(family.name, 1)
        first, second = (
            shared_pruned(family.name, schedule_for(shared_model(family.name), selection, **EVERY_SITE), "masked")
            for selection in ("per_batch", "per_image")
        )
        with torch.inference_mode():
            assert relative_error(first(x), second(x)) < CLOSE

    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_parameters_are_counted_exactly(self, family: Family, selection: str, case: str) -> None:
        schedule = schedule_for(shared_model(family.name), selection, **CASES[case])
        model = shared_pruned(family.name, schedule, "compact")
        assert sum(value.numel() for value in model.parameters()) == count_cost(baseline_shape(shared_model(family.name)), schedule).params

    @pytest.mark.parametrize("case", [*CASES, "baseline"])
    def test_macs_are_those_that_torch_counts(self, family: Family, case: str) -> None:
        model = shared_model(family.name)
        schedule = schedule_for(model, "calibrated", **CASES.get(case, {}))
        compact = shared_pruned(family.name, schedule, "compact")
        counted = counted_macs(compact, images_for(family.name, 1))
        assert counted == pytest.approx(macs_without_slots(model, count_cost(baseline_shape(model), schedule).macs), rel=1e-9)

    def test_the_baseline_is_counted_exactly(self, family: Family) -> None:
        model = shared_model(family.name)
        assert count_cost(baseline_shape(model)).params == sum(value.numel() for value in model.parameters())
