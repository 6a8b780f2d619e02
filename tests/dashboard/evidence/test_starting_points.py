"""The schedules that a model can start from."""

import json
from dataclasses import replace

import pytest

from dashboard.engine.client import shipped_shape
from dashboard.evidence.starting_points import starting_points
from toast_core.schedule.compensation import FULL
from toast_core.schedule.presets import Preset, presets
from toast_core.schedule.schedule import Schedule


def test_starting_points_fit_the_model_and_published_ones_keep_their_figures():
    for model in ("demo_vit", "demo_swin"):
        shape = shipped_shape(model)
        like = Schedule.uniform(len(shape.blocks), fc1=0.5, selection="calibrated", compensation=FULL)
        for point in starting_points(shape, like):
            point.schedule.check_length(len(shape.blocks), model)
            assert point.reported is None and point.schedule.compensation == FULL
    published = next(iter(presets().values()))
    values = {**shipped_shape("demo_vit").to_dict(), "name": published.model}
    offered = starting_points(type(shape).from_dict(json.loads(json.dumps(values))), Schedule.uniform(12))
    assert [point.reported for point in offered if point.schedule == published.schedule] == [published.reported]


@pytest.mark.parametrize("preset", presets().values(), ids=presets())
@pytest.mark.parametrize("tag", ["own", "none", "other"])
def test_every_preset_can_be_chosen_for_its_architecture(preset: Preset, tag: str) -> None:
    """With the weights that it was published for, with weights that name no tag, and with another tag's."""
    base = preset.model.partition(".")[0]
    name = {"own": preset.model, "none": base, "other": f"{base}.augreg_in21k"}[tag]
    shape = replace(shipped_shape("demo_vit"), name=name)
    shape = replace(shape, blocks=shape.blocks[:1] * len(preset.schedule.blocks))
    points = starting_points(shape, Schedule.uniform(len(shape.blocks)))
    offered = {point.name: point for point in points}
    (found,) = [point for point in offered.values() if point.schedule == preset.schedule]
    of = " MAE" if preset.model.endswith(".mae") else ""
    assert found.reported == preset.reported and found.name == f"Published{of} {preset.reported.gmacs:g} GMACs"
    assert len(offered) == len(points), "two of one name"


def test_another_architecture_offers_none() -> None:
    shape = shipped_shape("demo_vit")
    assert not any(point.reported for point in starting_points(shape, Schedule.uniform(len(shape.blocks))))
