"""Memory budgets: what fits, what is refused, and in which words."""

import pytest

from tests.support.families import shared_model
from toast_core.errors import DeviceError
from toast_core.models.info import get_info
from toast_core.studies.sensitivity.memory import sweep_need

SHAPE = get_info(shared_model("plain")).shape


def test_a_larger_budget_never_holds_fewer_images() -> None:
    counts = [sweep_need(SHAPE).images_within(budget, 10**9) for budget in (0.9, 1.0, 2.0, 4.0)]
    assert counts == sorted(counts) and counts[0] > 1
    assert counts[3] - counts[2] == pytest.approx(2 * (counts[2] - counts[1]), rel=0.01), "memory grows with the images"


def test_the_batch_is_the_most_that_is_asked_for() -> None:
    assert sweep_need(SHAPE).images_within(8.0, 64) == 64
    assert sweep_need(SHAPE, value_bytes=2).images_within(2.0, 10**9) > sweep_need(SHAPE).images_within(2.0, 10**9)


def test_too_small_a_budget_says_what_is_needed() -> None:
    with pytest.raises(DeviceError, match=r"a memory budget of 0.5 GB is too small for .*; give --memory-gb 0.9 or more"):
        sweep_need(SHAPE).images_within(0.5, 64)


def test_whole_batches_are_refused_rather_than_cut() -> None:
    with pytest.raises(DeviceError, match=r"at batch size 1000000, and per_batch .* give --memory-gb [\d.]+ or more, or --batch-size \d+"):
        sweep_need(SHAPE).images_within(1.0, 10**6, whole_batches=True)
