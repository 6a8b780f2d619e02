"""The address that reproduces a view: what it says is read back, and a bad one is refused in one line."""

import zlib
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dashboard.engine.client import shipped_shape
from dashboard.session.link import decode_schedule, encode_schedule, link_parameters, read_link
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import SELECTIONS, BlockSchedule, Schedule

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
