"""Calibration statistics: one pass, mergeable, and the choice made from them."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from tests.support.families import block_count, images_for, schedule_for, shared_model, shared_statistics, tiny_swin, tiny_vit
from tests.support.oracle import attend, token_score_loop, top_loop
from toast_core.errors import DataError, ModelError, PlanError
from toast_core.models.adapters import adapter_for
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics, collect_statistics

FAMILIES = ["plain", "registers", "siglip", "swin"]


def hook_count(model: nn.Module) -> int:
    """How many forward hooks hang on a model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def close(first: Statistics, second: Statistics, rel: float) -> bool:
    """Whether two statistics agree channel by channel."""
    assert first.images == second.images
    assert first.score_sums.keys() == second.score_sums.keys()
    return all(torch.allclose(value, second.score_sums[key], rtol=rel, atol=0) for key, value in first.score_sums.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_merging_two_halves_equals_one_pass(family: str) -> None:
    model, x = shared_model(family), images_for(family, 8)
    first, second = collect_statistics(model, [x[:4]]), collect_statistics(model, [x[4:]])
    whole = collect_statistics(model, [x[:4], x[4:]])
    assert close(first.merge(second), whole, 1e-12)
    assert close(second.merge(first), whole, 1e-12)
    assert first.images == second.images == 4  # merging left them alone


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_batch_size_changes_nothing_but_rounding(family: str, batch_size: int) -> None:
    model, x = shared_model(family), images_for(family, 8)
    whole = collect_statistics(model, [x])
    assert close(collect_statistics(model, x.split(batch_size)), whole, 1e-4)
    assert close(collect_statistics(model, x.flip(0).split(batch_size)), whole, 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_block_and_site_is_covered_in_float64(family: str) -> None:
    model, statistics = shared_model(family), shared_statistics(family)
    shape = adapter_for(model).shape(model, family)
    assert statistics.images == 6
    assert {key: value.shape for key, value in statistics.score_sums.items()} == {
        (index, site): (block.site_width(site),) for index, block in enumerate(shape.blocks) for site in ("fc1", "fc2")
    }
    assert all(value.dtype == torch.float64 and bool((value > 0).all()) for value in statistics.score_sums.values())
    assert torch.equal(statistics.importance(0, "fc1", shape.blocks[0].width), statistics.score_sums[0, "fc1"] / 6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(family: str, training: bool) -> None:
    model = (tiny_swin() if family == "swin" else tiny_vit()).train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    collect_statistics(model, [images_for("swin" if family == "swin" else "plain", 2)])
    assert hook_count(model) == 0
    assert model.training is training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_hooks_are_removed_when_the_images_fail() -> None:
    def failing() -> Iterator[torch.Tensor]:
        yield images_for("plain", 1)
        raise RuntimeError("disk")

    model = tiny_vit().train()
    with pytest.raises(RuntimeError, match="disk"):
        collect_statistics(model, failing())
    assert hook_count(model) == 0
    assert model.training


def test_dropout_has_no_part_in_it() -> None:
    model, x = tiny_vit(proj_drop_rate=0.5, drop_path_rate=0.5), images_for("plain", 4)
    assert close(collect_statistics(model.train(), [x]), collect_statistics(model.eval(), [x]), 1e-12)


def test_no_images_is_an_error() -> None:
    model = tiny_vit()
    with pytest.raises(DataError, match="there are no calibration images; give a data set with at least one readable image"):
        collect_statistics(model, [])
    assert hook_count(model) == 0


def test_statistics_of_another_model_do_not_merge() -> None:
    with pytest.raises(PlanError, match="cover different blocks or sites; collect both from the same model"):
        shared_statistics("plain").merge(shared_statistics("swin"))


def test_a_pruned_model_is_refused() -> None:
    model = shared_model("plain")
    pruned = apply_plan(model, make_plan(model, schedule_for(model, fc2=0.5)))
    with pytest.raises(ModelError, match="block 0 is PrunedBlock"):
        collect_statistics(pruned, [images_for("plain", 1)])


@pytest.mark.parametrize("class_weight", [2.0, 9.0])
@pytest.mark.parametrize("family", ["plain", "layer_scale", "qk_norm", "registers", "siglip", "average_pooled"])
def test_a_calibrated_plan_keeps_the_channels_that_the_equations_score_highest(family: str, class_weight: float) -> None:
    model, adapter = shared_model(family), adapter_for(shared_model(family))
    x, layout = images_for(family, 4, seed=21), adapter.layout(model, 0)
    statistics = collect_statistics(model, x.split(2), class_weight=class_weight)
    plan = make_plan(model, schedule_for(model, "calibrated", fc1=0.4, fc2=0.7), statistics)
    patches = list(range(layout.prefix, layout.prefix + layout.patches))
    with torch.inference_mode():
        stream = adapter.embed(model, x)
        for index, block in enumerate(model.blocks):
            halves = attend(block, stream)
            for site, values in (("fc1", halves.stream), ("fc2", halves.hidden(halves.stream))):
                scores = sum(
                    token_score_loop(
                        values[image], patches, halves.alpha[image] if layout.has_class_token else None, class_weight, layout.patches
                    )
                    for image in range(len(x))
                )
                assert torch.allclose(statistics.importance(index, site, values.shape[-1]), scores / len(x), rtol=1e-4)
                kept = getattr(plan.blocks[index], site).idx.tolist()
                assert kept == top_loop(statistics.importance(index, site, values.shape[-1]), len(kept))
                assert kept == top_loop(scores, len(kept))
            stream = block(stream)


def test_a_swins_scores_are_the_plain_mean_over_its_tokens() -> None:
    model, x = shared_model("swin"), images_for("swin", 2)
    seen = {}
    block = model.layers[1].blocks[1]
    handles = [
        block.norm2.register_forward_pre_hook(lambda _, inputs: seen.update(fc1=inputs[0].reshape(-1, 48))),
        block.mlp.fc2.register_forward_pre_hook(lambda _, inputs: seen.update(fc2=inputs[0].reshape(-1, 192))),
    ]
    try:
        statistics = collect_statistics(model, [x])
    finally:
        for handle in handles:
            handle.remove()
    for site in ("fc1", "fc2"):
        assert torch.allclose(statistics.importance(3, site, seen[site].shape[1]), seen[site].double().abs().mean(dim=0), rtol=1e-5)


def test_calibrated_selection_without_statistics_is_refused() -> None:
    model = shared_model("plain")
    with pytest.raises(
        PlanError, match=r"selection 'calibrated' needs calibration images; pass --calibration DATA \(statistics= in Python\)"
    ):
        make_plan(model, schedule_for(model, "calibrated", fc2=0.5))
    assert make_plan(model, schedule_for(model, "calibrated", qk=0.5)).blocks[0].qk is not None


def test_statistics_that_lack_a_block_are_refused() -> None:
    model, statistics = shared_model("plain"), shared_statistics("plain")
    part = dataclasses.replace(statistics, score_sums={key: value for key, value in statistics.score_sums.items() if key != (2, "fc1")})
    with pytest.raises(PlanError, match="the statistics lack block 2 fc1; collect them from the same model"):
        make_plan(model, schedule_for(model, "calibrated", fc1=0.5), part)
    assert block_count(model) == 3


@pytest.mark.parametrize("width", [12, 48])
def test_statistics_of_another_width_are_refused(width: int) -> None:
    statistics = collect_statistics(tiny_vit(embed_dim=width), [images_for("plain", 1)])
    model = shared_model("plain")
    message = f"the statistics of block 0 fc1 have {width} channels, the model 24; collect them from the same model"
    with pytest.raises(PlanError, match=message):
        make_plan(model, schedule_for(model, "calibrated", fc1=0.5), statistics)
