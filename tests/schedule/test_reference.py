"""The reference implementation's schedule entries, read and written."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import RATIOS
from toast_core.errors import ScheduleError
from toast_core.schedule.presets import presets
from toast_core.schedule.reference import SCORE_NAMES, from_reference, to_reference
from toast_core.schedule.schedule import BlockSchedule, Schedule

ENTRY = {"head_sparsity": 90, "importance": "gm", "coupling": "coupled", "fc1": [0.0, 0.0, 0.3], "fc2": [0.0, 0.5, 0.9]}
SCHEDULE = from_reference(ENTRY)


def entry(**values: object) -> dict:
    """A valid entry with other values."""
    return {**ENTRY, **values}


def test_an_entry_is_read_as_the_reference_runs_it() -> None:
    assert Schedule(
        (BlockSchedule(), BlockSchedule(0.9, 0.9, 0.0, 0.5), BlockSchedule(0.9, 0.9, 0.3, 0.9)), selection="per_batch",
    ) == SCHEDULE


@pytest.mark.parametrize("name", presets())
def test_every_preset_survives_the_round_trip(name: str) -> None:
    schedule = presets()[name].schedule
    written = to_reference(schedule)
    assert written["head_sparsity"] == 90.0
    assert from_reference(json.loads(json.dumps(written))) == schedule
    assert Schedule.from_json(json.dumps(written)) == schedule


@given(
    st.lists(st.tuples(st.integers(1, 99), RATIOS, RATIOS), min_size=1, max_size=5), st.sampled_from(list(SCORE_NAMES.values())),
    st.sampled_from(["coupled", "q_only", "average"]),
)
def test_any_schedule_that_fits_survives(rows: list[tuple], score: str, coupling: str) -> None:
    blocks = (BlockSchedule(), *(BlockSchedule(percent / 100, percent / 100, fc1, fc2) for percent, fc1, fc2 in rows))
    schedule = Schedule(blocks, selection="per_batch", score=score, coupling=coupling)
    assert from_reference(to_reference(schedule)) == schedule


def test_blocks_that_differ_are_written_as_a_list() -> None:
    schedule = SCHEDULE.with_ratio(1, "qk", 0.5).with_ratio(1, "vo", 0.5)
    assert to_reference(schedule)["head_sparsity"] == [0.0, 50.0, 90.0]
    assert from_reference(to_reference(schedule)) == schedule


def test_a_single_block_is_left_as_it_is() -> None:
    assert to_reference(Schedule.uniform(1))["head_sparsity"] == 0.0
    assert from_reference(to_reference(Schedule.uniform(1, selection="per_batch"))).is_baseline


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (entry(head_sparsity=0.9), "head_sparsity 0.9 is below 1 %; the reference counts in percent: write 90 for 90 %"),
        (entry(head_sparsity=[0, 0.5, 90]), "head_sparsity 0.5 is below 1 %; .* write 50 for 50 %"),
        (entry(head_sparsity=100), "head_sparsity / 100 is 1, not below 1"),
        (entry(head_sparsity=-10), "head_sparsity / 100 is -0.1; ratios are fractions"),
        (entry(head_sparsity="90"), "block 1 head_sparsity is '90', not a number; write a percentage in .0, 100."),
        (entry(head_sparsity=True), "block 1 head_sparsity is True, not a number"),
        (entry(head_sparsity=None), "head_sparsity is None, not a number"),
        (entry(head_sparsity=float("nan")), "head_sparsity / 100 is nan"),
        (entry(head_sparsity=[90, 90, 90]), "the entry prunes block 0, which the reference leaves as it is; write 0 for block 0"),
        (entry(fc2=[0.5, 0.5, 0.9]), "the entry prunes block 0"),
        (entry(fc1=[0.1, 0.0, 0.0]), "the entry prunes block 0"),
        (entry(head_sparsity=[0, 90]), "fc1 has 3 blocks, fc2 3, head_sparsity 2; give each the same number"),
        (entry(fc2=[0.0, 0.5]), "fc1 has 3 blocks, fc2 2, head_sparsity 3; give each the same number"),
        (entry(fc1=[]), r"fc1 is \[\]; a reference entry gives one fraction a block"),
        (entry(fc1=0.5), "fc1 is 0.5; a reference entry gives one fraction a block"),
        ({"head_sparsity": 90, "fc1": [0.0]}, "fc2 is None; a reference entry gives one fraction a block"),
        (entry(fc2=[0.0, 50, 0.9]), "block 1 fc2 ratio is 50, not below 1; .* write 0.5 for 50 %"),
        (entry(importance="weiszfeld"), "unknown importance 'weiszfeld'; choose from gm, l1, l2"),
        (entry(importance=None), "unknown importance None; choose from gm, l1, l2"),
        (entry(importance=[]), r"unknown importance \[\]; choose from gm, l1, l2"),
        (entry(coupling="none"), "unknown coupling 'none'; choose from coupled"),
        (entry(coupling=[]), r"unknown coupling \[\]; choose from coupled"),
        (entry(head_sparsity=10**400), "head_sparsity"),
    ],
)
def test_entries_that_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        Schedule.from_dict(values)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (SCHEDULE.with_ratio(0, "fc2", 0.1), "the schedule prunes block 0, which the reference cannot; set block 0 to 0"),
        (SCHEDULE.with_ratio(0, "qk", 0.1), "the schedule prunes block 0, which the reference cannot"),
        (SCHEDULE.with_ratio(1, "qk", 0.5), "block 1 has qk 0.5 and vo 0.9; the reference needs them equal"),
        (dataclasses.replace(SCHEDULE, multiple_of=8), "cannot round to a multiple of 8; use multiple_of 1"),
        (dataclasses.replace(SCHEDULE, score="weiszfeld"), "has no score 'weiszfeld'; choose from geometric_median, l1, l2"),
        (dataclasses.replace(SCHEDULE, coupling="uncoupled"), "has no coupling 'uncoupled'; choose a coupled one"),
    ],
)
def test_schedules_it_cannot_run(schedule: Schedule, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        to_reference(schedule)


def test_other_selection_modes_are_written_as_their_ratios() -> None:
    assert to_reference(dataclasses.replace(SCHEDULE, selection="calibrated")) == to_reference(SCHEDULE)
