"""The schedules that a model can start from."""

import json

from dashboard.engine.client import shipped_shape
from dashboard.evidence.starting_points import starting_points
from toast_core.schedule.compensation import FULL
from toast_core.schedule.presets import presets
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
