"""Latency tables without torch: what was measured is given back, what lies between is interpolated among its own kind."""

import json
from dataclasses import replace

import pytest

from tests.support.problems import tiny_shape, tiny_table
from toast_core.cost.latency import LatencyTable, Line, Sheet
from toast_core.cost.macs import kept_counts
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import BlockSchedule, Schedule


class TestInterpolation:
    def test_a_line_keeps_aligned_counts_and_others_apart(self) -> None:
        line = Line((1, 8, 15, 16, 31, 32), (1.0, 2.0, 9.0, 4.0, 17.0, 8.0))
        assert (line.at(8), line.at(31)) == (2.0, 17.0)
        assert line.at(24) == 6.0, "between 16 and 32"
        assert line.at(23) == 13.0, "between 15 and 31"
        assert line.at(3) == pytest.approx(1.0 + 8.0 * 2 / 14)

    def test_one_of_a_kind_falls_back_on_all(self) -> None:
        assert Line((1, 8, 16), (1.0, 10.0, 18.0)).at(12) == 14.0, "1 is the only one that is no multiple of 8"
        assert Line((2, 8), (2.0, 8.0)).at(5) == 5.0

    def test_a_sheet_is_bilinear_and_ends_at_its_edges(self) -> None:
        sheet = Sheet((2, 4), (1, 5), ((10.0, 20.0), (30.0, 60.0)))
        assert (sheet.at(2, 1), sheet.at(4, 5)) == (10.0, 60.0)
        assert sheet.at(3, 3) == (10 + 20 + 30 + 60) / 4
        assert (sheet.at(1, 1), sheet.at(9, 9)) == (10.0, 60.0)


class TestTable:
    def test_the_baseline_is_what_was_measured(self) -> None:
        table = tiny_table()
        assert table.predict_ms() == pytest.approx(table.baseline_ms)
        assert table.scale == pytest.approx(1.25)
        assert replace(table, baseline_ms=2 * table.baseline_ms).predict_ms() == pytest.approx(2 * table.baseline_ms)

    def test_a_schedule_is_the_sum_of_its_blocks(self) -> None:
        table, shape = tiny_table(), tiny_shape()
        schedule = Schedule(
            (BlockSchedule(qk=0.5, vo=0.5), BlockSchedule(qk=0.25, fc2=0.5), BlockSchedule(fc1=0.5, fc2=0.3)), selection="calibrated"
        )
        blocks = [table.block_ms(index, kept_counts(block, schedule, index)) for index, block in enumerate(shape.blocks)]
        assert table.predict_ms(schedule) == pytest.approx(table.scale * table.outside_ms + sum(map(sum, blocks)))
        whole = table.block_ms(0, {"qk": 4, "vo": 4, "fc1": 8, "fc2": 12})
        assert blocks[0][0] < whole[0] < blocks[1][0], "qk and vo that differ are slow"
        assert blocks[0][1] == whole[1]

    def test_it_survives_json_and_keeps_its_digest(self) -> None:
        table = tiny_table()
        again = LatencyTable.from_dict(json.loads(json.dumps(table.to_dict())))
        assert again == table and again.digest() == table.digest() != replace(table, outside_ms=9.0).digest()

    def test_a_schedule_of_another_model_is_refused(self) -> None:
        with pytest.raises(ScheduleError, match="2 blocks"):
            tiny_table().predict_ms(Schedule.uniform(2))

    @pytest.mark.parametrize(("name", "value"), [
        ("blocks", [{}]), ("kinds", [0, 0]), ("kinds", [0, 0, 7]), ("shape", None), ("baseline_ms", "fast"), ("rounds", None),
    ])
    def test_what_others_wrote_wrongly_is_refused(self, name: str, value: object) -> None:
        with pytest.raises((KeyError, TypeError, ValueError)):
            LatencyTable.from_dict({**tiny_table().to_dict(), name: value})
