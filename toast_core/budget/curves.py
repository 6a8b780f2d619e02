"""Damage of one site of one block at every count it may keep, from the few ratios that were measured."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.rounding import keep_count

Curves = Mapping[tuple[int, str], "Curve"]


@dataclass(frozen=True)
class Curve:
    """Measured mean damage (KL in nats, or a cosine distance) of a site with `width` channels: (kept, damage), most kept first."""

    width: int
    points: tuple[tuple[int, float], ...]

    @property
    def fewest(self) -> int:
        """The smallest count measured; nothing is said below it."""
        return self.points[-1][0]

    def damage(self, kept: int) -> float:
        """Damage at a count of at least `fewest`; never less for fewer channels kept.

        Measured values are made monotonic (least squares), and their square roots are joined by monotonic cubics through zero at
        full width: a small perturbation's damage grows with its square, so that between two ratios a straight line would say too much.
        """
        return float(self._root(self.width - kept)) ** 2

    @cached_property
    def _root(self) -> PchipInterpolator:
        dropped = [0, *(self.width - kept for kept, _ in self.points)]
        rising = isotonic_regression([0.0, *(max(damage, 0.0) for _, damage in self.points)]).x
        return PchipInterpolator(dropped, np.sqrt(rising))


def read_curves(
    rows: Iterable[Mapping[str, Any]], shape: ModelShape, multiple_of: int = 1, damage: str = "kl"
) -> dict[tuple[int, str], Curve]:
    """Return the curve of every (block, site) of qk, vo, fc1 and fc2 in a sweep's rows (`block`, `site`, `ratio`, and the `damage`).

    Ratios that keep the same count count as one point with their mean; rows of site groups are passed over.

    Raises:
        ScheduleError: a row names a block that the model does not have.
    """
    found: dict[tuple[int, str], dict[int, list[float]]] = {}
    for row in rows:
        block, site = row["block"], row["site"]
        if not 0 <= block < len(shape.blocks):
            raise ScheduleError(f"the curves name block {block}, {shape.name} has blocks 0 to {len(shape.blocks) - 1}; measure this model")
        if "+" in site:
            continue
        width = shape.blocks[block].site_width(site)
        kept = keep_count(width, row["ratio"], multiple_of)
        if kept < width:
            found.setdefault((block, site), {}).setdefault(kept, []).append(row[damage])
    return {
        (block, site): Curve(
            shape.blocks[block].site_width(site), tuple((kept, float(np.mean(by_count[kept]))) for kept in sorted(by_count, reverse=True))
        )
        for (block, site), by_count in found.items()
    }
