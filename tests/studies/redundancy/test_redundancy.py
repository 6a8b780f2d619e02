"""Redundancy figures against plain float64 numpy on stored activations."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from analysis_cache.store import EvidenceStore
from tests.support.analyses import SITES, Recorder, assert_figures
from tests.support.families import baseline_shape, images_for, schedule_for, shared_model, tiny_vit
from tests.support.greys import grey_data, grey_model
from tests.support.tiers import over, tier_of
from toast_core import load_data, load_model
from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.errors import DataError, DeviceError, ModelError
from toast_core.models.adapters import adapter_for
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import collect_statistics
from toast_core.studies.redundancy import measure as module
from toast_core.studies.redundancy import store as store_module
from toast_core.studies.redundancy.measure import FRACTIONS, accumulator_bytes, collect_moments, plan_groups, redundancy, redundancy_row
from toast_core.studies.redundancy.moments import Moments, SplitMoments
from toast_core.studies.redundancy.result import RedundancyRow
from toast_core.studies.subject import Subject

FAMILIES = ["plain", "layer_scale", "registers", "siglip", "swin"]
SIZES = {"swin": (3, 4)}  # images in each of two batches
SOME = (0.05, 0.3, 0.5, 0.95)


class TensorData:
    """Image tensors that read like an ImageData."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int) -> Iterator[SimpleNamespace]:
        """Batches in order."""
        return (SimpleNamespace(images=part) for part in self.images.split(size))

    def part(self, start: int, stop: int) -> "TensorData":
        """These images alone."""
        return TensorData(self.images[start:stop])


def batches(family: str) -> list[torch.Tensor]:
    """Two batches; the first has an odd length, so that the second starts on an odd position."""
    first, second = SIZES.get(family, (7, 10))
    x = images_for(family, first + second, seed=31)
    return [x[:first], x[first:]]


def collect_sharded(model: nn.Module, parts: list[torch.Tensor]) -> dict:
    """Each batch in a pass of its own, merged last to first."""
    first = collect_moments(model, parts[:1], (0, 1))
    second = collect_moments(model, parts[1:], (0, 1), start=len(parts[0]))
    return {key: second[key].merge(first[key]) for key in first}


@pytest.mark.parametrize(("family", "sharded"), [
    *(pytest.param(family, False, marks=tier_of(family)) for family in FAMILIES), ("plain", True), ("swin", True),
])
def test_rows_equal_the_reference_on_stored_activations(family: str, sharded: bool) -> None:
    model, parts = shared_model(family), batches(family)
    with Recorder(model) as recorder:
        collected = collect_sharded(model, parts) if sharded else collect_moments(model, parts, (0, 1))
    assert set(collected) == {(block, site) for block in (0, 1) for site, _ in SITES}
    for (block, site), moments in collected.items():
        calls = recorder.calls[block, site]
        # images go in by parity: 0 2 .. and 1 3 .. of the first batch; the second starts on an odd position
        assert len(calls) == 4
        row = redundancy_row(block, site, moments, FRACTIONS if family == "plain" and block == 1 else SOME)
        assert row.images == sum(map(len, parts))
        assert_figures(row, np.concatenate([calls[0], calls[3]]), np.concatenate([calls[1], calls[2]]))


@over("family", FAMILIES)
def test_merged_shards_equal_one_pass(family: str) -> None:
    model, parts = shared_model(family), batches(family)
    whole, merged = collect_moments(model, parts, (0, 1)), collect_sharded(model, parts)
    for key, value in whole.items():
        for half in ("even", "odd"):
            first, second = getattr(merged[key], half), getattr(value, half)
            assert (first.images, first.tokens) == (second.images, second.tokens)
            assert torch.equal(first.histogram, second.histogram)
            for name in ("total", "gram", "abs_total", "score"):
                a, b = getattr(first, name), getattr(second, name)
                assert (a - b).abs().max() <= 1e-12 * b.abs().max()


