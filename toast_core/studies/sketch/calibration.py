"""A sketch's cells set right by a few that are measured: which ones, and what the others are worth then. Imports no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from toast_core.intervals import Estimate
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sketch.regression import LEVEL, LogDamage, LogRegression, regress

MEASURED = 6
MEASURED_IMAGES = 32
NOISE = 1e-6  # damage below it is what single precision leaves of none
# of log damage: an offset, the logarithm of the prediction, the ratio (large changes leave the range in which the network is linear)
_MEAN, _DEVIATION = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.3, 1.5])


def telling(cells: Sequence[Cell], predicted: np.ndarray, each: int = MEASURED) -> list[Cell]:
    """The cells to measure: of every site `each`, in the middle of as many equal parts of its predictions' order.

    Cells whose prediction is below NOISE tell nothing and are passed over. `predicted` (cells,) is the mean damage.
    """
    found: list[Cell] = []
    for site in dict.fromkeys(cell.site for cell in cells):
        own = [place for place, cell in enumerate(cells) if cell.site == site and predicted[place] > NOISE]
        own.sort(key=lambda place: (predicted[place], cells[place]))
        count = min(each, len(own))
        found += [cells[own[int((part + 0.5) / count * len(own))]] for part in range(count)]
    return found


def calibrated(
    cells: Sequence[Cell], predicted: np.ndarray, measured: Mapping[Cell, tuple[np.ndarray, np.ndarray]]
) -> dict[Cell, Estimate]:
    """The damage of cells with the 95 % band in which measuring them would find it, by what was measured of their site.

    Args:
        predicted: (cells, images), the sketch's damage of every image.
        measured: of some cells the predicted and the measured damage of the same images, (images,) each. Compared are their means: what
            images do to both cancels.
    """
    known = log_damages(cells, predicted, measured)
    return {cell: known[cell].within(LEVEL) if cell in known else Estimate(0.0, (0.0, 0.0)) for cell in cells}


def log_damages(
    cells: Sequence[Cell], predicted: np.ndarray, measured: Mapping[Cell, tuple[np.ndarray, np.ndarray]]
) -> dict[Cell, LogDamage]:
    """What `calibrated` takes its bands of, for all cells that are predicted to do anything; the arguments are the same."""
    found: dict[Cell, LogDamage] = {}
    for site in dict.fromkeys(cell.site for cell in cells):
        own = {cell: damage for cell, damage in zip(cells, predicted, strict=True) if cell.site == site}
        learned = _learned(own, {cell: pair for cell, pair in measured.items() if cell in own})
        means = {cell: float(damage.mean()) for cell, damage in own.items()}
        found |= {cell: learned.spread(_features(cell, mean), _sampling(own[cell])) for cell, mean in means.items() if mean > 0}
    return found


def _learned(own: Mapping[Cell, np.ndarray], measured: Mapping[Cell, tuple[np.ndarray, np.ndarray]]) -> LogRegression:
    points, damages = [], []
    for cell, (predicted, damage) in measured.items():
        if predicted.mean() > 0 and damage.mean() > NOISE:
            whole = float(own[cell].mean())
            points.append(_features(cell, whole))
            damages.append(whole * float(damage.mean() / predicted.mean()))
    return regress(np.array(points).reshape(-1, len(_MEAN)), np.array(damages), _MEAN, _DEVIATION)


def _features(cell: Cell, damage: float) -> np.ndarray:
    return np.array([1.0, np.log(damage), cell.ratio])


def _sampling(damage: np.ndarray) -> float:
    """The standard error of a mean damage over images, relative to it; 0 of a single image, of which none is known."""
    return float(damage.std(ddof=1) / np.sqrt(len(damage)) / damage.mean()) if len(damage) > 1 else 0.0
