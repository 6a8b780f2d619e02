"""Results and their intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toast_core.intervals import Z95, mean_interval, wilson_percent
from toast_core.studies.evaluation.result import Estimate, Evaluation, Outcomes


class TestWilson:
    """The score interval: the proportions that a z test at 95 % does not reject."""

    @pytest.mark.parametrize(
        ("correct", "total", "low", "high"),
        [  # published tables, percent
            (0, 10, 0.0, 27.75), (1, 10, 1.79, 40.42), (5, 10, 23.66, 76.34), (10, 10, 72.25, 100.0), (81, 263, 25.53, 36.62),
            (15, 148, 6.24, 16.05),
            (0, 20, 0.0, 16.11), (1, 29, 0.61, 17.18),
        ],
    )
    def test_known_values(self, correct: int, total: int, low: float, high: float) -> None:
        assert wilson_percent(correct, total) == pytest.approx((low, high), abs=0.006)

    @given(st.integers(1, 10_000), st.data())
    def test_its_ends_are_the_roots_of_the_z_test(self, total: int, data: st.DataObject) -> None:
        correct = data.draw(st.integers(0, total))
        low, high = (end / 100 for end in wilson_percent(correct, total))
        share = correct / total
        assert 0 <= low <= share + 1e-12
        assert share - 1e-12 <= high <= 1
        for end in (low, high):
            if 1e-9 < end < 1 - 1e-9:  # nearer to the edge the subtraction leaves no digits
                assert abs(share - end) == pytest.approx(Z95 * math.sqrt(end * (1 - end) / total), rel=1e-6)

    @given(st.integers(1, 500), st.data())
    def test_it_is_symmetric(self, total: int, data: st.DataObject) -> None:
        correct = data.draw(st.integers(0, total))
        low, high = wilson_percent(correct, total)
        assert wilson_percent(total - correct, total) == pytest.approx((100 - high, 100 - low), abs=1e-9)

    def test_nothing_measured_says_nothing(self) -> None:
        assert wilson_percent(0, 0) == (0.0, 100.0)

    def test_the_quantile(self) -> None:
        assert math.erf(Z95 / math.sqrt(2)) == pytest.approx(0.95, abs=1e-12)


def test_the_interval_of_a_mean() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    deviation = math.sqrt(sum((value - 4) ** 2 for value in values) / 3)
    assert mean_interval(values) == pytest.approx((4 - Z95 * deviation / 2, 4 + Z95 * deviation / 2))
    assert mean_interval(np.array([3.0])) == (-math.inf, math.inf)
    assert mean_interval(np.array([3.0, 3.0])) == (3.0, 3.0)


def outcomes(correct: int, total: int) -> Outcomes:
    """Outcomes in which the first `correct` images are right."""
    label = np.arange(total) % 3
    predicted = np.where(np.arange(total) < correct, label, (label + 1) % 3)
    return Outcomes(np.arange(total), label, predicted, np.ones(total, bool), np.linspace(0, 1, total), np.ones(total))


def test_estimates_follow_from_outcomes() -> None:
    found = outcomes(81, 263)
    assert found.top1_estimate.value == pytest.approx(100 * 81 / 263)
    assert found.top1_estimate.ci95 == wilson_percent(81, 263)
    assert found.top5_estimate == Estimate(100.0, wilson_percent(263, 263))
    assert found.loss_estimate.value == pytest.approx(0.5)
    assert found.loss_estimate.ci95 == mean_interval(found.loss)


def test_a_single_image_is_still_plain_json() -> None:
    import json

    result = Evaluation(outcomes(1, 1), "sorted", 1, None, "baseline", 0, "float32", "cpu", 5)
    json.dumps(result.to_dict(), allow_nan=False)
