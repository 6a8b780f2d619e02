"""Intervals from counts and from arrays are one formula."""

import math

import numpy as np
import pytest

from toast_core.intervals import Z95, paired_interval, paired_interval_of_counts


@pytest.mark.parametrize("z", [Z95, 2.576])
@pytest.mark.parametrize(("both", "gained", "lost", "neither"), [(0, 0, 0, 1), (80, 3, 9, 8), (0, 50, 0, 0), (0, 0, 7, 0), (5, 1, 0, 4)])
def test_the_paired_interval_is_the_same_from_counts_and_from_arrays(both: int, gained: int, lost: int, neither: int, z: float) -> None:
    before = np.repeat([True, False, True, False], [both, gained, lost, neither])
    after = np.repeat([True, True, False, False], [both, gained, lost, neither])
    images = both + gained + lost + neither
    low, high = paired_interval(before, after, z)
    assert (low, high) == paired_interval_of_counts(gained, lost, images, z)
    # Agresti and Min's adjusted Wald, written out
    center = (gained - lost) / (images + 2)
    half = z * math.sqrt((gained + lost + 1) / (images + 2) - center**2) / math.sqrt(images + 2)
    assert (low, high) == pytest.approx((100 * (center - half), 100 * (center + half)))


def test_no_change_still_has_a_width() -> None:
    low, high = paired_interval_of_counts(0, 0, 100)
    assert low < 0 < high and low == -high
