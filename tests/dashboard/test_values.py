"""The pure parts: links, history, wording, figures, the command line."""

import json
import zlib
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dashboard import wording
from dashboard.charts.cost import blocks_figure, parts_figure
from dashboard.charts.ratios import ratios_figure
from dashboard.charts.style import chart_config
from dashboard.engine.client import shipped_shape
from dashboard.evidence.commands import evaluate_command
from dashboard.evidence.starting_points import starting_points
from dashboard.session.history import History
from dashboard.session.link import decode_schedule, encode_schedule, link_parameters, read_link
from dashboard.session.state import default_selection
from tests.support.commands import parsed
from toast_core.cost.macs import count_cost
from toast_core.errors import ScheduleError
from toast_core.schedule.presets import presets
from toast_core.schedule.schedule import SELECTIONS, BlockSchedule, Schedule
from toast_core.setup import Setup
from toast_core.studies.evaluation.result import Estimate

RATIO = some.floats(0, 1, exclude_max=True)
BLOCKS = some.lists(some.builds(BlockSchedule, RATIO, RATIO, RATIO, RATIO), min_size=1, max_size=24)
SCHEDULES = some.builds(Schedule, BLOCKS, some.sampled_from(list(SELECTIONS)))


@settings(deadline=None, max_examples=40)
@given(SCHEDULES)
def test_a_link_round_trips_any_schedule(schedule):
    assert decode_schedule(encode_schedule(schedule)) == schedule


def test_a_bomb_and_other_bad_codes_are_refused_in_one_line():
    bomb = urlsafe_b64encode(zlib.compress(b" " * 3_000_000, 9)).decode()
    cut, no_schedule = encode_schedule(Schedule.uniform(2))[:-6], urlsafe_b64encode(zlib.compress(b"[]")).decode()
    for code in ("", "%%%", "abc", "x" * 5000, bomb, cut, no_schedule):
        with pytest.raises(ScheduleError) as caught:
            decode_schedule(code)
        assert "\n" not in str(caught.value)


def test_read_link_checks_model_length_and_selection():
    shape, baseline = shipped_shape("demo_vit"), Schedule.uniform(12)
    assert read_link({}, shape, baseline) is not None
    assert read_link({"selection": "per_batch"}, shape, baseline).selection == "per_batch"
    for bad in ({"model": "demo_swin"}, {"selection": "best"}, {"schedule": encode_schedule(Schedule.uniform(3))}):
        with pytest.raises(ScheduleError):
            read_link(bad, shape, baseline)
    assert set(link_parameters(baseline, shape)) == {"model", "selection", "schedule"}


def test_history_walks_both_ways_and_an_edit_ends_the_future():
    a, b, c = (Schedule.uniform(1, fc2=ratio) for ratio in (0, 0.1, 0.2))
    history = History(a).edit(b).edit(b).edit(c)
    assert history.undo().present == b and history.undo().undo().undo().present == a
    assert history.undo().undo().redo().redo().redo().present == c
    assert not history.undo().edit(a).future


def test_no_more_digits_than_the_interval_supports():
    assert wording.accuracy(Estimate(88.43, (86.3, 90.2))) == "88 %"
    assert wording.accuracy(Estimate(88.43, (88.0, 88.9))) == "88.4 %"
    assert wording.points(Estimate(-1.23, (-1.6, -0.9))) == "\N{MINUS SIGN}1.2 points"
    assert wording.points(Estimate(-0.01, (-0.4, 0.4))) == "0.0 points"
    assert wording.gmacs(4_608_000_000) == "4.61" and wording.parameters(851_000) == "0.851 M"
    assert wording.change(70, 100) == "\N{MINUS SIGN}30 %"
    assert wording.verdict(Estimate(-1, (-3, 1))) == "cannot tell apart from the baseline"
    assert wording.verdict(Estimate(-3, (-5, -1))) == "worse than the baseline"


@pytest.mark.parametrize("model", ["demo_vit", "demo_swin"])
def test_figures_show_what_the_cost_says(model):
    shape = shipped_shape(model)
    schedule = Schedule.uniform(len(shape.blocks), fc2=0.5, selection="calibrated")
    cost, baseline = count_cost(shape, schedule), count_cost(shape)
    assert sum(parts_figure(cost).data[0].x) == pytest.approx(cost.macs / 1e9)
    bars = blocks_figure(cost, baseline).data
    assert [trace.name for trace in bars] == ["Attention", "Feed-forward", "Baseline"]
    assert bars[0].y[3] + bars[1].y[3] == pytest.approx(cost.blocks[3].macs / 1e9)
    heat = ratios_figure(schedule).data[0]
    assert heat.text[3][0] == "50" and heat.text[0][0] == ""
    assert chart_config("cost")["toImageButtonOptions"]["filename"] == "cost"


def test_starting_points_fit_the_model_and_published_ones_keep_their_figures():
    for model in ("demo_vit", "demo_swin"):
        shape = shipped_shape(model)
        for point in starting_points(shape, "calibrated"):
            point.schedule.check_length(len(shape.blocks), model)
            assert point.reported is None
    published = next(iter(presets().values()))
    values = {**shipped_shape("demo_vit").to_dict(), "name": published.model}
    offered = starting_points(type(shape).from_dict(json.loads(json.dumps(values))), "per_image")
    assert [point.reported for point in offered if point.schedule == published.schedule] == [published.reported]


def test_command_line_names_what_is_measured():
    schedule = Schedule.uniform(12, fc2=0.5, selection="calibrated")
    command, given = parsed(evaluate_command(Setup().completed(), schedule))
    assert command == "evaluate" and given["as_json"] and given["schedule"].name == "schedule.json"
    assert (given["model"], given["data"], given["images"]) == ("demo_vit", "fashion-mnist", 1000)
    assert (given["calibration"], given["calibration_images"]) == ("fashion-mnist:calibration", 512)
    own = Setup("deit_tiny_patch16_224", "my weights.safetensors", data="images", calibration="more", calibration_images=64).completed()
    _, given = parsed(evaluate_command(own, schedule))
    assert (given["weights"], given["calibration"], given["calibration_images"]) == ("my weights.safetensors", "more", 64)
    assert default_selection(own) == "calibrated"
    assert default_selection(Setup("deit_tiny_patch16_224", data="images").completed()) == "per_image"
