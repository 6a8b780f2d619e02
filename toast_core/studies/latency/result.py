"""Two models on the clock in pairs: medians, quartiles and percentiles of their forwards. Free of torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

PERCENTILES = (50, 90, 99)
FEWEST_FOR_P99 = 100


@dataclass(frozen=True)
class Timing:
    """Forwards of baseline and compact in pairs, one right after the other in alternating order: median and quartiles of each.

    batch_size  images of a forward
    pairs       how many
    baseline_ms, compact_ms   milliseconds of a forward: median, first and third quartile
    speedup     baseline over compact of each pair: median, first and third quartile
    """

    batch_size: int
    pairs: int
    baseline_ms: tuple[float, float, float]
    compact_ms: tuple[float, float, float]
    speedup: tuple[float, float, float]

    @classmethod
    def of(cls, batch_size: int, seconds: Sequence[tuple[float, float]]) -> "Timing":
        """From the seconds of each pair, baseline first."""
        baseline, compact = np.array(seconds).T
        return cls(batch_size, len(seconds), _spread(1e3 * baseline), _spread(1e3 * compact), _spread(baseline / compact))

    def throughput(self, milliseconds: tuple[float, float, float]) -> tuple[float, float, float]:
        """Images a second at the median, and at the quartiles of the time: the lower one first."""
        median, first, third = (1e3 * self.batch_size / value for value in milliseconds)
        return median, third, first

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Timing":
        """Read JSON values; KeyError where one is missing, ValueError or TypeError where one is no number."""
        triples = {name: _triple(values[name]) for name in ("baseline_ms", "compact_ms", "speedup")}
        return cls(int(values["batch_size"]), int(values["pairs"]), **triples)


@dataclass(frozen=True)
class Latencies:
    """One batch size on the clock: the pairs' medians and quartiles, and the percentiles of a forward, baseline and compact.

    dtype, compiled   how both models ran; compiled is torch.compile
    timing            of the pairs
    baseline_percentiles_ms, compact_percentiles_ms   p50, p90 and p99; p99 is None for fewer than FEWEST_FOR_P99 forwards
    """

    dtype: str
    compiled: bool
    timing: Timing
    baseline_percentiles_ms: tuple[float, float, float | None]
    compact_percentiles_ms: tuple[float, float, float | None]

    @classmethod
    def of(cls, dtype: str, compiled: bool, batch_size: int, seconds: Sequence[tuple[float, float]]) -> "Latencies":
        """From the seconds of each pair, baseline first."""
        return cls(dtype, compiled, Timing.of(batch_size, seconds), *(_percentiles(1e3 * one) for one in np.array(seconds).T))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with images a second at the median and the quartiles."""
        timing = self.timing
        return {
            "dtype": self.dtype, "compiled": self.compiled, **timing.to_dict(),
            **{
                name: {f"p{share}_ms": value for share, value in zip(PERCENTILES, values, strict=True)}
                for name, values in (("baseline", self.baseline_percentiles_ms), ("compact", self.compact_percentiles_ms))
            },
            "baseline_throughput": list(timing.throughput(timing.baseline_ms)),
            "compact_throughput": list(timing.throughput(timing.compact_ms)),
        }


def _spread(values: np.ndarray) -> tuple[float, float, float]:
    median, first, third = np.percentile(values, (50, 25, 75))
    return float(median), float(first), float(third)


def _percentiles(values: np.ndarray) -> tuple[float, float, float | None]:
    p50, p90, p99 = (float(value) for value in np.percentile(values, PERCENTILES))
    return p50, p90, p99 if len(values) >= FEWEST_FOR_P99 else None


def _triple(values: Sequence[Any]) -> tuple[float, float, float]:
    median, first, third = map(float, values)
    return median, first, third
