"""What a sketch says: predicted damage of cells and of several of them at once. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from toast_core.intervals import Estimate, mean_interval
from toast_core.schedule.schedule import Schedule
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sketch.calibration import calibrated

DRAWS = 2
REFITTED_SITES = ("qk", "vo", "fc2")
REFITTED_RATIOS = (0.25, 0.5, 0.75, 0.9)  # few, as each takes a fit
IMAGES = 64  # of a job, and of the sketch that the engine makes by itself


@dataclass(frozen=True)
class Trial:
    """A whole schedule that was measured: the mean damage of so many images."""

    schedule: Schedule
    damage: float
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"schedule": self.schedule.to_dict(), "damage": self.damage, "images": self.images}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Trial":
        """Read `to_dict`'s values back."""
        return cls(Schedule.from_dict(values["schedule"]), float(values["damage"]), int(values["images"]))


@dataclass(frozen=True, eq=False)
class Sketch:
    """How far every cell moves the output of every image along a few random directions, to first order.

    cells     what was sketched
    moved     (cells, draws, images) float32, see `measure.Sketcher`
    key       the task's damage, as rows name it: `kl` in nats, or `distance`
    measured  the damage of the first images, by cell: those cells were run, and calibrate the others of their site
    trials    whole schedules that were run on the same images, and calibrate others
    unsure    how unsure the baseline is of these images, `prediction.unsureness` of the largest logit less the next; None without
    """

    cells: tuple[Cell, ...]
    moved: np.ndarray
    key: str
    measured: Mapping[Cell, np.ndarray] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    unsure: float | None = None

    def damage(self, chosen: Sequence[Cell]) -> np.ndarray:
        """The predicted damage of every image, (images,) float64, where all of these cells are pruned together.

        What one cell does to another's effect is in it, to second order of the damage. Nothing is calibrated by measured cells: large
        damage is underestimated.
        """
        together = self.moved[[self._places[cell] for cell in chosen]].sum(axis=0, dtype=np.float64)
        found: np.ndarray = 0.5 * np.square(together).mean(axis=0)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """A row a cell: its place, the mean predicted damage with its 95 % interval, and what it is predicted from.

        Where no cell of its site was measured, the interval is that of the mean over images; else the band in which measuring the cell on
        such images would find its damage.
        """
        _, draws, images = self.moved.shape
        found = []
        for cell in self.cells:
            damage, measured = self._estimates[cell], self._calibrated_by(cell.site)
            low, high = damage.ci95
            found.append({
                "block": cell.block, "site": cell.site, "ratio": cell.ratio, self.key: damage.value,
                f"{self.key}95": [max(low, 0.0), high if np.isfinite(high) else None], "calibrated_by": measured, "images": images,
                "draws": draws,
            })
        return found

    @cached_property
    def _places(self) -> dict[Cell, int]:
        return {cell: place for place, cell in enumerate(self.cells)}

    @cached_property
    def _estimates(self) -> dict[Cell, Estimate]:
        alone = 0.5 * np.square(self.moved, dtype=np.float64).mean(axis=1)
        pairs = {cell: (alone[self._places[cell]][: len(damage)], damage) for cell, damage in self.measured.items()}
        found = calibrated(self.cells, alone, pairs)
        bare = [cell for cell in self.cells if not self._calibrated_by(cell.site)]
        return found | {cell: _over_images(alone[self._places[cell]]) for cell in bare}

    def _calibrated_by(self, site: str) -> int:
        return sum(cell.site == site for cell in self.measured)


def _over_images(damage: np.ndarray) -> Estimate:
    return Estimate(float(damage.mean()), mean_interval(damage))
