"""The published schedules."""

import re

import pytest

from toast_core.errors import ScheduleError
from toast_core.schedule.presets import Reported, get_preset, presets
from toast_core.schedule.schedule import Schedule

BLOCKS = {
    "deit_tiny_patch16_224": 12, "deit_small_patch16_224": 12, "deit_base_patch16_224": 12, "vit_base_patch16_224.mae": 12,
    "vit_large_patch16_224.mae": 24, "vit_huge_patch14_224.mae": 32, "swin_tiny_patch4_window7_224": 12,
    "swin_small_patch4_window7_224": 24,
    "swin_base_patch4_window7_224": 24,
}


def test_there_are_twenty_for_nine_models() -> None:
    assert len(presets()) == 20
    assert {preset.model for preset in presets().values()} == set(BLOCKS)


@pytest.mark.parametrize("name", presets())
def test_the_name_is_the_model_and_the_published_budget(name: str) -> None:
    preset = get_preset(name)
    assert preset.name == name == f"{preset.model}@{name.rpartition('@')[2]}"
    assert re.fullmatch(r"\d+\.\d+", name.rpartition("@")[2])
    assert float(name.rpartition("@")[2]) == pytest.approx(preset.reported.gmacs)


@pytest.mark.parametrize("name", presets())
def test_the_settings_are_the_papers(name: str) -> None:
    schedule = get_preset(name).schedule
    assert len(schedule.blocks) == BLOCKS[get_preset(name).model]
    assert schedule.blocks[0].is_baseline
    assert schedule.selection == "per_batch"
    assert set(schedule.ratios("qk")[1:]) == set(schedule.ratios("vo")[1:]) == {0.9}
    assert (
        schedule.score, schedule.coupling, schedule.multiple_of, schedule.class_weight, schedule.token_fraction
    ) == ("geometric_median", "coupled", 1, 2.0, None)
    late = len(schedule.blocks) - 2
    assert not any(schedule.ratios("fc1")[:late]), "fc1 is pruned in the last layers only"
    assert max(schedule.ratios("fc1")) <= 0.5
    assert max(schedule.ratios("fc2")) <= 0.9


@pytest.mark.parametrize("name", presets())
def test_reported_figures_are_kept_apart(name: str) -> None:
    preset = get_preset(name)
    reported = preset.reported
    assert isinstance(reported, Reported)
    assert 60 < reported.top1 < reported.top5 < 100
    assert reported.speedup > 1
    assert reported.recovery_epochs is None or reported.recovery_epochs > 0
    assert not set(preset.schedule.to_dict()) & set(vars(reported))
    assert Schedule.from_json(preset.schedule.to_json()) == preset.schedule


def test_schedules_of_a_model_differ() -> None:
    for model in BLOCKS:
        digests = [preset.schedule.digest() for preset in presets().values() if preset.model == model]
        assert len(set(digests)) == len(digests)


def test_an_unknown_name_lists_the_models_choices() -> None:
    with pytest.raises(
        ScheduleError, match=r"unknown preset 'deit_tiny_patch16_224@1'; choose from deit_tiny_patch16_224@0.9, .*@0.8, .*@0.76$"
    ):
        get_preset("deit_tiny_patch16_224@1")
    with pytest.raises(
        ScheduleError, match=r"unknown preset 'resnet50'; choose from deit_tiny_patch16_224@0.9.*swin_base_patch4_window7_224@8.8"
    ):
        get_preset("resnet50")