@over("family", FAMILIES)
def test_the_pass_sees_what_the_models_own_forward_sees(family: str) -> None:
    model, parts = shared_model(family), batches(family)
    with Recorder(model) as stepped:
        collected = collect_moments(model, parts, (1,))
    with Recorder(model) as recorder, torch.inference_mode():
        model(torch.cat([parts[0][::2], parts[1][1::2]]))
    for site, _ in SITES:
        even = np.concatenate([stepped.calls[1, site][0], stepped.calls[1, site][3]])
        assert np.allclose(even, recorder.calls[1, site][0], rtol=1e-4, atol=1e-5)
    last = len(adapter_for(model).blocks(model)) - 1
    assert (last, "hidden") not in stepped.calls  # nothing runs past the last block asked for
    assert set(collected) == {(1, "hidden"), (1, "fc1_input")}


@over("family", FAMILIES)
def test_importance_is_the_calibrated_score(family: str) -> None:
    model, parts = shared_model(family), batches(family)
    statistics = collect_statistics(model, parts)
    for (block, site), moments in collect_moments(model, parts, (0, 1)).items():
        row = redundancy_row(block, site, moments, SOME)
        expected = statistics.importance(block, {"hidden": "fc2", "fc1_input": "fc1"}[site], row.channels)
        assert row.importance == pytest.approx(expected.tolist(), rel=1e-5)


def test_groups_of_blocks_give_the_rows_of_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, seen = shared_model("plain"), TensorData(images_for("plain", 9)), []
    whole = redundancy(model, data, batch_size=2)
    assert [(row.block, row.site) for row in whole] == [(block, site) for block in range(3) for site, _ in SITES]
    assert list(whole[0].r2) == [f"{step / 20:g}" for step in range(1, 20)]
    monkeypatch.setattr(module, "plan_groups", lambda *_, **__: [range(0, 1), range(1, 3)])
    grouped = redundancy(model, data, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert grouped == whole
    assert seen == [(done, 18) for done in (4, 8, 9, 13, 17, 18)]


def test_real_images_and_a_trip_through_json() -> None:
    model = load_model("demo_vit", weights="random")
    rows = redundancy(model, load_data("fashion-mnist:calibration", model, 6, labelled=False), fractions=(0.3,))
    assert len(rows) == 2 * len(model.blocks)
    assert {row.images for row in rows} == {6}
    assert {row.tokens for row in rows} == {6 * model.toast_info.shape.blocks[0].tokens}
    for row in rows:
        assert set(row.r2) == {"0.3"}
        assert RedundancyRow.from_dict(json.loads(json.dumps(row.to_dict(), allow_nan=False))) == row


def vit_h() -> ModelShape:
    """The shape of ViT-H/14 at 224 px: 32 blocks of hidden width 5120."""
    block = BlockShape(257, 257, 257, 1280, 16, 80, 5120, 0, True, False, True, 6_400)
    return ModelShape("vit_huge", "vit", (block,) * 32, 256, 224, 1000, 193_000_000, 0, 1_280_000, 2_400_000)


def test_vit_h_fits_8_gb_in_groups_of_blocks() -> None:
    shape = vit_h()
    groups = plan_groups(shape, 32, 8.0)
    assert [block for group in groups for block in group] == list(range(32))
    assert 1 < len(groups) <= 16
    assert max(map(len, groups)) * accumulator_bytes(shape.blocks[0]) < 8e9 - 4 * 630e6
    assert accumulator_bytes(shape.blocks[0]) > 2 * 8 * (5120**2 + 1280**2)
    assert len(plan_groups(shape, 32, 64.0)) == 1
    assert len(plan_groups(shape, 32, 6.0)) > len(groups)


def test_a_budget_too_small_for_one_block_says_what_is_needed() -> None:
    message = r"budget of 2 GB is too small for vit_huge at batch size 32; give --memory-gb [\d.]+ or more"
    with pytest.raises(DeviceError, match=message) as error:
        plan_groups(vit_h(), 32, 2.0)
    enough = float(str(error.value).partition("--memory-gb ")[2].split()[0])
    assert len(plan_groups(vit_h(), 32, enough)) == 32
    with pytest.raises(DeviceError):
        plan_groups(vit_h(), 32, enough - 0.2)


def test_the_demo_model_needs_one_group() -> None:
    assert plan_groups(baseline_shape(shared_model("swin")), 64, 1.5) == [range(0, 4)]


def site_moments(even: torch.Tensor, odd: torch.Tensor) -> SplitMoments:
    """Moments of two halves of tokens, one image each, ranked by mean size."""
    halves = []
    for x in (even, odd):
        moments = Moments.zeros(x.shape[1])
        moments.add(x)
        moments.images, moments.score = 1, x.double().abs().mean(dim=0)
        halves.append(moments)
    return SplitMoments(*halves)


def test_few_tokens_read_well_in_sample_and_badly_held_out() -> None:
    x = torch.randn(60, 40, generator=torch.Generator().manual_seed(8))
    row = redundancy_row(0, "hidden", site_moments(x[:30], x[30:]))
    assert_figures(row, x[:30].double().numpy(), x[30:].double().numpy())
    assert row.r2["0.5"]["in_sample"] > 0.2
    assert row.r2["0.5"]["held_out"] < 0


def test_a_copied_channel_is_reconstructed_and_adds_no_rank() -> None:
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(8))
    row = redundancy_row(0, "hidden", site_moments(*torch.cat([x, 0.5 * x + 1], dim=1).split(200)))
    assert row.r2["0.5"]["held_out"] == pytest.approx(1, abs=1e-4)
    assert row.effective_rank["singular_values"]["absolute"] <= 4.0000001
    assert row.spectrum[4:] == (0.0,) * 4


