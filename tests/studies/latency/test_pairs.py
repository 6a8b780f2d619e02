"""Two models on the clock in turns: what is counted, in which order, and how often."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from toast_core.machine import processor_name
from toast_core.studies.latency.pairs import time_pairs
from toast_core.studies.latency.result import Timing

PAIRS = 15


class Clock:
    """Seconds that pass only in the forwards of `model`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def model(self, seconds: Iterator[float]) -> nn.Module:
        """A model whose forwards take these times."""
        outer = self

        class Slow(nn.Linear):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                outer.now += next(seconds)
                return images

        return Slow(1, 1)


class TestTiming:
    """On a clock that only forwards move."""

    def test_medians_and_quartiles_are_of_the_pairs_after_the_warm_up(self) -> None:
        clock, told = Clock(), []
        warm = [9.0, 9.0, 9.0]
        baseline, compact = clock.model(iter(warm + [0.4] * PAIRS)), clock.model(iter(warm + [0.1] * (PAIRS - 1) + [0.2]))
        timing = time_pairs(baseline, compact, torch.zeros(4, 1), PAIRS, clock, told.append)
        assert (timing.batch_size, timing.pairs) == (4, PAIRS) and told == list(range(1, PAIRS + 1))
        assert timing.baseline_ms == pytest.approx((400, 400, 400)) and timing.compact_ms == pytest.approx((100, 100, 100))
        assert timing.speedup == pytest.approx((4, 4, 4))
        assert timing.throughput(timing.compact_ms) == pytest.approx((40, 40, 40))

    def test_the_order_alternates(self) -> None:
        order = []

        class Named(nn.Linear):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                order.append(self.out_features)
                return images

        time_pairs(Named(1, 1), Named(1, 2), torch.zeros(1, 1), PAIRS)
        assert order[6:14] == [1, 2, 2, 1, 1, 2, 2, 1]

    def test_slow_models_are_timed_less_often(self) -> None:
        clock = Clock()
        timing = time_pairs(clock.model(iter([15.0] * 99)), clock.model(iter([15.0] * 99)), torch.zeros(1, 1), PAIRS, clock)
        assert timing.pairs == 5

    def test_the_lower_throughput_comes_from_the_longer_time(self) -> None:
        timing = Timing.of(10, [(0.1, 1.0), (0.2, 1.0), (0.4, 1.0)])
        median, low, high = timing.throughput(timing.baseline_ms)
        assert median == pytest.approx(50) and low < median < high

    def test_the_processor_has_a_name(self) -> None:
        assert processor_name(torch.device("cpu")).isprintable() and processor_name(torch.device("cpu"))
