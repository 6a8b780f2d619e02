"""Curves: through what was measured, monotonic between, silent beyond."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.problems import made_up_rows, tiny_shape
from toast_core.budget.curves import Curve, read_curves
from toast_core.errors import ScheduleError
from toast_core.schedule.rounding import keep_count


def test_it_passes_through_what_was_measured_and_is_zero_at_full_width() -> None:
    curve = Curve(20, ((16, 0.01), (8, 0.2), (2, 1.5)))
    assert [curve.damage(kept) for kept in (20, 16, 8, 2)] == pytest.approx([0, 0.01, 0.2, 1.5])
    assert curve.fewest == 2


@given(st.lists(st.floats(-0.1, 10), min_size=1, max_size=6), st.integers(30, 100))
def test_fewer_channels_never_do_less_damage(damages: list[float], width: int) -> None:
    kept = [width - (number + 1) * (width - 1) // len(damages) for number in range(len(damages))]
    curve = Curve(width, tuple(zip(kept, damages, strict=True)))
    values = [curve.damage(count) for count in range(width, curve.fewest - 1, -1)]
    assert values[0] == pytest.approx(0, abs=1e-12)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(values))
    assert max(values) <= max([0.0, *damages]) + 1e-9, "nothing beyond the largest measured"


def test_a_parabola_is_met_between_its_points() -> None:
    curve = Curve(100, tuple((kept, ((100 - kept) / 100) ** 2) for kept in (80, 60, 40, 20)))
    assert curve.damage(90) == pytest.approx(0.01, rel=1e-6), "half of what a straight line says"


def test_noise_that_falls_is_levelled() -> None:
    curve = Curve(10, ((8, 0.3), (6, 0.1), (2, 0.5)))
    assert curve.damage(8) == pytest.approx(0.2)
    assert curve.damage(6) == pytest.approx(0.2)


class TestRows:
    def test_every_site_has_its_curve_at_whole_counts(self) -> None:
        shape = tiny_shape()
        curves = read_curves(made_up_rows(shape), shape)
        assert set(curves) == {(block, site) for block in range(3) for site in ("qk", "vo", "fc2")}
        assert [kept for kept, _ in curves[0, "fc2"].points] == [keep_count(12, ratio) for ratio in (0.2, 0.5, 0.9)] == [9, 6, 1]

    def test_ratios_of_one_count_are_one_point_and_groups_are_passed_over(self) -> None:
        rows = [
            {"block": 0, "site": "qk", "ratio": 0.6, "kl": 0.1}, {"block": 0, "site": "qk", "ratio": 0.7, "kl": 0.3},
            {"block": 0, "site": "qk+vo", "ratio": 0.5, "kl": 0.9}, {"block": 0, "site": "vo", "ratio": 0.1, "kl": 0.2},
        ]
        curves = read_curves(rows, tiny_shape(), multiple_of=4)
        assert curves == {}, "4 of 4 kept at multiples of 4: nothing was pruned"
        curves = read_curves(rows, tiny_shape(), multiple_of=2)
        assert curves == {(0, "qk"): Curve(4, ((2, 0.2),))}

    def test_another_models_rows_are_refused(self) -> None:
        with pytest.raises(ScheduleError, match="the curves name block 3, tiny has blocks 0 to 2; measure this model"):
            read_curves([{"block": 3, "site": "qk", "ratio": 0.5, "kl": 0.1}], tiny_shape())
