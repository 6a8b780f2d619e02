"""What a cell does to the headline, from its predicted damage: with nothing measured of it, or with a few images. Imports no torch.

A damage is known by its logarithm (`LogDamage`): from the sketch, set right by the measured cells of the site, and from what the cell
itself lost on the images that it was measured on. The headline follows from damage as in `sketch.prediction`: the labels' margins are
moved by a normal. How far that is off is learned for each site from its measured cells, and left open for the single cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toast_core.intervals import Z95, Estimate
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sketch.calibration import NOISE
from toast_core.studies.sketch.prediction import MOST_LOST, right_after
from toast_core.studies.sketch.regression import LogDamage
from toast_core.studies.tasks.base import CellOutcomes

_SITE_SPREAD, _CELL_SPREAD = 0.35, 0.3  # of the logarithm of points lost: a site's before it is measured, and a cell's around its site's
_LEAST, _MOST = 0.4, 2.5  # a site's factor


@dataclass(frozen=True, eq=False)
class Headline:
    """How the headline of a site's cells follows from damage.

    images   that the change is asked of, in all
    margins  of the baseline on some of them, see `CellOutcomes.margins`; None where the headline loses just the damage
    factor   what the site's cells lose over what their damage says
    spread   standard deviation of the logarithm of a cell's own factor
    """

    images: int
    margins: np.ndarray | None
    factor: float = 1.0
    spread: float = 0.0

    def change(self, damage: LogDamage, level: float, z: float) -> Estimate | None:
        """The change in points and its interval; None where so much is lost that the order of a few logits does not say it.

        `level` is that of the damage's band, `z` the normal quantile for what the number of images leaves open.
        """
        wide = LogDamage(damage.middle, damage.variance + self.spread**2, damage.freedom).within(level)
        value, sampling = self._points(wide.value)
        if self.margins is None:
            return Estimate(value, (self._points(wide.ci95[1])[0], self._points(wide.ci95[0])[0]))
        if value < -MOST_LOST:
            return None
        ends = [self._points(end)[0] for end in wide.ci95]
        low, high = min(ends) - value, max(ends) - value
        all_lost = -100 * float(np.mean(self.margins > 0))
        low = all_lost if min(ends) < -MOST_LOST else value - float(np.hypot(low, z * sampling))
        return Estimate(value, (low, value + float(np.hypot(high, z * sampling))))

    def _points(self, damage: float) -> tuple[float, float]:
        """The expected change, and its standard deviation over which images are asked and of which margins are known."""
        if self.margins is None:
            return -100 * damage, 0.0
        if not np.isfinite(damage):
            return -100 * float(np.mean(self.margins > 0)), 0.0
        right, after = self.margins > 0, right_after(damage, self.margins)
        turned, known = float(np.mean(np.where(right, 1 - after, after))), len(self.margins)
        # one image may turn where none is expected to: intervals of counts allow for it likewise
        asked = (turned * self.images + 1) / self.images**2
        rest = max(0.0, 1 - known / self.images)
        of_known = float(np.var(after - right, ddof=1)) / known * rest if known > 1 else rest
        return 100 * self.factor * float(np.mean(after - right)), 100 * float(np.sqrt(asked + of_known))


def headline(images: int, baseline: CellOutcomes, first: CellOutcomes, measured: Mapping[Cell, CellOutcomes]) -> Headline:
    """How the headline of a site's cells follows from their damage, by what its measured cells lost.

    Args:
        images: of the sweep, in all.
        baseline: of as many of its images as are known.
        first: the baseline on the first images, at least as many as any cell was measured on.
        measured: the site's cells, on the first images.
    """
    margins, known = baseline.margins(), first.margins()
    if margins is None or known is None:
        return Headline(images, None)
    missed, expected = np.zeros(len(first)), 0.0
    for outcomes in measured.values():
        own, seen = known[: len(outcomes)], slice(len(outcomes))
        lost = (own > 0) - right_after(float(outcomes.damage().mean()), own)
        after = outcomes.margins()
        if after is None or 100 * lost.mean() > MOST_LOST:
            continue
        # image by image: what makes a margin small makes it so for every cell, and is not measured anew by each
        missed[seen] += (own > 0) * 1.0 - (after > 0) - lost
        expected += float(lost.sum())
    factor, variance = 1.0, _SITE_SPREAD**2
    if expected > 0:
        noise = len(missed) * float(np.var(missed, ddof=1)) / expected**2
        share = variance / (variance + noise) if noise > 0 else 1.0
        factor, variance = float(np.clip(1 + share * missed.sum() / expected, _LEAST, _MOST)), variance * (1 - share)
    return Headline(images, margins, factor, float(np.sqrt(variance + _CELL_SPREAD**2)))


def measured_damage(damage: np.ndarray, before: LogDamage | None, freedom: int) -> LogDamage | None:
    """A cell's damage by the images it was measured on, (images,), joined with what was known `before`; None where it is none."""
    mean = float(damage.mean(dtype=np.float64))
    if mean <= NOISE or len(damage) < 2:
        return None
    variance = float(np.var(damage, ddof=1, dtype=np.float64)) / len(damage) / mean**2
    if before is None or not variance:
        return LogDamage(float(np.log(mean)), variance, freedom)
    own, other = 1 / variance, 1 / before.variance
    return LogDamage((own * float(np.log(mean)) + other * before.middle) / (own + other), 1 / (own + other), freedom)


def joined(predicted: Estimate, counted: tuple[float, float], z: float) -> Estimate:
    """A change as predicted (95 %) and as its interval of counted images says (quantile `z`), weighted by what each leaves open."""
    middle, half = (counted[0] + counted[1]) / 2, (counted[1] - counted[0]) / 2
    low, high = predicted.value - predicted.ci95[0], predicted.ci95[1] - predicted.value
    of_counts, of_prediction = (half / z) ** 2, ((low + high) / 2 / Z95) ** 2
    share = of_counts / (of_counts + of_prediction)
    value = share * predicted.value + (1 - share) * middle
    ends = (float(np.hypot(share * low, (1 - share) * half)), float(np.hypot(share * high, (1 - share) * half)))
    return Estimate(value, (value - ends[0], value + ends[1]))
