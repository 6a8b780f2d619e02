"""What measured schedules teach about predictions."""

import numpy as np
import pytest

from toast_core.budget.audit import coverage, learn


def test_a_constant_ratio_is_learned_exactly() -> None:
    learned = learn([1.0, 2.0, 5.0], [1.5, 3.0, 7.5])
    assert (learned.ratio, learned.schedules) == (pytest.approx(1.5), 3)
    assert learned.band(4.0) == pytest.approx((6.0, 6.0, 6.0))


def test_few_or_harmless_schedules_teach_nothing() -> None:
    assert learn([1.0, 2.0], [1.0, 2.0]) is None
    assert learn([1.0, 2.0, 0.0], [1.0, 2.0, 3.0]) is None
    assert coverage([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == (0, 0), "three leave two to learn from"


def test_the_band_is_wider_for_fewer_schedules() -> None:
    one, other = learn([1, 1, 1], [0.5, 1, 2]), learn([1] * 9, [0.5, 1, 2] * 3)
    widths = [band[2] / band[1] for band in (one.band(1.0), other.band(1.0))]
    assert widths[0] > 3 * widths[1]


def test_the_band_holds_as_often_as_it_says() -> None:
    """Lognormal ratios: 95 % of the schedules left out, over many draws."""
    rng = np.random.default_rng(0)
    found = [coverage([1.0] * 6, np.exp(0.3 * rng.standard_normal(6))) for _ in range(300)]
    share = sum(covered for covered, _ in found) / sum(asked for _, asked in found)
    assert sum(asked for _, asked in found) == 1800
    assert 0.93 < share < 0.97


def test_a_schedule_unlike_the_others_is_not_covered() -> None:
    assert coverage([1.0] * 5, [1.0, 1.01, 0.99, 1.0, 50.0])[0] < 5
