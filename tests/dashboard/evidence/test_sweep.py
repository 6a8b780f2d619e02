"""The intervals that a sweep's rows do not carry."""

import numpy as np
import pytest

from dashboard.evidence.sweep import intervals


def test_intervals_of_a_constant_shift_are_narrow():
    found = intervals(
        {"top5": np.ones(50, bool), "loss": np.full(50, 1.5, np.float32)}, {"top5": np.ones(50, bool), "loss": np.ones(50, np.float16)}
    )
    assert found["loss_ci95"] == pytest.approx([0.5, 0.5]) and found["top5_ci95"][0] < 0 < found["top5_ci95"][1]
