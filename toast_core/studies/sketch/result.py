"""What a sketch says: predicted damage of cells and of several of them at once. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toast_core.intervals import mean_interval
from toast_core.studies.sensitivity.cells import Cell

DRAWS = 2
IMAGES = 64  # of a job, and of the sketch that the engine makes by itself


@dataclass(frozen=True, eq=False)
class Sketch:
    """How far every cell moves the output of every image along a few random directions, to first order.

    cells   what was sketched
    moved   (cells, draws, images) float32, see `measure.Sketcher`
    key     the task's damage, as rows name it: `kl` in nats, or `distance`
    """

    cells: tuple[Cell, ...]
    moved: np.ndarray
    key: str

    def damage(self, chosen: Sequence[Cell]) -> np.ndarray:
        """The predicted damage of every image, (images,) float64, where all of these cells are pruned together.

        What one cell does to another's effect is in it, to second order of the damage. Nothing is calibrated by measured cells: large
        damage is underestimated.
        """
        places = [self.cells.index(cell) for cell in chosen]
        together = self.moved[places].sum(axis=0, dtype=np.float64)
        found: np.ndarray = 0.5 * np.square(together).mean(axis=0)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """A row a cell: its place, the mean predicted damage with its 95 % interval over images, and what it is predicted from."""
        _, draws, images = self.moved.shape
        found = []
        for cell in self.cells:
            damage = self.damage([cell])
            low, high = mean_interval(damage)
            found.append({
                "block": cell.block, "site": cell.site, "ratio": cell.ratio, self.key: float(damage.mean()),
                f"{self.key}95": [max(low, 0.0), high if np.isfinite(high) else None], "calibrated_by": 0, "images": images, "draws": draws,
            })
        return found