def test_channels_that_never_vary_are_reconstructed_by_the_intercept() -> None:
    x = torch.full((10, 6), 0.25)
    row = redundancy_row(0, "hidden", site_moments(x[:5], x[5:]))
    assert row.effective_rank["singular_values"] == {"absolute": 0.0, "relative": 0.0}
    assert row.r2["0.5"] == {"in_sample": 1.0, "held_out": 1.0}
    moved = redundancy_row(0, "hidden", site_moments(x[:5], x[5:] + 1))
    assert moved.r2["0.5"]["held_out"] == 0.0


def test_silent_channels_are_dead() -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(8))
    x[:, :2] = 0
    row = redundancy_row(0, "hidden", site_moments(x[:25], x[25:]))
    assert row.dead == {"0.01rms": 0.25, "1e-2": 0.25, "1e-3": 0.25}
    assert row.sparsity["1e-3"] >= 0.25


def test_one_image_has_no_held_out_half() -> None:
    with pytest.raises(DataError, match="1 image is too few for a held-out half; give at least 2"):
        redundancy(shared_model("plain"), TensorData(images_for("plain", 1)))


def test_no_images_is_an_error_and_leaves_no_hook() -> None:
    model = tiny_vit()
    with pytest.raises(DataError, match="there are no images to analyze; give a data set with at least one readable image"):
        redundancy(model, TensorData(torch.empty(0, 3, 32, 32)))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_activations_that_are_not_finite_are_named() -> None:
    model = tiny_vit()
    with torch.no_grad():
        model.blocks[1].mlp.fc1.bias[0] = torch.inf
    with pytest.raises(ModelError, match="block 1 hidden has activations that are not finite"):
        redundancy(model, TensorData(images_for("plain", 4)))


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_vit(proj_drop_rate=0.5).train()
    data = TensorData(images_for("plain", 4))
    assert redundancy(model, data) == redundancy(model, data)
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_models_that_cannot_be_measured_are_refused() -> None:
    model, data = shared_model("plain"), TensorData(images_for("plain", 2))
    with pytest.raises(ModelError, match="block 0 is PrunedBlock"):
        redundancy(apply_plan(model, make_plan(model, schedule_for(model, fc2=0.5))), data)
    with pytest.raises(ModelError, match="demo_vit was loaded without weights, for counting only; load it with weights to analyze it"):
        redundancy(load_model("demo_vit", weights="none"), data)


def test_a_stored_redundancy_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = grey_model("vit")
    subject = Subject.of(model, grey_data(model), 6, "redundancy")
    with EvidenceStore.open(tmp_path / "s.db") as store:
        analysis, rows = store_module.analyze_redundancy(subject, store)
        assert analysis.finished_utc
        assert {(row["block"], row["site"]) for row in rows} == {(b, s) for b in range(3) for s in ("hidden", "fc1_input")}
        monkeypatch.setattr(store_module, "redundancy", None)
        assert store_module.analyze_redundancy(subject, store)[1] == rows
