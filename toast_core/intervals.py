"""Confidence intervals. Imports numpy only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Z95 = 1.959963984540054
MOST_DECIMALS = 9


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    ci95: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an end that is not finite (one image has no spread) is null."""
        return {"value": self.value, "ci95": [end if math.isfinite(end) else None for end in self.ci95]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Estimate":
        """Read `to_dict`'s values back."""
        low, high = values["ci95"]
        return cls(float(values["value"]), (-math.inf if low is None else float(low), math.inf if high is None else float(high)))


def decimals(interval: tuple[float, float], least: int = 0, most: int = MOST_DECIMALS) -> int:
    """Return how many digits behind the point an interval supports: none from a half width of 1 on, one from 0.1 on, and so forth."""
    half = (interval[1] - interval[0]) / 2
    return least if not 0 < half < math.inf else max(least, min(most, math.ceil(-math.log10(half))))


def wilson_percent(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion in percent, 95 % unless `z` says otherwise."""
    if total == 0:
        return 0.0, 100.0
    p, z2 = correct / total, z**2
    center = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = z * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return 100 * max(0.0, center - half), 100 * min(1.0, center + half)


def mean_interval(values: np.ndarray, z: float = Z95) -> tuple[float, float]:
    """Return the normal interval of a mean, 95 % unless `z` says otherwise; unbounded for a single value."""
    mean = float(np.mean(values))
    half = z * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return mean - half, mean + half


def paired_interval(before: np.ndarray, after: np.ndarray, z: float = Z95) -> tuple[float, float]:
    """Return the interval of the paired difference after - before of hits, in points; see `paired_interval_of_counts`."""
    return paired_interval_of_counts(int(np.sum(~before & after)), int(np.sum(before & ~after)), len(before), z)


def paired_interval_of_counts(gained: int, lost: int, images: int, z: float = Z95) -> tuple[float, float]:
    """Return the interval of the paired difference (gained - lost) / images, in points, by Agresti and Min's adjusted Wald (2005).

    Half an image is added to each of the four cells of the paired table, so that no discordant image still gives a width.
    """
    n, more, less = images + 2.0, gained + 0.5, lost + 0.5
    difference = (more - less) / n
    half = z * math.sqrt(max(more + less - (more - less) ** 2 / n, 0.0)) / n
    return 100 * (difference - half), 100 * (difference + half)
